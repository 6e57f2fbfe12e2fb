"""Reads the configuration: `config.yaml`, other files, `--config`. One reading, before any job."""

import argparse
import itertools
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from engine.checks import problems_together, validated
from engine.films import film_run, is_of_films
from engine.plugins import Config, ConfigurationError, merged

NAMED = ("datasets", "noise", "methods")  # the order of their entries is that of the tables


class GivenTwice(ConfigurationError):
    """A key is given twice in one place, where a reader of YAML would take the last one."""


def configured(files: Iterable[Path], given: Config, arguments: list[str]) -> Config:
    """Return the checked configuration, or end the process with a message.

    Args:
        files: Configuration files; a later one takes precedence.
        given: What `--config` sets, which takes precedence over files. Nested numbers are text.
        arguments: The command line, in which nothing may be given twice.
    """
    try:
        refuse_repeated(arguments)
        return checked(*map(read_file, files), given)
    except ConfigurationError as error:
        sys.exit(f"The configuration can't be used.\n{error}")


def checked(*parts: Mapping[str, Any]) -> Config:
    """Return the configuration that several parts make together, complete and checked.

    `run`, `select`, `table` and settings that have a default are filled in. `{dataset}` in `run`
    stands for the name of the data set. The result does not depend on where or in which form a
    value is given: numbers and truth values may be text, and settings are in alphabetical order.

    Args:
        parts: What files and the command line hold; a later one takes precedence.

    Raises:
        ConfigurationError: Naming every key that is wrong, its value and what is allowed.
    """
    config: Config = {}
    for part in parts:
        config = merged(config, with_text_keys(part))
    if isinstance(config.get("run"), str):
        config["run"] = config["run"].replace("{dataset}", str(config.get("dataset")))
    config = validated(config)
    order = {part: list(config[part]) for part in NAMED}
    config = canonical(config)
    for part, names in order.items():
        config[part] = {name: config[part][name] for name in names}
    config.setdefault("run", film_run(config["out"]) if is_of_films(config) else config["dataset"])
    select = config["select"] = dict(config.get("select", {}))
    select.setdefault("noise", list(config["noise"]))
    methods = config["methods"].items()
    select.setdefault("methods", [name for name, entry in methods if entry.get("default", True)])
    config.setdefault("table", select["methods"])
    if problems := list(problems_together(config)):
        raise ConfigurationError("\n".join(problems))
    return config


def read_file(path: Path) -> Config:
    """Return what a file in YAML 1.2 holds.

    Raises:
        ConfigurationError: Naming the file, and the key and the line, also if a key is given twice.
    """
    try:
        content = read_text(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: there is no such file") from None
    except (ConfigurationError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: holds {content!r} in place of keys and values")
    return content


def read_text(text: str) -> Any:  # noqa: ANN401
    """Return what a text in YAML 1.2 holds; nothing is an empty mapping.

    Raises:
        ConfigurationError: With the line, also if a key is given twice.
    """
    try:
        content = YAML(typ="safe", pure=True).load(text)
        return {} if content is None else with_text_keys(content)
    except DuplicateKeyError as error:
        key, line = error.problem.partition(" with value")[0], error.problem_mark.line + 1
        raise GivenTwice(f"{key}, in line {line}; keep one") from error
    except MarkedYAMLError as error:
        line = f", in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationError(f"{error.problem}{line}") from error
    except YAMLError as error:
        raise ConfigurationError(str(error)) from error
    except RecursionError:
        raise ConfigurationError("an entry refers to itself") from None


def refuse_repeated(arguments: list[str]) -> None:
    """Refuse what is given twice on the command line: Snakemake would take the last one.

    Raises:
        ConfigurationError: Naming the option or the key.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", "-C", nargs="*", action="append", default=[])
    parser.add_argument("--configfile", "--configfiles", nargs="*", action="append", default=[])
    uses = vars(parser.parse_known_args(arguments)[0])
    for name, values in uses.items():
        if len(values) > 1:
            raise ConfigurationError(f"--{name} is given twice; give all after one --{name}")
    seen = set()
    for setting in itertools.chain(*uses["config"]):
        key, _, value = setting.partition("=")
        if key in seen:
            raise ConfigurationError(f"--config {key}: is given twice; keep one")
        seen.add(key)
        try:
            read_text(value)
        except GivenTwice as error:
            raise ConfigurationError(f"--config {key}: {error}") from error
        except ConfigurationError:  # Snakemake takes it as text, which is then checked
            continue


def options_of(snakefile: Path, files: Iterable[Path], settings: Mapping[str, Any]) -> list[str]:
    """Return the options that make Snakemake run the same workflow again, from where it started.

    Args:
        snakefile: Its path; if it is not in this folder, `--directory` was given.
        files: Configuration files that were given.
        settings: Keys and values that were given.
    """
    here = Path.cwd()
    files = [str(f.relative_to(here) if f.is_relative_to(here) else f) for f in files]
    values = [f"{key}={_on_command_line(value)}" for key, value in settings.items()]
    elsewhere = ["--snakefile", str(snakefile), "--directory", str(here)]
    return [
        *(elsewhere if snakefile.parent != here else []),
        *(["--configfile", *files] if files else []),
        *(["--config", *values] if values else []),
    ]


def _on_command_line(value: Any) -> str:  # noqa: ANN401
    """Return a value as `--config` has to have it."""
    text = json.dumps(value, ensure_ascii=False)
    # Snakemake takes quotes off both ends, and then reads YAML: blanks keep them.
    return f" {text} " if isinstance(value, str) and not re.fullmatch(r"[\w./+-]*", value) else text


def with_text_keys(value: Any, *path: str) -> Any:  # noqa: ANN401
    """Return a copy in which keys that YAML reads as numbers, such as an id 0.3, are text.

    Raises:
        ConfigurationError: When a key is neither, or is given as a number and again as text.
    """
    if not isinstance(value, Mapping):
        return value
    result: Config = {}
    for key, content in value.items():
        name = ".".join([*path, str(key)])
        if key is None or isinstance(key, bool):
            raise ConfigurationError(
                f"{name}: YAML reads this key as {key!r}; allowed: text, in quotes where YAML "
                "takes it for something else, as true, false, null and ~"
            )
        if str(key) in result:
            raise GivenTwice(f"{name} is given as a number and again as text; keep one")
        result[str(key)] = with_text_keys(content, *path, str(key))
    return result


def canonical(value: Any) -> Any:  # noqa: ANN401
    """Return a checked value with keys in order, and each number in the one form that equals it."""
    if isinstance(value, dict):
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [canonical(entry) for entry in value]
    # 1.0 is 1; beyond this limit a float no longer tells integers apart.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
