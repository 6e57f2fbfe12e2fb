"""`verify.py` finds and mends what is damaged; `why.py` explains what would run."""

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from unittest.mock import Mock, patch

import pytest
import yaml
from snakemake.jobs import Reason
from snakemake.persistence import ParamsChange

from conftest import TWO_NOISES, Project, own_images
from files.atomic import file_digest
from manifest import make_manifest
from verify import problems
from why import differences, explained

pytestmark = pytest.mark.slow

GAUSSIAN, POISSON = TWO_NOISES


@pytest.fixture
def copy(finished: Project, tmp_path: Path) -> Project:
    """A finished project that may be changed."""
    return finished.copied(tmp_path / "copy")


def said(project: Project, tool: str, *arguments: str, status: int = 0) -> str:
    """Run a tool, which must end with this status; return what it said."""
    done = project.script(tool, *arguments)
    assert done.returncode == status, done.stdout
    return done.stdout


def rebuild(project: Project, text: str) -> int:
    """Run each command that `verify.py` prints to make files again; return how many there are."""
    commands = re.findall(r"^  to make it again: snakemake (.*)$", text, re.MULTILINE)
    for command in commands:
        project.succeed(*shlex.split(command))
    return len(commands)


def test_altered_and_missing_files_are_named_with_what_makes_them_again(
    copy: Project, monkeypatch: pytest.MonkeyPatch
):
    assert "files are as they were made" in said(copy, "verify.py")
    monkeypatch.chdir(copy.folder)
    altered = Path(f"results/phantom/denoised/{POISSON}/median.npy")
    missing = Path("resources/datasets/phantom/16px/train.npy")
    original = {path: path.read_bytes() for path in (altered, missing)}
    date = altered.stat().st_mtime_ns
    altered.write_bytes(original[altered][:-1] + bytes([original[altered][-1] ^ 1]))  # one bit
    os.utime(altered, ns=(date, date))  # as a bad disk does
    missing.unlink()
    assert copy.planned() == set()  # Snakemake notices nothing
    text = said(copy, "verify.py", status=1)
    for words in (f"{altered} was altered since it was made", f"{missing} is missing", "2 of "):
        assert words in text
    assert rebuild(copy, text) == 2
    assert {path: path.read_bytes() for path in original} == original
    said(copy, "verify.py")
    # Denoising took another time, which these show.
    assert copy.planned() == {("compare_methods",), ("plot_compute",)}


def test_the_command_has_the_options_of_the_run(copy: Project):
    (copy.folder / "my settings.yaml").write_text("image_size: 24\n")
    select = f"select={{noise: [{POISSON}], methods: [median]}}"
    label = 'methods={median: {label: "Tukey\'s"}}'
    target = copy.folder / "results/other/table.md"
    options = ["--configfile", "my settings.yaml", "--config", "run=other", select, label]
    copy.succeed(*options, "--", "results/other/table.md")
    right = target.read_bytes()
    target.write_text("nonsense")
    assert rebuild(copy, said(copy, "verify.py", "results/other", status=1)) == 1
    assert target.read_bytes() == right


def test_damaged_records_are_named(copy: Project):
    record = copy.folder / "results/phantom/provenance/make_table.json"
    record.write_text(record.read_text()[:-30])
    text = said(copy, "verify.py", status=1)
    assert "provenance/make_table.json can't be read" in text
    assert "Traceback" not in text
    text = said(copy, "why.py", "--config", "methods={median: {label: middle}}")
    assert "make_table\n" in text


def test_files_made_with_other_settings_than_snakemake_planned_are_named(copy: Project):
    for name in ("augment_images", f"train_denoiser/{POISSON}/unet"):
        record = copy.folder / f"results/phantom/provenance/{name}.json"
        record.write_text(record.read_text().replace("2015", "7"))
    text = said(copy, "verify.py", status=1)
    assert "clean/train.npy was made with other settings than Snakemake has on record" in text
    assert "unet.pt was made with other" in text
    assert "\n3 of " in text
    shutil.rmtree(copy.folder / ".snakemake/metadata")
    said(copy, "verify.py")


def test_the_last_record_of_a_file_counts_and_what_cannot_be_read_is_named(tmp_path: Path):
    """Whatever the names of the records; a folder took the place of the other file."""
    (tmp_path / "a").write_text("new")
    (tmp_path / "folder").mkdir()
    paths = [str(tmp_path / name) for name in ("a", "folder")]
    common = {"options": [], "target": paths[0], "params": {}}
    records = {
        Path("1"): common | {"made": "2", "outputs": {paths[0]: file_digest(paths[0])}},
        Path("2"): common | {"made": "1", "outputs": dict.fromkeys(paths, "old")},
    }
    command = shlex.join(["snakemake", "--cores", "all", "--force", "--", paths[0]])
    assert list(problems(records)) == [(f"{paths[1]} can't be read (Is a directory)", command)]


def test_without_records_nothing_is_called_verified(project: Project):
    assert "nothing is recorded" in said(project, "verify.py", status=1)


