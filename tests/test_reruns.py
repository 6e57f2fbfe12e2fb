"""A change makes run again what depends on it, and nothing else; what is damaged is found."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pytest

from common.provenance import read_records
from conftest import SNAKEMAKE, TWO_NOISES, Project

pytestmark = pytest.mark.slow

GAUSSIAN, POISSON = TWO_NOISES
TRAINED, ALL = ["autoencoder", "unet"], ["autoencoder", "median", "unet"]
FIGURES = {("plot_examples", noise) for noise in TWO_NOISES}
COMPARED = {("compare_methods",), ("plot_compute",)}  # what shows every method
COLLECTED = COMPARED | {("make_table",), ("plot_training",)}
Jobs = set[tuple[str, ...]]


def jobs(rule: str, *values: Iterable[str]) -> Jobs:
    """Return a rule's jobs for each combination of the values of its wildcards."""
    return {(rule, *chosen) for chosen in product(*values)}


def chain(noises: Iterable[str], methods: Iterable[str]) -> Jobs:
    """Return what leads from the corrupted images to the scores and the figures of some methods."""
    trained = [method for method in methods if method in TRAINED]
    return {
        *jobs("train_denoiser", noises, trained),
        *jobs("denoise_images", noises, methods),
        *jobs("score_images", noises, methods),
        *jobs("plot_examples", noises),
    }


def corruption(noises: Iterable[str]) -> Jobs:
    """Return the jobs that corrupt images, and all that follow but the collecting ones."""
    scored = jobs("score_images", noises, ["noisy"])
    return jobs("corrupt_images", noises, ["train", "test"]) | scored | chain(noises, ALL)


AUGMENTED = {("augment_images",)} | corruption(TWO_NOISES) | COLLECTED
EVERYTHING = {("render_phantom",), ("split_images",)} | AUGMENTED

NEW = "poisson_0.2_5"
SETTINGS = {
    "the same value given again": ("methods={median: {size: 3}}", set()),
    "a value of a noise setting": (
        f"noise={{{POISSON}: {{lambda: 2}}}}",
        corruption([POISSON]) | COLLECTED,
    ),
    "a noise setting added": (
        f"select={{noise: [{GAUSSIAN}, {POISSON}, {NEW}]}}",
        corruption([NEW]) | COLLECTED,
    ),
    "a noise setting removed": (f"select={{noise: [{GAUSSIAN}]}}", COLLECTED),
    "a setting of a method": (
        "methods={median: {size: 5}}",
        chain(TWO_NOISES, ["median"]) | COMPARED | {("make_table",)},
    ),
    "a setting of a method that is not in table.md": (
        "methods={unet: {widths: [4, 8]}}",
        chain(TWO_NOISES, ["unet"]) | COMPARED | {("plot_training",)},
    ),
    "a setting of a method for one noise setting": (
        f"methods={{autoencoder: {{overrides: {{{POISSON}: {{tail: [8]}}}}}}}}",
        chain([POISSON], ["autoencoder"]) | COLLECTED,
    ),
    "a training budget": (
        "methods={autoencoder: {training: {steps: 7}}}",
        chain(TWO_NOISES, ["autoencoder"]) | COLLECTED,
    ),
    "a method's name in tables and figures": (
        "methods={median: {label: middle}}",
        FIGURES | {("compare_methods",), ("plot_compute",), ("make_table",)},
    ),
    "a method added": (
        "methods={wide_median: {plugin: median, tune: {size: [3, 5]}}}",
        jobs("tune_method", TWO_NOISES, ["wide_median"])
        | chain(TWO_NOISES, ["wide_median"])
        | COMPARED,
    ),
    "a method removed": (
        "select={methods: [autoencoder, median]}",
        FIGURES | COMPARED | {("plot_training",)},
    ),
    "the device": (
        "device=cpu",
        chain(TWO_NOISES, TRAINED) | COLLECTED,
    ),
    "the seed": ("seed=7", AUGMENTED),
    "the split": ("datasets={phantom: {train: 7}}", {("split_images",)} | AUGMENTED),
    "the seed of the phantoms": ("datasets={phantom: {seed: 7}}", EVERYTHING),
    "the size of the images": ("image_size=32", EVERYTHING),
}


@pytest.mark.parametrize("change", SETTINGS)
def test_a_changed_setting_runs_what_depends_on_it(finished: Project, change: str):
    setting, expected = SETTINGS[change]
    assert finished.planned("--config", setting) == expected


