"""Checks the configuration before any job is planned, and answers questions about it."""

import ast
import contextlib
import copy
import functools
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

WORKFLOW = Path(__file__).resolve().parents[2]
SCRIPTS = WORKFLOW / "scripts"
# Settings of an entry in `methods` that are not its plug-in's; no plug-in can have one of that name.
NOT_SETTINGS = {"label", "plugin", "default", "overrides", "only", "tune", "inversion"}
COLUMNS = ("ground truth", "noisy")  # what tables and figures show besides the methods


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Stricter than JSON Schema, for which 128.0 is an integer, and infinity a number.
Validator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: _is_number(value) and isinstance(value, int),
            "number": lambda _, value: _is_number(value) and math.isfinite(value),
        }
    ),
)

Config = dict[str, Any]


class ConfigurationError(Exception):
    """The configuration cannot be used. The message names each key and what is allowed."""


def checked(config: Mapping[str, Any], files: Iterable[Config] = ()) -> Config:
    """Return a checked copy of `config` in which `run` and `select` are filled in.

    `{dataset}` in `run` stands for the name of the data set.
    Numbers and truth values that arrive as text, as nested ones do from the command line, are
    read as what they plainly are. Methods and the like are in the order of the files, whatever was given
    on the command line; settings within them are in alphabetical order. So a value that is given
    again in another place changes nothing.

    Args:
        config: What Snakemake has merged.
        files: What the files hold that it is from.

    Raises:
        ConfigurationError: Naming every key that is wrong, its value and what is allowed.
    """
    config = _with_text_keys(config)
    if isinstance(config.get("run"), str):
        config["run"] = config["run"].replace("{dataset}", str(config.get("dataset")))
    # What single noise settings and methods accept is only known once these are mappings.
    for schema_of in (lambda config: _schema("config"), _complete_schema):
        schema = schema_of(config)
        _read_text_values(schema, config)
        _raise_any(schema, config)
    config = _ordered(config, files)
    config.setdefault("run", config["dataset"])
    _fill_selection(config)
    _check_together(config)
    return config


def _ordered(config: Config, files: Iterable[Config]) -> Config:
    """Return the configuration in a form that does not depend on how or where a value was given."""
    result = _alphabetical(config)
    for part in ("datasets", "noise", "methods"):
        given = [content.get(part) for content in files]
        names = [str(name) for names in given if isinstance(names, Mapping) for name in names]
        order = dict.fromkeys([*names, *config[part]])
        result[part] = {name: result[part][name] for name in order if name in config[part]}
    return result