def test_records_say_what_was_made_of_what(finished: Project):
    path = finished.folder / f"results/phantom/provenance/train_denoiser/{POISSON}/autoencoder.json"
    record = json.loads(path.read_text())
    assert record["rule"] == "train_denoiser"
    inputs = [f"results/phantom/{part}/train.npy" for part in ("clean", f"noisy/{POISSON}")]
    assert record["inputs"] == inputs
    assert record["params"]["settings"]["training"]["steps"] == 6
    code = record["params"]["code"]
    assert {"train_denoiser.py", "recipes/published.py", "noise/seeds.py"} <= code.keys()


def test_files_without_a_record_are_named(copy: Project):
    results = copy.folder / "results/phantom"
    (results / "provenance/make_table.json").unlink()
    (results / "models/benchmarks").mkdir()
    # The last one is not in a folder of logs.
    for name in ("logs/more.log", "models/.half-written.pt", "models/benchmarks/logs.pt"):
        (results / name).touch()
    text = said(copy, "verify.py", status=1)
    assert "results/phantom: table.csv, table.html, table.md: no record" in text
    assert "results/phantom/models/benchmarks: logs.pt: no record" in text
    assert "more.log" not in text
    assert "half-written" not in text
    assert text.endswith("\n4 files have no record\n")


def test_a_data_set_that_was_rendered_and_is_now_read_is_verified(project: Project, tmp_path: Path):
    """Two rules have made the same file: what the later one recorded counts."""
    target = "resources/datasets/phantom/16px/train.npy"
    project.succeed(target)
    mine = {"sources": [str(own_images(tmp_path))], "train": 6}
    project.edit_config(lambda config: config["datasets"].update(phantom=mine))
    project.succeed(target)
    said(project, "verify.py")


def test_a_run_in_another_directory(project: Project, tmp_path: Path):
    """With `--directory` results are elsewhere; files that come with the project are found."""
    images = own_images(tmp_path)
    make_manifest(images, project.folder / "resources/mine.csv")
    mine = {"sources": [str(images)], "train": 6, "manifest": "resources/mine.csv"}
    project.edit_config(lambda config: config["datasets"].update(mine=mine))
    elsewhere = Project.at(tmp_path / "else where")
    elsewhere.folder.mkdir()
    there = ["--directory", str(elsewhere.folder), "--config"]
    project.planned(*there, "dataset=isbi2015")  # its published numbers are found
    there += ["dataset=mine", f"select={{noise: [{POISSON}], methods: [median]}}"]
    there += ["--", "results/mine/table.md"]
    project.succeed(*there)
    assert not (project.folder / "results").exists()
    assert project.planned(*there) == set()
    seed = [*there[:-2], "seed=7", *there[-2:]]
    assert "because seed: 2015 became 7" in said(project, "why.py", *seed)

    table = elsewhere.folder / "results/mine/table.md"
    right = table.read_bytes()
    table.write_text("nonsense")
    verify = [sys.executable, str(project.folder / "workflow/tools/verify.py")]
    text = elsewhere.run(*verify).stdout
    assert "table.md was altered" in text
    assert rebuild(project, text) == 1
    assert table.read_bytes() == right
    assert elsewhere.run(*verify).returncode == 0


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
    text = said(finished, "why.py", "--config", setting)
    assert f"    because {REASONS[setting]}\n" in text
    assert text.count("jobs would run") == 1


def test_other_reasons_are_explained_as_well(copy: Project):
    assert said(copy, "why.py") == "nothing would run: all is up to date\n"
    forced = "plot_compute\n    because you forced it\n1 job would run\n"
    assert said(copy, "why.py", "--forcerun", "plot_compute") == forced
    copy.append("files/tensors.py", "\nANSWER = 42\n")
    (copy.folder / "results/phantom/table.md").unlink()
    text = said(copy, "why.py")
    assert "because the code that it runs changed (files/tensors.py)" in text
    assert "because results/phantom/table.md is gone" in text
    assert "because it needs what train_denoiser will make" in text
    text = said(copy, "why.py", "--config", "run=new")
    assert "because there is no results/new/table.md" in text
    split = "resources/datasets/phantom/16px/split.csv"
    with (copy.folder / split).open("a") as stream:
        stream.write("\n")
    assert f"because {split} is another one now" in said(copy, "why.py")


def test_causes_are_explained_before_what_follows_however_quiet_snakemake_is(finished: Project):
    text = said(finished, "why.py", "--config", "seed=7")
    chain = ["train_denoiser", "apply_network", "score_images"]
    chain = [f"{rule} {POISSON} autoencoder" for rule in chain] + ["plot_compute"]
    places = [text.index(f"\n{job}\n") for job in chain]
    assert places == sorted(places)
    assert text.startswith("augment_images\n")
    jobs = len(finished.planned("--config", "seed=7"))
    assert text.endswith(f"\n{jobs} jobs would run\n")
    assert said(finished, "why.py", "-q", "all", "--config", "seed=7") == text


