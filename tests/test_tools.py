"""`verify.py` finds and mends what is damaged; `why.py` explains what would run."""

import json
import os
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.jobs import Reason
from snakemake.persistence import ParamsChange

from conftest import TWO_NOISES, Project, own_images
from engine.records import KEYS
from files.atomic import file_digest
from manifest import make_manifest
from verify import problems
from why import differences, explained

pytestmark = pytest.mark.slow

GAUSSIAN, POISSON = TWO_NOISES


def rebuild(project: Project, said: str) -> int:
    """Run each command that `verify.py` prints to make files again; return how many there are."""
    commands = re.findall(r"^  to make it again: snakemake (.*)$", said, re.MULTILINE)
    for command in commands:
        project.succeed(*shlex.split(command))
    return len(commands)


def test_altered_and_missing_files_are_named_with_what_makes_them_again(
    finished: Project, tmp_path: Path
):
    copy = finished.copied(tmp_path / "copy")
    done = copy.script("verify.py")
    assert done.returncode == 0, done.stdout
    assert "files are as they were made" in done.stdout

    altered = copy.folder / f"results/phantom/denoised/{POISSON}/median.npy"
    missing = copy.folder / "resources/datasets/phantom/16px/train.npy"
    original = {path: path.read_bytes() for path in (altered, missing)}
    date = altered.stat().st_mtime_ns
    altered.write_bytes(original[altered][:-1] + bytes([original[altered][-1] ^ 1]))  # one bit
    os.utime(altered, ns=(date, date))  # as a bad disk does
    missing.unlink()
    assert copy.planned() == set()  # Snakemake notices nothing
    done = copy.script("verify.py")
    assert done.returncode == 1
    assert f"{altered.relative_to(copy.folder)} was altered since it was made" in done.stdout
    assert f"{missing.relative_to(copy.folder)} is missing" in done.stdout
    assert "2 of " in done.stdout

    assert rebuild(copy, done.stdout) == 2
    assert {path: path.read_bytes() for path in original} == original
    assert copy.script("verify.py").returncode == 0
    # Denoising took another time, which these show.
    assert copy.planned() == {("compare_methods",), ("plot_compute",)}