def _alphabetical(value: Any) -> Any:  # noqa: ANN401
    """Return a checked value with keys in order, and each number in the one form that equals it."""
    if isinstance(value, dict):
        return {key: _alphabetical(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_alphabetical(entry) for entry in value]
    # 1.0 is 1; beyond this limit a float no longer tells integers apart.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


@contextlib.contextmanager
def usable() -> Iterator[None]:
    """End with the message alone, without a traceback, when the configuration can't be used."""
    try:
        yield
    except ConfigurationError as error:
        sys.exit(f"The configuration can't be used.\n{error}")


def read_files(files: Iterable[str | Path]) -> list[Config]:
    """Return what configuration files hold, in which no key is given twice: YAML would take the last one.

    Raises:
        ConfigurationError: Naming the file, and the key and the lines.
    """
    contents = []
    for file in files:
        try:
            text = Path(file).read_text(encoding="utf-8")
            contents.append(yaml.load(text, Loader=_UniqueKeys) or {})
        except FileNotFoundError:
            raise ConfigurationError(f"{file}: there is no such file") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{file}: {error}") from error
    return contents


def check_arguments(arguments: Iterable[str], given: Iterable[str]) -> None:
    """Refuse what is given twice on the command line: Snakemake would take the last one.

    Args:
        arguments: The command line.
        given: The keys that it sets, by arguments `key=value`.

    Raises:
        ConfigurationError: Naming the argument and the key.
    """
    seen = set()
    for argument in arguments:
        if option := re.match(r"(--config|-C)(?==|$)|-C(?=\w)|(--configfiles?)(?==|$)", argument):
            name = "--configfile" if option[2] else "--config"
            if name in seen:
                raise ConfigurationError(f"{name} is given twice; give all after one {name}")
            seen.add(name)
            argument = argument[option.end() :].removeprefix("=")
        key, separator, value = argument.partition("=")
        if not separator or key not in given:
            continue
        if key in seen:
            raise ConfigurationError(f"--config {key}: is given twice; keep one")
        seen.add(key)
        try:
            yaml.load(value, Loader=_UniqueKeys)
        except _GivenTwice as error:
            raise ConfigurationError(f"--config {key}: {error}") from error
        except yaml.YAMLError:  # Snakemake takes it as text
            continue


class _GivenTwice(yaml.YAMLError):
    """A key is given twice."""


class _UniqueKeys(yaml.SafeLoader):
    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse equal keys, before those of a merge (`<<`), which may be overridden, are among them."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                name, line = str(self.construct_object(key)), key.start_mark.line + 1
                if name in lines:
                    raise _GivenTwice(
                        f"{name} is given in line {lines[name]} and again in line {line}; keep one"
                    )
                lines[name] = line
        super().flatten_mapping(node)


def options_of(snakefile: Path, files: Iterable[Path], settings: Mapping[str, Any]) -> list[str]:
    """Return the options that make Snakemake run the same workflow again, from where it was started.

    Args:
        snakefile: Its path; if it is not in this folder, `--directory` was given.
        files: Configuration files that were given.
        settings: Keys and values that were given.
    """
    here = Path.cwd()
    files = [str(f.relative_to(here) if f.is_relative_to(here) else f) for f in files]
    values = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]
    elsewhere = ["--snakefile", str(snakefile), "--directory", str(here)]
    return [
        *(elsewhere if snakefile.parent != here else []),
        *(["--configfile", *files] if files else []),
        *(["--config", *values] if values else []),
    ]


def plugin_of(config: Config, method: str) -> str:
    """Return the name of the file in `workflow/scripts/methods/` that a method is made of."""
    return config["methods"][method].get("plugin", method)


def label_of(config: Config, method: str) -> str:
    """Return what tables and figures call a method."""
    return config["methods"][method].get("label", method)


def is_trained(config: Config, method: str) -> bool:
    """Say whether a method has to be trained: its plug-in builds a network."""
    return "build_network" in declared_by(config, method)


def is_tuned(config: Config, method: str) -> bool:
    """Say whether some settings of a method are chosen on validation images."""
    return bool(config["methods"][method].get("tune"))


def applies(config: Config, method: str, noise: str) -> bool:
    """Say whether a method is for a noise setting.

    Some are for single distributions; `only` in a method's entry restricts it further.
    """
    distribution = config["noise"][noise]["distribution"]
    allowed = declared_by(config, method).get("DISTRIBUTIONS", [distribution])
    return distribution in allowed and noise in config["methods"][method].get("only", [noise])


def recipe_of(config: Config, method: str) -> str:
    """Return the name of the file in `workflow/scripts/recipes/` that a method is trained by."""
    return declared_by(config, method)["RECIPE"]


def inverts(config: Config, method: str) -> bool:
    """Say whether the clip-aware inversion is applied to what a method returns.

    Of a trained method its recipe knows what it estimates; of others the configuration says it.
    """
    if is_trained(config, method):
        recipe = declarations("recipes", recipe_of(config, method))
        return recipe["ESTIMATES"] == "mean noisy value"
    return config["methods"][method].get("inversion", False)


def uses_of(config: Config, method: str) -> list[str]:
    """Return what a method uses besides noisy images: clean images, the noise model, both, neither."""
    uses = set(declared_by(config, method).get("USES", []))
    if is_trained(config, method):
        uses |= set(declarations("recipes", recipe_of(config, method))["USES"])
    if is_tuned(config, method):
        uses |= {"clean images", "noise model"}
    if inverts(config, method):
        uses |= {"noise model"}
    return sorted(uses)


def declared_by(config: Config, method: str) -> Config:
    """Return what a method's plug-in declares."""
    return declarations("methods", plugin_of(config, method))


def settings_of(config: Config, method: str, noise: str) -> Config:
    """Return a method's settings for one noise setting, its overrides applied."""
    entry = config["methods"][method]
    settings = {key: value for key, value in entry.items() if key not in NOT_SETTINGS}
    return merged(settings, entry.get("overrides", {}).get(noise, {}))