NO_PLAN = """
1 | results/phantom/none.md | No rule to produce results/phantom/none.md
1 | -q all --config sed=1 | sed: unknown key
2 | --nonsense | unrecognized arguments: --nonsense
1 | --list-rules | these options of Snakemake plan no run
"""


@pytest.mark.parametrize("case", NO_PLAN.strip().splitlines())
def test_without_a_plan_snakemake_s_message_is_shown(finished: Project, case: str):
    status, options, words = case.split(" | ")
    text = said(finished, "why.py", *options.split(), status=int(status))
    assert words in text
    assert "would run" not in text


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


def said_of(parts: dict, record: dict) -> list[str]:
    """Return what is said of a job whose reason has these parts; its record may be empty."""
    reason = Reason()
    for name, value in parts.items():
        setattr(reason, name, value)
    makers = {"corrupt_images": {MADE}, "split_images": {INPUT}}
    makers = {Mock(**{"rule.name": rule}): made for rule, made in makers.items()}
    params = {"seed": 7, "code": CODE, "like JSON": {3: (Path("a"), None)}}
    job = Mock(log=["logs/job.log"], input=[INPUT, MADE], params=params)
    dag = Mock(reason=lambda _: reason, dependencies={job: makers})
    with patch("why.read_record", return_value=json.loads(json.dumps(record))):
        return list(explained(job, dag))


CODE = {"new.py": "1", "edited.py": "2", "same.py": "3"}
PARAMS = {"seed": 2015, "like JSON": {"3": ["a", None]}, "code": CODE}
RECORD = {"inputs": [INPUT], "params": PARAMS}


def test_each_part_of_a_reason_is_explained():
    """Those of which the records tell more, and all others that Snakemake has, in its words."""
    for part, (value, sentence) in PARTS.items():
        assert said_of({part: value}, RECORD) == [sentence]
    others = {}
    for part in Reason.__slots__:
        setattr(reason := Reason(), part, True)
        if part not in PARTS and (names := list(reason.get_names())):
            others[part] = names[0]
    assert {"code_changed", "software_stack_changed", "noio"} <= others.keys()
    for part, name in others.items():
        assert said_of({part: True}, RECORD) == [name]
    everything = {part: value for part, (value, _) in PARTS.items()} | dict.fromkeys(others, True)
    sentences = [sentence for _, sentence in PARTS.values()] + [*others.values()]
    assert sorted(said_of(everything, RECORD)) == sorted(sentences)


def test_more_is_told_from_the_record():
    # Inputs that an earlier job makes are named once.
    parts = {"_updated_input": {INPUT, MADE}, "_updated_input_run": {MADE}}
    sentences = [f"{INPUT} is another one now", "it needs what corrupt_images will make"]
    assert said_of(parts, RECORD) == sentences

    parts = {"params_changed": PARTS["params_changed"][0], "input_changed": True}
    edited = PARAMS | {"code": {"edited.py": "0", "same.py": "3"}}
    assert said_of(parts, {"inputs": [MADE, "old.npy"], "params": edited}) == [
        f"it takes {INPUT} as well",
        "it no longer takes old.npy",
        "the code that it runs changed (edited.py, new.py)",
        "seed: 2015 became 7",
    ]
    as_now = {"inputs": [INPUT, MADE], "params": PARAMS | {"seed": 7}}
    for record in ({}, as_now):  # which is not of the run that Snakemake knows
        sentences = ["it has other inputs", "of its parameters, 2015 became 7"]
        assert said_of(parts, record) == sentences
    assert said_of({"_missing_output": {OUTPUT}}, {}) == [f"there is no {OUTPUT}"]


# Parameters of a job, old and new, and what is said of them; their order is no matter.
DIFFERENCES = """
{a: 1, b: 2} | {b: 2, a: 1}
{a: {b: 1, c: 2}} | {a: {c: 2, b: 1}} | a: in another order
{a: {b: {c: 1, d: 2}}} | {a: {b: {d: 2, c: 3}}} | a.b: in another order | a.b.c: 1 became 3
{a: {b: 1}} | {a: {c: 2}} | a.b is no longer given | a.c is given now
{a: 1} | {a: 1.0} | a: 1 became 1.0
{a: 1} | {a: true} | a: 1 became True
{a: {b: 1}} | {a: null} | a: {'b': 1} became None
{a: [1, {b: 2}]} | {a: [1, {b: 3}]} | a: [1, {'b': 2}] became [1, {'b': 3}]
{a: {b.c: ""}} | {a: {b.c: "; d: e, f"}} | a.b.c:  became ; d: e, f
"""


@pytest.mark.parametrize("case", DIFFERENCES.strip().splitlines())
def test_differences_of_settings(case: str):
    old, new, *sentences = case.split(" | ")
    assert list(differences("", yaml.safe_load(old), yaml.safe_load(new))) == sentences


@pytest.mark.parametrize("tool", ["why.py", "verify.py"])
def test_help_helps(tool: str, project: Project):
    text = said(project, tool, "--help")
    assert len(text) > 100
    assert sys.executable not in text