def test_the_command_has_the_options_of_the_run(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    (copy.folder / "my settings.yaml").write_text("image_size: 24\n")
    copy.succeed(
        "--configfile",
        "my settings.yaml",
        "--config",
        "run=other",
        f"select={{noise: [{POISSON}], methods: [median]}}",
        'methods={median: {label: "Tukey\'s"}}',
    )
    target = copy.folder / "results/other/table.md"
    right = target.read_bytes()
    target.write_text("nonsense")
    assert rebuild(copy, copy.script("verify.py", "results/other").stdout) == 1
    assert target.read_bytes() == right


def test_damaged_records_are_named(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    record = copy.folder / "results/phantom/provenance/make_table.json"
    record.write_text(record.read_text()[:-30])
    done = copy.script("verify.py")
    assert done.returncode == 1
    assert "provenance/make_table.json can't be read" in done.stdout
    assert "Traceback" not in done.stdout
    done = copy.script("why.py", "--config", "methods={median: {label: middle}}")
    assert done.returncode == 0, done.stdout
    assert "make_table\n" in done.stdout


def test_the_last_record_of_a_file_counts_and_what_cannot_be_read_is_named(tmp_path: Path):
    """Whatever the names of the records; a folder took the place of the other file."""
    (tmp_path / "a").write_text("new")
    (tmp_path / "folder").mkdir()
    paths = [str(tmp_path / name) for name in ("a", "folder")]
    common = {"options": [], "target": paths[0]}
    records = {
        Path("1"): common | {"made": "2", "outputs": {paths[0]: file_digest(paths[0])}},
        Path("2"): common | {"made": "1", "outputs": dict.fromkeys(paths, "old")},
    }
    command = shlex.join(["snakemake", "--cores", "all", "--force", "--", paths[0]])
    assert list(problems(records)) == [(f"{paths[1]} can't be read (Is a directory)", command)]


def test_without_records_nothing_is_called_verified(project: Project):
    done = project.script("verify.py")
    assert done.returncode == 1
    assert "nothing is recorded" in done.stdout


def test_records_say_what_was_made_of_what(finished: Project):
    path = finished.folder / f"results/phantom/provenance/train_denoiser/{POISSON}/autoencoder.json"
    record = json.loads(path.read_text())
    assert record["rule"] == "train_denoiser"
    assert record["inputs"] == [
        "results/phantom/clean/train.npy",
        f"results/phantom/noisy/{POISSON}/train.npy",
    ]
    assert record["params"]["settings"]["training"]["steps"] == 6
    code = record["params"]["code"]
    assert {"train_denoiser.py", "recipes/published.py", "noise/seeds.py"} <= code.keys()


def test_files_without_a_record_are_named(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    results = copy.folder / "results/phantom"
    (results / "provenance/make_table.json").unlink()
    (results / "logs/more.log").touch()
    (results / "models/.half-written.pt").touch()
    (results / "models/benchmarks").mkdir()
    (results / "models/benchmarks/logs.pt").touch()  # not in a folder of logs
    done = copy.script("verify.py")
    assert done.returncode == 1
    assert "results/phantom: table.csv, table.html, table.md: no record" in done.stdout
    assert "results/phantom/models/benchmarks: logs.pt: no record" in done.stdout
    assert "more.log" not in done.stdout
    assert "half-written" not in done.stdout
    assert done.stdout.endswith("\n4 files have no record\n")


def test_a_data_set_that_was_rendered_and_is_now_read_is_verified(project: Project, tmp_path: Path):
    """Two rules have made the same file: what the later one recorded counts."""
    target = "resources/datasets/phantom/16px/train.npy"
    project.succeed(target)
    images = own_images(tmp_path)
    project.edit_config(
        lambda config: config["datasets"].update(phantom={"sources": [str(images)], "train": 6})
    )
    project.succeed(target)
    done = project.script("verify.py")
    assert done.returncode == 0, done.stdout


def test_a_run_in_another_directory(project: Project, tmp_path: Path):
    """With `--directory` results are elsewhere; files that come with the project are found."""
    images = own_images(tmp_path)
    make_manifest(images, project.folder / "resources/mine.csv")
    mine = {"sources": [str(images)], "train": 6, "manifest": "resources/mine.csv"}
    project.edit_config(lambda config: config["datasets"].update(mine=mine))
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    there = ["--directory", str(elsewhere)]
    project.planned(*there, "--config", "dataset=isbi2015")  # its published numbers are found
    arguments = [
        *there,
        "--config",
        "dataset=mine",
        f"select={{noise: [{POISSON}], methods: [median]}}",
    ]
    project.succeed(*arguments)
    assert not (project.folder / "results").exists()
    assert project.planned(*arguments) == set()
    table = elsewhere / "results/mine/table.md"
    right = table.read_bytes()

    done = project.script("why.py", *arguments[:2], "--config", *arguments[3:], "seed=7")
    assert "because seed: 2015 became 7" in done.stdout

    table.write_text("nonsense")
    verify = [sys.executable, str(project.folder / "workflow/tools/verify.py")]
    done = Project.at(elsewhere).run(*verify)
    assert "table.md was altered" in done.stdout
    assert rebuild(project, done.stdout) == 1
    assert table.read_bytes() == right
    assert Project.at(elsewhere).run(*verify).returncode == 0


# ----------------------------------------------------------------------------------- explanation

REASONS = {
    "noise={poisson_0.2_1: {lambda: 2}}": "noise.lambda: 1 became 2",
    "methods={autoencoder: {training: {steps: 7}}}": "settings.training.steps: 6 became 7",
    'methods={median: {label: "a; b: c, d"}}': "labels.median: median became a; b: c, d",
    f"select={{noise: [{GAUSSIAN}]}}": f"noise.{POISSON} is no longer given",
    f"select={{noise: [{POISSON}, {GAUSSIAN}]}}": "noise: in another order",
}


@pytest.mark.parametrize("setting", REASONS)
def test_reasons_are_explained_in_words(finished: Project, setting: str):
    done = finished.script("why.py", "--config", setting)
    assert done.returncode == 0, done.stdout
    assert f"    because {REASONS[setting]}\n" in done.stdout
    assert done.stdout.count("jobs would run") == 1


def test_other_reasons_are_explained_as_well(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    assert copy.script("why.py").stdout == "nothing would run: all is up to date\n"
    assert copy.script("why.py", "--forcerun", "plot_compute").stdout == (
        "plot_compute\n    because you forced it\n1 job would run\n"
    )
    copy.append("files/tensors.py", "\nANSWER = 42\n")
    (copy.folder / "results/phantom/table.md").unlink()
    text = copy.script("why.py").stdout
    assert "because the code that it runs changed (files/tensors.py)" in text
    assert "because results/phantom/table.md is gone" in text
    assert "because it needs what train_denoiser will make" in text
    text = copy.script("why.py", "--config", "run=new").stdout
    assert "because there is no results/new/table.md" in text
    split = copy.folder / "resources/datasets/phantom/16px/split.csv"
    split.write_text(split.read_text() + "\n")
    text = copy.script("why.py").stdout
    assert f"because {split.relative_to(copy.folder)} is another one now" in text


def test_causes_are_explained_before_what_follows(finished: Project):
    text = finished.script("why.py", "--config", "seed=7").stdout
    chain = ["train_denoiser", "apply_network", "score_images"]
    chain = [f"{rule} {POISSON} autoencoder" for rule in chain] + ["plot_compute"]
    places = [text.index(f"\n{job}\n") for job in chain]
    assert places == sorted(places)
    assert text.startswith("augment_images\n")


def test_options_that_make_snakemake_quiet_change_nothing(finished: Project):
    setting = ["--config", "methods={median: {label: middle}}"]
    done = finished.script("why.py", "-q", "all", *setting)
    assert done.returncode == 0
    assert done.stdout == finished.script("why.py", *setting).stdout
    assert done.stdout.endswith("5 jobs would run\n")


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["results/phantom/none.md"], 1, "No rule to produce results/phantom/none.md"),
        (["-q", "all", "--config", "sed=1"], 1, "sed: unknown key"),
        (["--nonsense"], 2, "unrecognized arguments: --nonsense"),
        (["--list-rules"], 1, "these options of Snakemake plan no run"),
    ],
)
def test_without_a_plan_snakemake_s_message_is_shown(
    finished: Project, options: list[str], status: int, said: str
):
    done = finished.script("why.py", *options)
    assert done.returncode == status
    assert said in done.stdout
    assert "would run" not in done.stdout


# A part of Snakemake's reasons, a value of it, and what is said.
OUTPUT, INPUT, MADE = "results/a.npy", "data/in.csv", "data/made.npy"
PARTS = {
    "forced": (True, "you forced it"),
    "_missing_output": ({OUTPUT}, f"{OUTPUT} is gone"),
    "_incomplete_output": ({OUTPUT}, f"it was interrupted while it made {OUTPUT}"),
    "_updated_input": ({INPUT}, f"{INPUT} is another one now"),
    "_updated_input_run": ({MADE}, "it needs what corrupt_images will make"),
    "input_changed": (True, f"it takes {MADE} as well"),
    "params_changed": (ParamsChange({"2015"}, {"7"}), "seed: 2015 became 7"),
}


class Thing(SimpleNamespace):
    """Something with these attributes, in place of a job or a graph of Snakemake's."""

    __hash__ = object.__hash__


def said_of(parts: dict, folder: Path, recorded: dict | None) -> list[str]:
    """Return what is said of a job whose reason has these parts, with a record or without one."""
    if recorded is not None:
        path = folder / "provenance/job.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(dict.fromkeys(KEYS) | recorded))
    reason = Reason()
    for name, value in parts.items():
        setattr(reason, name, value)
    code = {"new.py": "1", "edited.py": "2", "same.py": "3"}
    params = {"seed": 7, "code": code, "like JSON": {3: (Path("a"), None)}}
    job = Thing(log=[folder / "logs/job.log"], input=[INPUT, MADE], params=params)
    makers = {
        Thing(rule=Thing(name="corrupt_images")): {MADE},
        Thing(rule=Thing(name="split_images")): {INPUT},
    }
    return list(explained(job, Thing(reason=lambda _: reason, dependencies={job: makers})))


PARAMS = {"seed": 2015, "like JSON": {"3": ["a", None]}}
RECORD = {"inputs": [INPUT], "params": PARAMS | {"code": {"edited.py": "0", "same.py": "3"}}}
SAME_CODE = {"params": PARAMS | {"code": {"new.py": "1", "edited.py": "2", "same.py": "3"}}}


def test_each_part_of_a_reason_is_explained(tmp_path: Path):
    """Those of which the records tell more, and all others that Snakemake has, in its words."""
    recorded = RECORD | SAME_CODE
    for number, (part, (value, sentence)) in enumerate(PARTS.items()):
        assert said_of({part: value}, tmp_path / str(number), recorded) == [sentence]
    others = {}
    for part in Reason.__slots__:
        setattr(reason := Reason(), part, True)
        if part not in PARTS and (names := list(reason.get_names())):
            others[part] = names[0]
    assert {"code_changed", "software_stack_changed", "noio"} <= others.keys()
    for part, name in others.items():
        assert said_of({part: True}, tmp_path / part, recorded) == [name]
    everything = {part: value for part, (value, _) in PARTS.items()} | dict.fromkeys(others, True)
    said = said_of(everything, tmp_path / "all", recorded)
    assert sorted(said) == sorted([sentence for _, sentence in PARTS.values()] + [*others.values()])


def test_inputs_that_an_earlier_job_makes_are_named_once(tmp_path: Path):
    parts = {"_updated_input": {INPUT, MADE}, "_updated_input_run": {MADE}}
    assert said_of(parts, tmp_path, RECORD) == [
        f"{INPUT} is another one now",
        "it needs what corrupt_images will make",
    ]


def test_changes_are_told_from_the_record(tmp_path: Path):
    parts = {"params_changed": PARTS["params_changed"][0], "input_changed": True}
    other = RECORD | {"inputs": [MADE, "old.npy"]}
    assert said_of(parts, tmp_path / "1", other) == [
        f"it takes {INPUT} as well",
        "it no longer takes old.npy",
        "the code that it runs changed (edited.py, new.py)",
        "seed: 2015 became 7",
    ]
    assert said_of(parts, tmp_path / "2", None) == [
        "it has other inputs",
        "of its parameters, 2015 became 7",
    ]
    as_now = SAME_CODE["params"] | {"seed": 7}  # the record is not of the run that Snakemake knows
    assert said_of(parts, tmp_path / "3", {"inputs": [INPUT, MADE], "params": as_now}) == [
        "it has other inputs",
        "of its parameters, 2015 became 7",
    ]
    parts = {"_missing_output": {OUTPUT}}
    assert said_of(parts, tmp_path / "4", None) == [f"there is no {OUTPUT}"]


@pytest.mark.parametrize(
    ("old", "new", "sentences"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),  # of a job's parameters; their order is no matter
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}, ["a: in another order"]),
        (
            {"a": {"b": {"c": 1, "d": 2}}},
            {"a": {"b": {"d": 2, "c": 3}}},
            ["a.b: in another order", "a.b.c: 1 became 3"],
        ),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, ["a.b is no longer given", "a.c is given now"]),
        ({"a": 1}, {"a": 1.0}, ["a: 1 became 1.0"]),
        ({"a": 1}, {"a": True}, ["a: 1 became True"]),
        ({"a": {"b": 1}}, {"a": None}, ["a: {'b': 1} became None"]),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, ["a: [1, {'b': 2}] became [1, {'b': 3}]"]),
        ({"a": {"b.c": "; d: e, f"}}, {"a": {"b.c": ""}}, ["a.b.c: ; d: e, f became "]),
    ],
)
def test_differences_of_settings(old: dict, new: dict, sentences: list[str]):
    assert list(differences("", old, new)) == sentences


@pytest.mark.parametrize("script", ["why.py", "verify.py"])
def test_help_helps(script: str, project: Project):
    done = project.script(script, "--help")
    assert done.returncode == 0
    assert len(done.stdout) > 100
    assert sys.executable not in done.stdout