def _with_text_keys(value: Any, *path: str) -> Any:  # noqa: ANN401
    """Return a deep copy in which keys that YAML reads as numbers, such as an id 0.3, are text.

    Raises:
        ConfigurationError: When a key is neither. `path` is where the value is, for the message.
    """
    if not isinstance(value, Mapping):
        return copy.deepcopy(value)
    result: Config = {}
    for key, content in value.items():  # a file may have the number, another one the text
        if key is None or isinstance(key, bool):
            raise ConfigurationError(
                f"{'.'.join([*path, str(key)])}: YAML reads this key as {key!r}; allowed: text, in quotes "
                "where YAML takes it for something else, as yes, no, on, off and ~"
            )
        result = merged(result, {str(key): _with_text_keys(content, *path, str(key))})
    return result


@functools.cache
def declarations(folder: str, name: str) -> Config:
    """Return what a module declares, without importing it (it may need torch).

    Args:
        folder: The folder in `workflow/scripts/`: methods, recipes or distributions.
        name: The file's name without `.py`.

    Returns:
        The module's literal constants by name, and its functions' names with value None; also those
        that it imports from other files of these folders.

    Raises:
        ConfigurationError: When it is no Python, or a constant says what it can't.
    """
    path = SCRIPTS / folder / f"{name}.py"
    file = f"workflow/scripts/{folder}/{name}.py"
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: can't be read as Python: {error}") from error
    found: Config = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = None
        elif isinstance(node, ast.ImportFrom) and node.module:
            other, _, module = node.module.partition(".")
            if module in plugins(other):
                theirs = declarations(other, module)
                found |= {a.asname or a.name: theirs.get(a.name) for a in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            constant = getattr(target, "id", "")
            try:
                found[constant] = ast.literal_eval(node.value)
            except ValueError:  # computed: the plug-in's own business, unless we have to know it
                if constant in _schema("plugin")["properties"]:
                    raise ConfigurationError(
                        f"{file}: {constant} is computed, but is read without running the file; "
                        "write it out"
                    ) from None
    lines = [m for e in Validator(_schema("plugin")).iter_errors(found) for m in _messages(e)]
    if lines:
        raise ConfigurationError("\n".join(f"{file}: {line}" for line in dict.fromkeys(lines)))
    return found


def plugins(folder: str) -> list[str]:
    """Return the names that can be chosen from: methods, recipes or distributions."""
    if folder not in ("methods", "recipes", "distributions"):
        return []
    return sorted(path.stem for path in (SCRIPTS / folder).glob("[!_]*.py"))


@functools.cache
def _schema(name: str) -> Config:
    return yaml.safe_load((WORKFLOW / "schemas" / f"{name}.yaml").read_text(encoding="utf-8"))


def merged(base: Config, changes: Config) -> Config:
    """Return `base` with the changes of a second configuration, as Snakemake merges files."""
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result


def _complete_schema(config: Config) -> Config:
    """Return the schema with what each noise setting's distribution and each plug-in accept."""
    schema = copy.deepcopy(_schema("config"))
    for name, entry in config["noise"].items():
        own = copy.deepcopy(schema["$defs"]["noise"])
        own["properties"]["distribution"] = {"enum": plugins("distributions")}
        if entry["distribution"] in plugins("distributions"):
            accepted = _distribution(entry["distribution"])["SETTINGS"]
            own["properties"] |= accepted["properties"]
            own["required"] = ["distribution", *accepted["required"]]
            own["additionalProperties"] = False
        schema["properties"]["noise"]["properties"][name] = own
    for name, entry in config["methods"].items():
        schema["properties"]["methods"]["properties"][name] = _method_schema(schema, name, entry)
    return schema


def _distribution(name: str) -> Config:
    declared = declarations("distributions", name)
    for wanted in ("SETTINGS", "draw"):
        if wanted not in declared:
            raise ConfigurationError(f"workflow/scripts/distributions/{name}.py has no `{wanted}`")
    return declared


def _method_schema(schema: Config, name: str, entry: Config) -> Config:
    """Return the schema of one entry in `methods`.

    Raises:
        ConfigurationError: When there is no such plug-in, or it lacks what a plug-in must have.
    """
    plugin = entry.get("plugin", name)
    if plugin not in plugins("methods"):
        key = f"methods.{name}" + (".plugin" if "plugin" in entry else "")
        raise ConfigurationError(
            f"{key}: there is no workflow/scripts/methods/{plugin}.py; "
            f"allowed: {', '.join(plugins('methods'))}"
        )
    declared = declarations("methods", plugin)
    file = f"methods.{name}: workflow/scripts/methods/{plugin}.py"
    if not {"denoise", "build_network"} & declared.keys():
        raise ConfigurationError(f"{file} has neither a function `denoise` nor `build_network`")
    own = copy.deepcopy(schema["$defs"]["method"])
    accepted = {"properties": {}, "required": []} | copy.deepcopy(declared.get("SETTINGS", {}))
    if "build_network" in declared:
        recipe = declared.get("RECIPE")
        if recipe not in plugins("recipes"):
            raise ConfigurationError(
                f"{file} says RECIPE = {recipe!r}; allowed: {', '.join(plugins('recipes'))}"
            )
        training = copy.deepcopy(schema["$defs"]["training"])
        settings = declarations("recipes", recipe)["SETTINGS"]
        training["properties"] |= settings["properties"]
        training["required"] += settings["required"]
        accepted["properties"]["training"] = training
        del own["properties"]["inversion"]  # the recipe knows
        accepted["required"] = [*accepted["required"], "training"]
    else:
        own["properties"]["tune"] = {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {
                key: {"type": "array", "items": value, "minItems": 1}
                for key, value in accepted["properties"].items()
            },
        }
    tuned = entry.get("tune")
    own["properties"] |= accepted["properties"]
    own["required"] = [k for k in accepted["required"] if not (tuned and k in tuned)]
    own["properties"]["overrides"] = {
        "type": "object",
        "additionalProperties": _without_required(accepted),
    }
    return own


def _without_required(schema: Config) -> Config:
    """Return the schema of a part of what `schema` describes."""
    part: Config = {"type": "object", "additionalProperties": False, "properties": {}}
    for key, value in schema["properties"].items():
        part["properties"][key] = (
            _without_required(value) if value.get("type") == "object" else value
        )
    return part


def _read_text_values(schema: Config, config: Config) -> None:
    """Replace text that plainly is a number or a truth value where the schema wants one."""
    for error in Validator(schema).iter_errors(config):
        if error.validator != "type" or not error.absolute_path:
            continue
        *parents, key = error.absolute_path
        holder: Any = config
        for parent in parents:
            holder = holder[parent]
        value = _plain_value(error.instance)
        if isinstance(value, float) and value.is_integer() and error.validator_value == "integer":
            holder[key] = int(value)
        elif isinstance(error.instance, str):
            holder[key] = value
        elif _is_number(error.instance) and error.validator_value == "string":
            holder[key] = str(error.instance)


def _plain_value(text: object) -> object:
    """Return the number or truth value that a text plainly is; other values as they are."""
    if not isinstance(text, str):
        return text
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return {"true": True, "false": False}.get(text.lower(), text)


def _raise_any(schema: Config, config: Config) -> None:
    errors = sorted(Validator(schema).iter_errors(config), key=lambda e: list(map(str, e.path)))
    if errors:
        lines = dict.fromkeys(line for error in errors for line in _messages(error))
        raise ConfigurationError("\n".join(lines))


def _messages(error: ValidationError) -> Iterator[str]:
    """Say in words a person uses what is wrong, with the path of the key in front."""
    path = [str(part) for part in error.absolute_path]
    key, value, wanted = ".".join(path), error.instance, error.validator_value
    match error.validator:
        case "additionalProperties" if isinstance(value, dict):
            known = error.schema.get("properties", {})
            for name in sorted(value.keys() - known.keys()):
                full = ".".join([*path, str(name)])
                yield f"{full}: unknown key; allowed: {', '.join(sorted(known))}"
        case "required":
            for name in wanted:
                if name not in value:
                    yield f"{'.'.join([*path, name])}: missing"
        case "oneOf":
            yield f"{key}: either `subjects` (rendered) or `sources` (read) is needed"
        case _:
            allowed = _allowed(error)
            yield (
                f"{key}: {value!r} is not allowed; allowed: {allowed}"
                if allowed
                else (f"{key}: {error.message}")
            )


def _allowed(error: ValidationError) -> str | None:
    """Say what is allowed in place of a wrong value, if these are words for it."""
    wanted = error.validator_value
    match error.validator:
        case "enum":
            return ", ".join(map(str, wanted))
        case "type" if wanted == "string" and isinstance(error.instance, bool):
            return (
                "a value of type string (in quotes: else YAML takes yes and no for true and false)"
            )
        case "type":
            return f"a value of type {wanted}"
        case "minimum":
            return f"{wanted} or more"
        case "maximum":
            return f"{wanted} or less"
        case "exclusiveMinimum":
            return f"more than {wanted}"
        case "minItems" | "minProperties":
            return f"at least {wanted} {'entry' if wanted == 1 else 'entries'}"
        case "maxItems":
            return f"at most {wanted} entries"
        case "uniqueItems":
            return "each entry once"
        case _:
            return error.schema.get("description")


def _fill_selection(config: Config) -> None:
    select = config.setdefault("select", {})
    select.setdefault("noise", list(config["noise"]))
    select.setdefault(
        "methods",
        [name for name, entry in config["methods"].items() if entry.get("default", True)],
    )
    config.setdefault("table", select["methods"])


def _check_together(config: Config) -> None:
    """Check what a schema cannot say: values that must fit each other."""
    problems = []
    dataset, datasets = config["dataset"], config["datasets"]
    if dataset not in datasets:
        problems.append(
            f"dataset: {dataset!r} is not defined in datasets; allowed: {', '.join(datasets)}"
        )
    for kind in ("noise", "methods"):
        for name in config["select"][kind]:
            if name not in config[kind]:
                problems.append(
                    f"select.{kind}: {name!r} is not defined in {kind}; "
                    f"allowed: {', '.join(config[kind])}"
                )
    for name in config["table"]:
        if name not in config["methods"]:
            problems.append(
                f"table: {name!r} is not defined in methods; "
                f"allowed: {', '.join(config['methods'])}"
            )
        elif declared_by(config, name).get("CAVEAT"):
            problems.append(
                f"table: {name!r} has a caveat, which table.md can't show; methods.md does"
            )
    for name, entry in datasets.items():
        if "subjects" in entry and entry["subjects"] <= entry["train"]:
            problems.append(
                f"datasets.{name}.train: {entry['train']} of {entry['subjects']} subjects "
                f"leaves none to test on; allowed: 1 to {entry['subjects'] - 1}"
            )
    for name in config["methods"]:
        for key in ("overrides", "only"):
            for noise in config["methods"][name].get(key, []):
                if noise not in config["noise"]:
                    problems.append(
                        f"methods.{name}.{key}: {noise!r} is not defined in noise; "
                        f"allowed: {', '.join(config['noise'])}"
                    )
    for name, entry in config["methods"].items():
        given = {f"methods.{name}": entry} | {
            f"methods.{name}.overrides.{noise}": settings
            for noise, settings in entry.get("overrides", {}).items()
        }
        for place, settings in given.items():
            for key in entry.get("tune", {}).keys() & settings.keys():
                problems.append(f"{place}.{key}: is also in tune; give one of the two")
    for name in set(config["select"]["methods"]) & set(config["methods"]):
        multiple = declared_by(config, name).get("IMAGE_SIZE_MULTIPLE", 1)
        if config["image_size"] % multiple:
            problems.append(
                f"image_size: {config['image_size']} does not suit the method {name}; "
                f"allowed: multiples of {multiple}"
            )
    selected = [name for name in config["select"]["methods"] if name in config["methods"]]
    labels = [*COLUMNS, *(label_of(config, name) for name in selected)]
    for name in selected:
        label = label_of(config, name)
        if labels.count(label) > 1:
            problems.append(f"methods.{name}.label: {label!r} is taken; give each method its own")
    if "noisy" in config["methods"]:
        problems.append("methods.noisy: is what the undenoised images are called; rename it")
    if problems:
        raise ConfigurationError("\n".join(problems))