def test_a_removed_noise_setting_leaves_its_files(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    results = copy.folder / "results"
    before = {path for path in results.rglob("*") if path.is_file()}
    copy.edit_config(lambda config: config["noise"].pop(POISSON))
    copy.succeed("--config", f"select={{noise: [{GAUSSIAN}]}}")
    assert before <= set(results.rglob("*"))
    assert POISSON not in (results / "phantom/methods.md").read_text()


def test_nothing_runs_after_files_were_touched(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    for path in copy.folder.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            path.touch()
    assert copy.planned() == set()


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_nothing_runs_with_other_cores(finished: Project, cores: int):
    done = finished.snakemake("--dry-run", cores=cores)
    assert "Nothing to be done" in done.stdout


def test_nothing_runs_in_a_moved_folder(finished: Project, tmp_path: Path):
    moved = finished.copied(tmp_path / "first").folder.rename(tmp_path / "a second place")
    assert Project.at(moved).planned() == set()


def test_nothing_runs_in_a_fresh_clone_with_copied_results(finished: Project, tmp_path: Path):
    """Only `results/` and `.snakemake/` are copied, and all dates are those of the copy."""
    (tmp_path / "clone").mkdir()
    clone = Project(tmp_path / "clone")
    shutil.copy(finished.folder / "config.yaml", clone.folder)
    for part in ("results", ".snakemake"):
        shutil.copytree(finished.folder / part, clone.folder / part, copy_function=shutil.copyfile)
    assert clone.planned() == set()


# ----------------------------------------------------------------------------------------- code


def add(project: Project, file: str, text: str) -> None:
    path = project.folder / "workflow/scripts" / file
    path.write_text(path.read_text() + text)


def reached_by(project: Project, file: str) -> Jobs:
    """Return which jobs ran a file, and all that took what they made: from the records of the jobs."""
    records = {job_of(path): record for path, record in read_records([project.folder])}
    changed = {job for job, record in records.items() if file in record["code"]}
    assert changed, f"no job runs {file}: the comparison says nothing"
    while True:
        made = {output for job in changed for output in records[job]["outputs"]}
        more = {job for job, record in records.items() if made & set(record["inputs"])} - changed
        if not more:
            return changed
        changed |= more


def job_of(record: Path) -> tuple[str, ...]:
    """Return a job as `Project.planned` has it: its record lies in `provenance/RULE/NOISE/METHOD.json`."""
    parts = record.with_suffix("").parts
    job = parts[parts.index("provenance") + 1 :]
    return tuple(part for part in job if not part.endswith("px"))  # the size of the images


def test_comments_and_docstrings_run_nothing(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    for path in (copy.folder / "workflow/scripts").rglob("*.py"):
        text = path.read_text()
        path.write_text("# a comment\n\n" + text.replace('"""', '"""Anew: ', 1) + "\n\n# another\n")
    for path in [copy.folder / "Snakefile", *(copy.folder / "workflow/rules").iterdir()]:
        path.write_text("# a comment\n" + path.read_text())
    assert copy.planned() == set()


@pytest.mark.parametrize(
    "file",
    [
        "score_images.py",
        "make_table.py",
        "common/tensors.py",  # reached through three others
        "common/split.py",
        "common/seeds.py",
        "methods/median.py",
        "recipes/supervised.py",
        "distributions/poisson.py",
        "phantom/rays.py",
    ],
)
def test_changed_code_runs_the_jobs_that_reach_it(finished: Project, tmp_path: Path, file: str):
    copy = finished.copied(tmp_path / "copy")
    expected = reached_by(copy, file)
    add(copy, file, "\nANSWER = 42\n")
    assert copy.planned() == expected


def test_code_of_what_is_not_selected_runs_nothing(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    for file in (
        "methods/dncnn.py",
        "methods/wavelet.py",
        "recipes/noise2noise.py",
        "distributions/speckle.py",
        "fetch_images.py",
        "explain_plan.py",
    ):
        add(copy, file, "\nANSWER = 42\n")
    assert copy.planned() == set()


def test_expected_jobs_are_what_they_should_be(finished: Project):
    """The records, from which the tests above take what to expect, against a list by hand."""
    median = jobs("denoise_images", TWO_NOISES, ["median"])
    median |= jobs("score_images", TWO_NOISES, ["median"])
    assert reached_by(finished, "methods/median.py") == (
        median | FIGURES | COMPARED | {("make_table",)}
    )
    assert reached_by(finished, "common/tensors.py") == chain(TWO_NOISES, TRAINED) | COLLECTED
    assert reached_by(finished, "distributions/poisson.py") == corruption([POISSON]) | COLLECTED
    assert reached_by(finished, "phantom/rays.py") == EVERYTHING


@pytest.mark.parametrize(
    ("package", "version", "expected"),
    [
        ("torch", "99.0.0", chain(TWO_NOISES, TRAINED) | COLLECTED),
        (
            "scikit-image",
            "99.0.0",
            jobs("denoise_images", TWO_NOISES, ["median"])
            | jobs("score_images", TWO_NOISES, ["noisy", *ALL])
            | (FIGURES | COMPARED | {("make_table",)}),
        ),
        ("pandas", "99.0.0", set()),
    ],
)
def test_another_version_of_a_package_runs_what_depends_on_it(
    finished: Project, tmp_path: Path, package: str, version: str, expected: Jobs
):
    folder = tmp_path / f"{package.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
    )
    assert finished.planned(PYTHONPATH=str(tmp_path)) == expected


# ------------------------------------------------------------------------------ lost and altered


def test_a_deleted_result_is_made_again(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    results = copy.folder / "results/phantom"
    (results / "table.md").unlink()
    (results / f"figures/{POISSON}.png").unlink()
    assert copy.planned() == {("make_table",), ("plot_examples", POISSON)}
    copy.succeed()
    for name in ("table.md", f"figures/{POISSON}.png"):
        name = f"results/phantom/{name}"
        assert (copy.folder / name).read_bytes() == (finished.folder / name).read_bytes()


def test_a_deleted_model_is_trained_again(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    (copy.folder / f"results/phantom/models/{POISSON}/unet.pt").unlink()
    planned = chain([POISSON], ["unet"]) | COMPARED | {("plot_training",)}
    assert copy.planned() == planned


def test_a_deleted_intermediate_is_made_again_when_it_is_needed(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    (copy.folder / f"results/phantom/noisy/{POISSON}/train.npy").unlink()
    assert copy.planned() == set()
    budget = "methods={autoencoder: {training: {steps: 7}}}"
    assert copy.planned("--config", budget) == (
        {("corrupt_images", POISSON, "train")} | chain(TWO_NOISES, ["autoencoder"]) | COLLECTED
    )


def test_altered_and_missing_files_are_named_with_what_makes_them_again(
    finished: Project, tmp_path: Path
):
    copy = finished.copied(tmp_path / "copy")
    done = copy.script("verify_results.py")
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
    done = copy.script("verify_results.py")
    assert done.returncode == 1
    assert f"{altered.relative_to(copy.folder)} was altered since it was made" in done.stdout
    assert f"{missing.relative_to(copy.folder)} is missing" in done.stdout
    assert "2 of " in done.stdout

    commands = [
        line.partition("again: ")[2] for line in done.stdout.splitlines() if "again: " in line
    ]
    assert len(commands) == 2
    for command in commands:
        first, *arguments = shlex.split(command)
        assert first == "snakemake"
        done = copy.run(*SNAKEMAKE, *arguments)
        assert done.returncode == 0, done.stdout
    assert {path: path.read_bytes() for path in original} == original
    assert copy.script("verify_results.py").returncode == 0
    assert copy.planned() == COMPARED  # denoising took another time, which they show


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
    lines = copy.script("verify_results.py", "results/other").stdout.splitlines()
    command = next(line for line in lines if "again: " in line).partition("again: ")[2]
    done = copy.run(*SNAKEMAKE, *shlex.split(command)[1:])
    assert done.returncode == 0, done.stdout
    assert target.read_bytes() == right


def test_damaged_records_are_named(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    record = copy.folder / "results/phantom/provenance/make_table.json"
    record.write_text(record.read_text()[:-30])
    done = copy.script("verify_results.py")
    assert done.returncode == 1
    assert "provenance/make_table.json can't be read" in done.stdout
    assert "Traceback" not in done.stdout
    done = copy.script("explain_plan.py", "--config", "methods={median: {label: middle}}")
    assert done.returncode == 0, done.stdout
    assert "make_table\n" in done.stdout


def test_without_records_nothing_is_called_verified(project: Project):
    done = project.script("verify_results.py")
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
    assert {"train_denoiser.py", "recipes/published.py", "common/seeds.py"} <= record["code"].keys()


# ----------------------------------------------------------------------------------- explanation

REASONS = {
    "noise={poisson_0.2_1: {lambda: 2}}": "noise.lambda: 1 became 2",
    "methods={median: {size: 5}}": "settings.size: 3 became 5",
    "methods={autoencoder: {training: {steps: 7}}}": "settings.training.steps: 6 became 7",
    "seed=7": "seed: 2015 became 7",
    "datasets={phantom: {train: 7}}": "train: 6 became 7",
    "methods={median: {label: middle}}": "labels.median: median became middle",
    f"select={{noise: [{GAUSSIAN}]}}": f"noise.{POISSON} is no longer given",
}


@pytest.mark.parametrize("setting", REASONS)
def test_reasons_are_explained_in_words(finished: Project, setting: str):
    done = finished.script("explain_plan.py", "--config", setting)
    assert done.returncode == 0, done.stdout
    assert f"    because {REASONS[setting]}\n" in done.stdout
    assert done.stdout.count("jobs would run") == 1


def test_other_reasons_are_explained_as_well(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    assert "nothing would run" in copy.script("explain_plan.py").stdout
    add(copy, "common/tensors.py", "\nANSWER = 42\n")
    (copy.folder / "results/phantom/table.md").unlink()
    text = copy.script("explain_plan.py").stdout
    assert "because the code that it runs changed (common/tensors.py)" in text
    assert "because results/phantom/table.md is gone" in text
    assert "because it needs what train_denoiser will make anew" in text
    text = copy.script("explain_plan.py", "--config", "run=new").stdout
    assert "because there is no results/new/table.md" in text
    copy.edit_config(lambda config: config.update(sed=1))
    done = copy.script("explain_plan.py")
    assert done.returncode != 0
    assert "sed: unknown key" in done.stdout


@pytest.mark.parametrize("script", ["explain_plan.py", "verify_results.py"])
def test_help_helps(script: str, project: Project):
    done = project.script(script, "--help")
    assert done.returncode == 0
    assert len(done.stdout) > 100
    assert sys.executable not in done.stdout
