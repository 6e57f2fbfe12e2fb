"""Each constraint of the configuration broken, alone and in pairs: refused in words."""

import copy
import math
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from conftest import Project
from engine.checks import completed_schema
from engine.configuration import checked, merged, read_file
from engine.plugins import ConfigurationError

ROOT = Path(__file__).resolve().parents[1]
VALID = merged(read_file(ROOT / "config.yaml"), read_file(ROOT / "config/methods.yaml"))
# One of each kind.
METHODS = ["autoencoder", "median", "unet", "tuned_median", "unet+lattice", "noise2void", "dncnn"]
for part, names in (("noise", ["gaussian_0.1_0_1", "poisson_0.2_1"]), ("methods", METHODS)):
    VALID[part] = {name: VALID[part][name] for name in names}
for entry in VALID["methods"].values():
    entry.pop("only", None)
VALID["run"], VALID["select"] = "trial", {"noise": ["poisson_0.2_1"], "methods": ["median", "unet"]}
VALID["allowed"] = {"passes": 19600, "trials": 20, "seconds_as": "unet", "tolerance": 0.1}
VALID["methods"]["median"] |= {"default": True, "inversion": False, "only": ["poisson_0.2_1"]}
VALID["methods"]["unet"]["training"].update(layout="contiguous", loss="similarity", capture=True)
GONE = ...

WRONG = {
    "integer": ["many", "", "3 pixels", 1.5, "1.5", None, True, [], {}, [3], math.nan, "1e400"],
    "number": ["many", "", None, False, [], {}, math.nan, math.inf, "nan", "-inf"],
    "boolean": ["perhaps", 3, None, [], "1"],
    "string": [None, True, False, [], {}, ["a"]],
    "array": ["a", 3, None, {}, True],
    "object": ["a", 3, None, [], True],
}
# What would leave its folder, reach a shell, or be taken for an option or for two lines.
NAMES = ["", "a b", "-rf", "../up", "a/b", "a\\b", "a\nb", "a\n", "'", '"', "$(x)", "ä", "."]
NAMES += ["a" * 101, "logs", "provenance"]  # the last two are folders beside those with such names
# What breaks a keyword of the schema, from the keyword's content and a value that is right.
BROKEN: dict[str, Callable[[Any, Any], list]] = {
    "type": lambda kind, value: WRONG[kind],
    "minimum": lambda limit, value: [limit - 1],
    "maximum": lambda limit, value: [limit + 1],
    "exclusiveMinimum": lambda limit, value: [limit, limit - 1],
    "enum": lambda allowed, value: ["other", 3, None, [], allowed[0] + " "],
    "minItems": lambda limit, value: [[]],
    "maxItems": lambda limit, value: [value * (limit + 1)],
    "uniqueItems": lambda unique, value: [value + value[:1]],
    "minProperties": lambda limit, value: [{}],
}


@dataclass(frozen=True)
class Fault:
    """A change that makes the configuration wrong, and what the message must have."""

    path: tuple[str | int, ...]
    value: Any
    words: tuple[str, ...] = ()

    def is_told(self, message: str) -> bool:
        return all(word in message for word in self.words)


def at(config: Any, path: Iterable[str | int]) -> Any:
    """Return what is at a place of the configuration."""
    for key in path:
        config = config[key]
    return config


def changed(*changes: Fault) -> dict[str, Any]:
    """Return the configuration with some changes, if none has removed the place of another."""
    config = copy.deepcopy(VALID)
    for fault in changes:
        *parents, key = fault.path
        try:
            if fault.value is GONE:
                del at(config, parents)[key]
            else:
                at(config, parents)[key] = copy.deepcopy(fault.value)
        except (KeyError, IndexError, TypeError):
            assume(False)
    return config


