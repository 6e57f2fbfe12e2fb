"""Checks the configuration before any job is planned, and answers questions about it."""

import ast
import contextlib
import copy
import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

WORKFLOW = Path(__file__).resolve().parents[2]
PLUGINS = WORKFLOW / "scripts" / "methods"
NOT_SETTINGS = {"label", "plugin", "default", "overrides"}
COLUMNS = ("ground truth", "noisy")  # what tables and figures show besides the methods

# Stricter than JSON Schema, for which 128.0 is an integer, and infinity a number.
Validator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
            "number": lambda _, value: (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and math.isfinite(value)
            ),
        }
    ),
)

Config = dict[str, Any]


class ConfigurationError(Exception):
    """The configuration cannot be used. The message names each key and what is allowed."""


def checked(config: Mapping[str, Any]) -> Config:
    """Return a checked copy of `config` in which `run` and `select` are filled in.

    Numbers and truth values that arrive as text, as nested ones do from the command line, are
    read as what they plainly are.

    Raises:
        ConfigurationError: Naming every key that is wrong, its value and what is allowed.
    """
    config = _with_text_keys(config)
    # What single noise settings and methods accept is only known once these are mappings.
    for schema_of in (lambda config: _schema("config"), _complete_schema):
        schema = schema_of(config)
        _read_text_values(schema, config)
        _raise_any(schema, config)
    config.setdefault("run", config["dataset"])
    _fill_selection(config)
    _check_together(config)
    return config


def plugin_of(config: Config, method: str) -> str:
    """Return the name of the file in `workflow/scripts/methods/` that a method is made of."""
    return config["methods"][method].get("plugin", method)


def label_of(config: Config, method: str) -> str:
    """Return what tables and figures call a method."""
    return config["methods"][method].get("label", method)


def is_trained(config: Config, method: str) -> bool:
    """Say whether a method has to be trained: its plug-in builds a network."""
    return "build_network" in declarations(plugin_of(config, method))


def settings_of(config: Config, method: str, noise: str) -> Config:
    """Return a method's settings for one noise setting, its overrides applied."""
    entry = config["methods"][method]
    settings = {key: value for key, value in entry.items() if key not in NOT_SETTINGS}
    return _merged(settings, entry.get("overrides", {}).get(noise, {}))


def _with_text_keys(value: Any) -> Any:  # noqa: ANN401
    """Return a deep copy in which keys that YAML reads as numbers, such as an id 0.3, are text."""
    if isinstance(value, Mapping):
        return {str(key): _with_text_keys(content) for key, content in value.items()}
    return copy.deepcopy(value)


@functools.cache
def declarations(plugin: str) -> Config:
    """Return what a plug-in declares, without importing it (it may need torch).

    Returns:
        The module's literal constants by name, and its functions' names with value None.
    """
    path = PLUGINS / f"{plugin}.py"
    found: Config = {}
    for node in ast.parse(path.read_text(encoding="utf-8"), str(path)).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = None
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            # A computed constant is the plug-in's own business.
            with contextlib.suppress(ValueError):
                found[getattr(target, "id", "")] = ast.literal_eval(node.value)
    return found


@functools.cache
def _schema(name: str) -> Config:
    return yaml.safe_load((WORKFLOW / "schemas" / f"{name}.yaml").read_text(encoding="utf-8"))


def _merged(base: Config, changes: Config) -> Config:
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if nested else value
    return result


def _complete_schema(config: Config) -> Config:
    """Return the schema with what each noise setting's distribution and each plug-in accept."""
    schema = copy.deepcopy(_schema("config"))
    distributions = _schema("noise")
    for name, entry in config["noise"].items():
        own = copy.deepcopy(schema["$defs"]["noise"])
        own["properties"]["distribution"] = {"enum": sorted(distributions)}
        accepted = distributions.get(entry["distribution"])
        if accepted:
            own["properties"] |= accepted["properties"]
            own["required"] += accepted["required"]
            own["additionalProperties"] = False
        schema["properties"]["noise"]["properties"][name] = own
    for name, entry in config["methods"].items():
        plugin = entry.get("plugin", name)
        own = copy.deepcopy(schema["$defs"]["method"])
        known = sorted(path.stem for path in PLUGINS.glob("[!_]*.py"))
        if plugin not in known:
            key = f"methods.{name}" + (".plugin" if "plugin" in entry else "")
            raise ConfigurationError(
                f"{key}: there is no workflow/scripts/methods/{plugin}.py; allowed: {', '.join(known)}"
            )
        declared = declarations(plugin)
        if not {"denoise", "build_network"} & declared.keys():
            raise ConfigurationError(
                f"methods.{name}: workflow/scripts/methods/{plugin}.py has neither a function "
                "`denoise` nor `build_network`"
            )
        accepted = {"properties": {}} | copy.deepcopy(declared.get("SETTINGS", {}))
        if "build_network" in declared:
            accepted["properties"]["training"] = schema["$defs"]["training"]
            accepted["required"] = [*accepted.get("required", []), "training"]
        own["properties"] |= accepted["properties"]
        own["required"] = accepted.get("required", [])
        override = _without_required(accepted)
        own["properties"]["overrides"] = {
            "type": "object",
            "additionalProperties": override,
        }
        schema["properties"]["methods"]["properties"][name] = own
    return schema


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
        elif isinstance(error.instance, int | float) and error.validator_value == "string":
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
            for name in value.keys() - known.keys():
                full = ".".join([*path, str(name)])
                yield f"{full}: unknown key; allowed: {', '.join(sorted(known))}"
        case "required":
            for name in wanted:
                if name not in value:
                    yield f"{'.'.join([*path, name])}: missing"
        case "enum":
            yield f"{key}: {value!r} is not allowed; allowed: {', '.join(map(str, wanted))}"
        case "type":
            yield f"{key}: {value!r} is not allowed; allowed: a value of type {wanted}"
        case "minimum":
            yield f"{key}: {value} is not allowed; allowed: {wanted} or more"
        case "maximum":
            yield f"{key}: {value} is not allowed; allowed: {wanted} or less"
        case "exclusiveMinimum":
            yield f"{key}: {value} is not allowed; allowed: more than {wanted}"
        case "oneOf":
            yield f"{key}: either `subjects` (rendered) or `sources` (read) is needed"
        case "pattern":
            yield (
                f"{key}: {value!r} can't be a file name here; "
                "allowed: letters, digits and . _ + - (not at the start)"
            )
        case _:
            yield f"{key}: {error.message}"


def _fill_selection(config: Config) -> None:
    select = config.setdefault("select", {})
    select.setdefault("noise", list(config["noise"]))
    select.setdefault(
        "methods",
        [name for name, entry in config["methods"].items() if entry.get("default", True)],
    )


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
    for name, entry in datasets.items():
        if "subjects" in entry and entry["subjects"] <= entry["train"]:
            problems.append(
                f"datasets.{name}.train: {entry['train']} of {entry['subjects']} subjects "
                f"leaves none to test on; allowed: 1 to {entry['subjects'] - 1}"
            )
    for name in config["methods"]:
        for noise in config["methods"][name].get("overrides", {}):
            if noise not in config["noise"]:
                problems.append(
                    f"methods.{name}.overrides.{noise}: is not defined in noise; "
                    f"allowed: {', '.join(config['noise'])}"
                )
    for name in set(config["select"]["methods"]) & set(config["methods"]):
        multiple = declarations(plugin_of(config, name)).get("IMAGE_SIZE_MULTIPLE", 1)
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
