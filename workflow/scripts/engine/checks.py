"""Checks a configuration against the schema, completed by what plug-ins declare."""

import contextlib
import copy
import functools
import math
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from engine.fairness import unfair
from engine.films import film_problems
from engine.learning import learning_problems
from engine.methods import methods_of
from engine.plugins import Config, ConfigurationError, declarations, plugins, schema
from engine.splits import split_problems

COLUMNS = ("ground truth", "noisy")  # what tables and figures show besides the methods

# What is allowed where a value breaks one of these keywords of JSON Schema.
IN_WORDS = {
    "minimum": "{} or more",
    "maximum": "{} or less",
    "exclusiveMinimum": "more than {}",
    "minItems": "at least {} entry",
    "minProperties": "at least {} entry",
    "maxItems": "at most {} entries",
    "uniqueItems": "each entry once",
}


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


def validated(config: Config) -> Config:
    """Return a copy that fits the schema: text is read as the number it is, defaults are filled in.

    Raises:
        ConfigurationError: Naming every key that is wrong, its value and what is allowed.
    """
    config = copy.deepcopy(config)
    # What single noise settings and methods accept is only known once these are mappings.
    for known in (schema("config"), None):
        wanted = known or completed_schema(config)
        _read_text_values(wanted, config)
        fill_defaults(wanted, config)
        errors = sorted(Validator(wanted).iter_errors(config), key=lambda e: list(map(str, e.path)))
        if errors:
            lines = dict.fromkeys(line for error in errors for line in messages(error))
            raise ConfigurationError("\n".join(lines))
    return config


def completed_schema(config: Config) -> Config:
    """Return the schema with the names that entries may refer to, and all that plug-ins accept.

    Raises:
        ConfigurationError: When there is no such plug-in, or it declares what it can't.
    """
    complete = copy.deepcopy(schema("config"))
    own, noises = complete["properties"], list(config["noise"])
    own["dataset"]["enum"] = list(config["datasets"])
    own["select"]["properties"]["noise"]["items"]["enum"] = noises
    own["select"]["properties"]["methods"]["items"]["enum"] = list(config["methods"])
    own["table"]["items"]["enum"] = list(config["methods"])
    own["allowed"]["properties"]["seconds_as"]["enum"] = list(config["methods"])
    for name, entry in config["noise"].items():
        own["noise"]["properties"][name] = _noise_schema(entry["distribution"])
    for name, entry in config["methods"].items():
        method = own["methods"]["properties"][name] = method_schema(name, entry, noises)
        method["properties"]["trained_on"]["enum"] = list(config["datasets"])
    return complete


@functools.cache
def declared(folder: str, name: str) -> Config:
    """Return what a plug-in declares, checked.

    Raises:
        ConfigurationError: When it lacks something, or a constant says what it can't.
    """
    found, wanted = declarations(folder, name), schema("plugin")
    errors = Validator(wanted | wanted["$defs"][folder]).iter_errors(found)
    lines = [line for error in errors for line in messages(error)]
    if not lines:
        entries = schema("config")["$defs"]
        reserved = {*entries["noise"]["properties"], *entries["method"]["properties"], "training"}
        for setting, accepted in found.get("SETTINGS", {}).items():
            if setting in reserved:
                lines.append(f"SETTINGS.{setting}: every entry may have this; use another name")
            elif "default" in accepted and not Validator(accepted).is_valid(accepted["default"]):
                lines.append(f"SETTINGS.{setting}: its default does not fit it")
    if folder == "methods" and not {"denoise", "build_network"} & found.keys():
        lines.append("has neither a function `denoise` nor `build_network`")
    if "build_network" in found and found.get("RECIPE") not in plugins("recipes"):
        allowed = ", ".join(plugins("recipes"))
        lines.append(f"RECIPE: {found.get('RECIPE')!r} is not allowed; allowed: {allowed}")
    if lines:
        file = f"workflow/scripts/{folder}/{name}.py"
        raise ConfigurationError("\n".join(f"{file}: {line}" for line in dict.fromkeys(lines)))
    return found


def _noise_schema(distribution: str) -> Config:
    own = copy.deepcopy(schema("config")["$defs"]["noise"])
    own["properties"]["distribution"]["enum"] = plugins("distributions")
    if distribution in plugins("distributions"):
        _add_settings(own, declared("distributions", distribution)["SETTINGS"])
    return own


def method_schema(name: str, entry: Config, noises: list[str]) -> Config:
    """Return the schema of one entry in `methods`."""
    own, training = (copy.deepcopy(schema("config")["$defs"][k]) for k in ("method", "training"))
    plugin = entry.get("plugin", name)
    if plugin not in plugins("methods"):
        key = f"methods.{name}" + (".plugin" if "plugin" in entry else "")
        fault = f"{key}: there is no workflow/scripts/methods/{plugin}.py"
        raise ConfigurationError(f"{fault}; allowed: {', '.join(plugins('methods'))}")
    found = declared("methods", plugin)
    settings = dict(found.get("SETTINGS", {}))
    properties = own["properties"]
    if not found.get("CONDITIONED"):
        del properties["noise_level"]
    else:
        properties["noise_level"]["enum"] += noises
    if "build_network" in found:
        _add_settings(training, declared("recipes", found["RECIPE"])["SETTINGS"])
        settings["training"] = training
        del properties["inversion"], properties["tune"]  # networks learn
        if "model" in entry:  # whose file says all this
            settings = {}
            own["required"] = ["trained_on"]
    else:
        del properties["model"]
        grids = {k: {"type": "array", "items": v, "minItems": 1} for k, v in settings.items()}
        properties["tune"] |= {"properties": grids, "additionalProperties": False}
    properties["only"]["items"]["enum"] = noises
    properties["overrides"]["properties"] = {noise: _part(settings) for noise in noises}
    _add_settings(own, settings, given=entry.get("tune", {}))
    return own