def faults(schema: dict[str, Any], value: Any, path: tuple[str | int, ...]) -> Iterator[Fault]:
    """Yield a fault for each constraint of a schema, and of what is in the value."""
    name = ".".join(map(str, path))

    def wrong(bad: Any) -> Fault:
        return Fault(path, bad, (f"{name}: ", "is not allowed; allowed: "))

    for keyword, breaks in BROKEN.items():
        if path and keyword in schema:
            yield from map(wrong, breaks(schema[keyword], value))
    if "pattern" in schema:
        yield from map(wrong, ["", "a|b", "a\n", "a\nb"] if name.endswith("label") else NAMES)
    for key in schema.get("required", []):
        yield Fault((*path, key), GONE, (".".join(map(str, [*path, key])) + ": missing",))
    if schema.get("additionalProperties") is False:
        yield Fault((*path, "sise"), 3, (f"{name}.sise: unknown key; allowed: ".lstrip("."),))
    if "propertyNames" in schema:
        sample = next(iter(value.values()))
        for bad in NAMES:
            yield Fault((*path, bad), sample, (f"{name}: {bad!r} is not allowed; allowed: ",))
    if isinstance(value, dict):
        for key, content in value.items():
            own = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(own, dict):
                yield from faults(resolved(own), content, (*path, key))
    if isinstance(value, list) and "items" in schema:
        yield from faults(resolved(schema["items"]), value[0], (*path, 0))


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema, or the one that it refers to."""
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    return SCHEMA["$defs"][name] if name else schema


SCHEMA = completed_schema(copy.deepcopy(VALID))
FAULTS = list(faults(SCHEMA, VALID, ()))


def refusal(*changes: Fault) -> str:
    with pytest.raises(ConfigurationError) as caught:
        checked(changed(*changes))
    return str(caught.value)


def test_the_configuration_is_right_without_a_fault():
    assert checked(VALID)["run"] == "trial"
    assert len(FAULTS) > 800


def test_each_fault_alone_is_refused_in_words():
    told = [(fault, refusal(fault)) for fault in FAULTS]
    wrong = [f"{fault}: {message}" for fault, message in told if not fault.is_told(message)]
    assert not wrong, "\n".join(wrong)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(FAULTS), min_size=2, max_size=2, unique_by=lambda f: f.path))
def test_two_faults_are_refused_in_words(pair):
    message = refusal(*pair)
    assert any(fault.is_told(message) for fault in pair), message


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FAULTS), ANYTHING)
def test_anything_anywhere_is_read_or_refused(fault, value):
    try:
        checked(changed(Fault(fault.path, value)))
    except ConfigurationError as error:
        assert str(error)


PLACES = [("seed",), ("noise", "gaussian_0.1_0_1", "std")]


def number_read(path: tuple[str, ...], value: Any) -> str:
    """Return what a number is read as; 1 == 1.0, but they are other parameters of a job."""
    try:
        return repr(at(checked(changed(Fault(path, value))), path))
    except ConfigurationError:
        return "refused"


@settings(max_examples=150, deadline=None)
@given(st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_given_as_text_are_the_same_numbers(number):
    for path in PLACES:
        assert number_read(path, number) == number_read(path, repr(number))


@pytest.mark.parametrize("path", PLACES)
def test_one_number_has_one_form(path):
    assert {number_read(path, value) for value in (1, 1.0, "1", "1.0", "1e0")} == {"1"}


def test_a_part_that_is_wrong_in_a_file_may_be_mended_by_the_next(project: Project):
    (project.folder / "wrong.yaml").write_text("noise: 3\nmethods: [a]\n")
    right = yaml.safe_dump({part: VALID[part] for part in ("noise", "methods")})
    (project.folder / "right.yaml").write_text(right)
    done = project.snakemake("--dry-run", "--configfile", "wrong.yaml", "right.yaml")
    assert done.returncode == 0, done.stdout


def test_a_name_may_be_a_number_in_one_place_and_text_in_another():
    number = {"noise": {3: {"distribution": "poisson", "factor": 1, "lambda": 1}}}
    config = checked(VALID, number, {"noise": {"3": {"lambda": 2}}})
    assert config["noise"]["3"] == {"distribution": "poisson", "factor": 1, "lambda": 2}


def test_words_that_older_yaml_takes_for_truth_values_are_text(tmp_path):
    (tmp_path / "mine.yaml").write_text("run: no\nnoise: {on: {factor: 020}}\n")
    assert read_file(tmp_path / "mine.yaml") == {"run": "no", "noise": {"on": {"factor": 20}}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nimage_size: 128\nseed: 2\n", 'found duplicate key "seed", in line 3; keep one'),
        ("methods:\n  median:\n    size: 3\n    size: 5\n", '"size", in line 4; keep one'),
        ("noise: {a: {factor: 1}, a: {factor: 2}}\n", '"a", in line 1; keep one'),
        ("noise:\n  0.3: {a: 1}\n  0.30: {a: 2}\n", '"0.3", in line 3; keep one'),
        ("noise:\n  0.3: {a: 1}\n  '0.3': {a: 2}\n", "noise.0.3 is given as a number and again"),
        ("noise:\n  - {a: 1, a: 2}\n", '"a", in line 2; keep one'),
        ("? {a: 2}\n: 3\n", "unhashable"),
        ("a: &x {b: *x}\n", "an entry refers to itself"),
        ("- 1\n", "holds [1] in place of keys and values"),
        ("seed: [1\n", "line 2"),
        ("seed: !!python/name:os.system\n", "could not determine a constructor"),
        ("seed: \x00\n", "special characters are not allowed"),
    ],
)
def test_files_that_yaml_would_misread_are_refused(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_file(tmp_path / "mine.yaml")
    assert "mine.yaml: " in str(caught.value)
    assert message in str(caught.value)


def test_merged_keys_of_yaml_may_be_overridden(tmp_path):
    (tmp_path / "mine.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    read_file(tmp_path / "mine.yaml")


# A file, in which `;` ends a line, and what the message says of it.
WRONG_FILES = """
seed: 1; seed: 2 | mine.yaml: found duplicate key "seed", in line 2
image_size: many | image_size: 'many' is not allowed; allowed: a value of type int
run: true | run: True is not allowed; allowed: a value of type string (true and
noise: {true: {}} | noise.True: YAML reads this key as True; allowed: text
noise: {~: {}} | noise.None: YAML reads this key as None; allowed: text
noise: {logs: {distribution: gaussian}} | but not logs or provenance
"""
WRONG_COMMANDS = """
-C noise=3 | noise: 3 is not allowed; allowed: a value of type object
-C 'methods={median: {size: [3' | methods: '{median: {size: [3' is not allowed
-C 'noise={a b: {distribution: gaussian}}' | 'a b' is not allowed
-C run=../elsewhere | run: '../elsewhere' is not allowed; allowed: a file name
-C 'methods={a: {b: 3, b: 5}}' | --config methods: found duplicate key "b", in line 1
-C seed=3 seed=4 | --config seed: is given twice; keep one
--config seed=3 --config device=cpu | --config is given twice; give all after one --config
-C seed=3 --config=device=cpu | --config is given twice; give all after one --config
-Cseed=3 --config device=cpu | --config is given twice; give all after one --config
--configfile a --configfile a | --configfile is given twice; give all after one --configfile
--configfiles=a --configfile a | --configfile is given twice; give all after one --configfile
-C device=tpu seed=-1 | device: 'tpu' is not allowed; allowed: auto, cpu, cuda
"""


@pytest.mark.parametrize("case", WRONG_FILES.strip().splitlines())
def test_a_wrong_file_ends_a_run_before_any_job(project: Project, case):
    content, _, message = case.partition(" | ")
    (project.folder / "mine.yaml").write_text(content.replace("; ", "\n"))
    assert_refused(project, message, "--configfile", "mine.yaml")


@pytest.mark.parametrize("case", WRONG_COMMANDS.strip().splitlines())
def test_a_wrong_command_line_ends_a_run_before_any_job(project: Project, case):
    arguments, _, message = case.partition(" | ")
    (project.folder / "a").write_text("seed: 1\n")
    assert_refused(project, message, *shlex.split(arguments))


def test_a_broken_config_yaml_ends_before_any_job(project: Project):
    (project.folder / "config.yaml").write_text("seed: [1\n")
    assert_refused(project, "config.yaml: ")
    (project.folder / "config.yaml").unlink()
    assert_refused(project, "config.yaml: there is no such file")


def assert_refused(project: Project, message: str, *arguments: str) -> None:
    done = project.snakemake(*arguments)
    assert done.returncode != 0
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert "Snakefile" not in done.stdout
    assert not (project.folder / "results").exists()
    assert not (project.folder / "resources/datasets").exists()