def _add_settings(own: Config, settings: Config, given: Config | None = None) -> None:
    """Let the schema of an entry accept settings, and want those that have no default.

    Args:
        own: The schema.
        settings: A schema for each setting, by name.
        given: Settings that are given elsewhere.
    """
    own["properties"] |= copy.deepcopy(settings)
    own["additionalProperties"] = False
    for name in given or {}:
        own["properties"].get(name, {}).pop("default", None)
    wanted = [k for k, v in settings.items() if "default" not in v and k not in (given or {})]
    own["required"] = [*own.get("required", []), *wanted]


def _part(settings: Config) -> Config:
    """Return the schema of a mapping that replaces some of the settings."""
    properties = {
        name: _part(value["properties"])
        if value.get("type") == "object"
        else {key: part for key, part in value.items() if key != "default"}
        for name, value in settings.items()
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def fill_defaults(wanted: Config, value: Any) -> None:  # noqa: ANN401
    """Add the defaults of a schema to a mapping, and to those in it."""
    if isinstance(value, dict):
        for name, accepted in wanted.get("properties", {}).items():
            if "default" in accepted:
                value.setdefault(name, copy.deepcopy(accepted["default"]))
            fill_defaults(accepted, value.get(name))


def _read_text_values(wanted: Config, config: Config) -> None:
    """Replace text that plainly is a number or a truth value where the schema wants one."""
    for error in Validator(wanted).iter_errors(config):
        if error.validator not in ("type", "enum") or not error.absolute_path:
            continue
        *parents, key = error.absolute_path
        holder: Any = config
        for parent in parents:
            holder = holder[parent]
        value, accepted = _plain_value(error.instance), error.validator_value
        if isinstance(value, float) and value.is_integer() and accepted == "integer":
            holder[key] = int(value)
        elif isinstance(error.instance, str) and (error.validator == "type" or value in accepted):
            holder[key] = value
        elif _is_number(error.instance) and accepted == "string":
            holder[key] = str(error.instance)


def _plain_value(text: object) -> object:
    """Return the number or truth value that a text plainly is; other values as they are."""
    if not isinstance(text, str):
        return text
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return {"true": True, "false": False}.get(text.lower(), text)


def messages(error: ValidationError) -> Iterator[str]:
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
            yield (
                f"{key}: exactly one of `subjects` (rendered), `sources` (the first that works is "
                "read) and `join` (all are read, without `manifest`) is needed"
            )
        case _:
            allowed = _allowed(error)
            wrong = f"{value!r} is not allowed; allowed: {allowed}"
            yield f"{key}: {wrong if allowed else error.message}"


def _allowed(error: ValidationError) -> str | None:
    """Say what is allowed in place of a wrong value, if there are words for it."""
    wanted = error.validator_value
    if error.validator == "enum":
        return ", ".join(map(str, wanted))
    if error.validator == "type":
        hint = isinstance(error.instance, bool) and wanted == "string"
        kinds = wanted if isinstance(wanted, str) else " or ".join(wanted)
        return f"a value of type {kinds}" + " (true and false in quotes)" * hint
    if error.validator in IN_WORDS:
        return IN_WORDS[error.validator].format(wanted)
    return error.schema.get("description")


def problems_together(config: Config) -> Iterator[str]:
    """Yield what a schema cannot say: values that must fit each other."""
    methods = config["methods"]
    found = {name: declared("methods", e.get("plugin", name)) for name, e in methods.items()}
    for name in config["table"]:
        if "CAVEAT" in found[name]:
            yield f"table: {name!r} has a caveat, which table.md can't say; it is in methods.md"
    yield from unfair(config)
    yield from split_problems(config["datasets"])
    yield from learning_problems(config)
    yield from film_problems(config)
    for name, entry in methods.items():
        overrides = entry.get("overrides", {}).items()
        given = {f"methods.{name}": entry} | {
            f"methods.{name}.overrides.{noise}": settings for noise, settings in overrides
        }
        for place, settings in given.items():
            for key in entry.get("tune", {}).keys() & settings.keys():
                yield f"{place}.{key}: is also in tune; give one of the two"
    if max(config["replicates"].values()) > 1:
        for name in filter(str.isdigit, methods):
            yield f"methods.{name}: replicates have numbers in this place; give it another name"
    selected = config["select"]["methods"]
    label_of = {name: method.label for name, method in methods_of(config).items()}
    labels = [*COLUMNS, *map(label_of.get, selected)]
    for name in selected:
        multiple = found[name].get("IMAGE_SIZE_MULTIPLE", 1)
        patch = methods[name].get("training", {}).get("patch", multiple)
        if patch % multiple:
            yield f"methods.{name}.training.patch: {patch} is no multiple of {multiple}"
        if config["image_size"] % multiple:
            yield (
                f"image_size: {config['image_size']} does not suit the method {name}; "
                f"allowed: multiples of {multiple}"
            )
        if labels.count(label_of[name]) > 1:
            yield f"methods.{name}.label: {label_of[name]!r} is taken; give each method its own"
