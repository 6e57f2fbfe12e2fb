"""A change makes run again what depends on it, and nothing else."""

import importlib.metadata
import os
import shutil
import time
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from conftest import TWO_NOISES, Project, own_images
from engine.records import read_records

pytestmark = pytest.mark.slow

GAUSSIAN, POISSON = TWO_NOISES
TRAINED, ALL = ["autoencoder", "unet"], ["autoencoder", "median", "unet"]
ONLY_MEDIAN = f"select={{noise: [{POISSON}], methods: [median]}}"
FIGURES = {("plot_examples", noise) for noise in TWO_NOISES}
COMPARED = {("compare_methods",), ("plot_compute",)}  # what shows every method
TABLE, CURVES = {("make_table",)}, {("plot_training",)}
COLLECTED = COMPARED | TABLE | CURVES
MORE_STEPS = "methods={autoencoder: {training: {steps: 7}}}"
EDIT = "\nANSWER = 42\n"
Jobs = set[tuple[str, ...]]


@pytest.fixture
def copy(finished: Project, tmp_path: Path) -> Project:
    return finished.copied(tmp_path / "copy")


def jobs(rule: str, *values: Iterable[str]) -> Jobs:
    """Return a rule's jobs for each combination of the values of its wildcards."""
    return {(rule, *chosen) for chosen in product(*values)}


def chain(noises: Iterable[str], *methods: str) -> Jobs:
    """Return what leads from the corrupted images to the scores and the figures of some methods."""
    trained = [method for method in methods if method in TRAINED]
    return {
        *jobs("train_denoiser", noises, trained),
        *jobs("apply_network", noises, trained),
        *jobs("filter_images", noises, set(methods) - set(trained)),
        *jobs("score_images", noises, methods),
        *jobs("plot_examples", noises),
    }


def corruption(noises: Iterable[str]) -> Jobs:
    """Return the jobs that corrupt images, and all that follow but the collecting ones."""
    scored = jobs("score_images", noises, ["noisy"])
    return jobs("corrupt_images", noises, ["train", "test"]) | scored | chain(noises, *ALL)


AUGMENTED = {("augment_images",)} | corruption(TWO_NOISES) | COLLECTED
EVERYTHING = {("render_phantom",), ("split_images",)} | AUGMENTED

NEW = "poisson_0.2_5"
OVERRIDES = f"methods={{autoencoder: {{overrides: {{{POISSON}: {{tail: [8]}}}}}}}}"
# Which jobs run after settings have changed.
SETTINGS = [
    # The same values given again, also in another form; what is not selected.
    [
        set(),
        "datasets={mine: {sources: [x], train: 3}}",
        "methods={median: {size: 3}, wide: {plugin: median, size: 5, default: false}}",
        f"noise={{{POISSON}: {{lambda: 1.0}}, new: {{distribution: speckle, std: 0.1}}}}",
    ],
    # A noise setting changed, added, removed; another order of them.
    [corruption([POISSON]) | COLLECTED, f"noise={{{POISSON}: {{lambda: 2}}}}"],
    [corruption([NEW]) | COLLECTED, f"select={{noise: [{GAUSSIAN}, {POISSON}, {NEW}]}}"],
    [COLLECTED, f"select={{noise: [{GAUSSIAN}]}}"],
    [COMPARED | TABLE, f"select={{noise: [{POISSON}, {GAUSSIAN}]}}"],
    # A setting of a method, of one that is not in table.md, for one noise setting; of a training.
    [chain(TWO_NOISES, "median") | COMPARED | TABLE, "methods={median: {size: 5}}"],
    [chain(TWO_NOISES, "unet") | COMPARED | CURVES, "methods={unet: {widths: [4, 8]}}"],
    [chain([POISSON], "autoencoder") | COLLECTED, OVERRIDES],
    [chain(TWO_NOISES, "autoencoder") | COLLECTED, MORE_STEPS],
    # A method's name in tables and figures, a method added, a method removed.
    [FIGURES | COMPARED | TABLE, "methods={median: {label: middle}}"],
    [
        jobs("tune_method", TWO_NOISES, ["wide"]) | chain(TWO_NOISES, "wide") | COMPARED,
        "methods={wide: {plugin: median, tune: {size: [3, 5]}}}",
    ],
    [FIGURES | COMPARED | CURVES, "select={methods: [autoencoder, median]}"],
    # What concerns all.
    [chain(TWO_NOISES, *TRAINED) | COLLECTED, "device=cpu"],
    [AUGMENTED, "seed=7"],
    [{("split_images",)} | AUGMENTED, "datasets={phantom: {train: 7}}"],
    [EVERYTHING, "datasets={phantom: {seed: 7}}"],
    [EVERYTHING, "image_size=32"],
]


@pytest.mark.parametrize("case", SETTINGS, ids=lambda case: case[-1])
def test_a_changed_setting_runs_what_depends_on_it(finished: Project, case: list):
    expected, *settings = case
    assert finished.planned("--config", *settings) == expected


def test_a_removed_noise_setting_leaves_its_files(copy: Project):
    results = copy.folder / "results"
    before = {path for path in results.rglob("*") if path.is_file()}
    copy.edit_config(lambda config: config["noise"].pop(POISSON))
    copy.succeed("--config", f"select={{noise: [{GAUSSIAN}]}}")
    assert before <= set(results.rglob("*"))
    assert POISSON not in (results / "phantom/methods.md").read_text()


def test_nothing_runs_after_files_were_touched_or_moved(copy: Project, tmp_path: Path):
    for path in copy.folder.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            path.touch()
    assert copy.planned() == set()
    moved = copy.folder.rename(tmp_path / "a second place")
    assert Project.at(moved).planned() == set()


@pytest.mark.parametrize("cores", [1, 8])  # of two it was made
def test_nothing_runs_with_other_cores(finished: Project, cores: int):
    done = finished.snakemake("--dry-run", cores=cores)
    assert "Nothing to be done" in done.stdout


def test_nothing_runs_in_a_fresh_clone_with_copied_results(finished: Project, tmp_path: Path):
    """Only `results/` and `.snakemake/` are copied, and all dates are those of the copy."""
    (tmp_path / "clone").mkdir()
    clone = Project(tmp_path / "clone")
    shutil.copy(finished.folder / "config.yaml", clone.folder)
    for part in ("results", ".snakemake"):
        shutil.copytree(finished.folder / part, clone.folder / part, copy_function=shutil.copyfile)
    assert clone.planned() == set()


def test_nothing_runs_in_a_copy_with_images_of_one_s_own(project: Project, tmp_path: Path):
    """A folder has no content that could be compared; its date is another one in a copy."""
    images = own_images(tmp_path)
    mine = f"datasets={{mine: {{sources: [{images}], train: 6, duplicates: keep}}}}"
    arguments = ["--config", "dataset=mine", mine, ONLY_MEDIAN]
    project.succeed(*arguments)
    assert project.script("verify.py").returncode == 0
    folder = shutil.copytree(project.folder, tmp_path / "copy", copy_function=shutil.copyfile)
    copy = Project.at(folder)
    fetched = copy.folder / "resources/datasets/mine/images"
    for path in [fetched, *fetched.iterdir()]:
        os.utime(path, (time.time() + 60,) * 2)  # copied after all that was made of it
    assert copy.planned(*arguments) == set()
    assert copy.script("verify.py").returncode == 0

    shutil.copyfile(images / "0.png", images / "7.png")  # another film of this name
    copy.succeed(*arguments, "--forcerun", "fetch_images")
    prepared = copy.folder / "resources/datasets/mine/16px"
    test, train = np.load(prepared / "test.npy"), np.load(prepared / "train.npy")
    assert np.array_equal(test[1], train[0])


# ----------------------------------------------------------------------------------------- code


def reached_by(project: Project, file: str) -> Jobs:
    """Return from the records which jobs ran a file, and all that took what they made."""
    records = {job_of(path): record for path, record in read_records([project.folder])}
    changed = {job for job, record in records.items() if file in record["params"]["code"]}
    assert changed, f"no job runs {file}: the comparison says nothing"
    while True:
        made = {output for job in changed for output in records[job]["outputs"]}
        more = {job for job, record in records.items() if made & set(record["inputs"])} - changed
        if not more:
            return changed
        changed |= more


def job_of(record: Path) -> tuple[str, ...]:
    """Return a job as `Project.planned` has it, from `.../provenance/RULE/NOISE/METHOD.json`."""
    parts = record.with_suffix("").parts
    job = parts[parts.index("provenance") + 1 :]
    return tuple(part for part in job if not part.endswith("px"))  # the size of the images


def test_comments_and_docstrings_run_nothing(copy: Project):
    for path in (copy.folder / "workflow/scripts").rglob("*.py"):
        text = path.read_text()
        path.write_text("# a comment\n\n" + text.replace('"""', '"""Anew: ', 1) + "\n\n# another\n")
    for path in [copy.folder / "Snakefile", *(copy.folder / "workflow/rules").iterdir()]:
        path.write_text("# a comment\n" + path.read_text())
    assert copy.planned() == set()


REACHED = """
score_images.py make_table.py files/tables.py noise/seeds.py methods/median.py phantom/rays.py
recipes/supervised.py distributions/poisson.py files/tensors.py
"""  # the last one through three others
NOT_SELECTED = """
methods/dncnn.py methods/wavelet.py recipes/noise2noise.py distributions/speckle.py fetch_images.py
"""


@pytest.mark.parametrize("file", REACHED.split())
def test_changed_code_runs_the_jobs_that_reach_it(copy: Project, file: str):
    expected = reached_by(copy, file)
    copy.append(file, EDIT)
    assert copy.planned() == expected


def test_edits_of_the_engine_run_nothing(copy: Project):
    """Nor do those of what is not selected, however small the edits are that run something."""
    engine = sorted((copy.folder / "workflow/scripts/engine").glob("*.py"))
    assert len(engine) > 8
    for file in [*engine, "../tools/verify.py", *NOT_SELECTED.split()]:
        copy.append(file, EDIT)
    assert copy.planned() == set()
    copy.append("results/scores.py", EDIT)
    assert copy.planned()


# Notes which module of the project's opens a file to write, or moves one to its place.
WATCHER = """
import atexit, os, sys
from pathlib import Path

def watch(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set("wax+") & set(arguments[1]):
        target = arguments[0]
    elif event == "os.rename":
        target = arguments[1]
    else:
        return
    frame = sys._getframe()
    while frame and not ours(frame.f_code.co_filename):
        frame = frame.f_back
    if frame and isinstance(target, str | Path):
        room = Path(frame.f_code.co_filename).parent.name
        busy.append(f"{room}\\t{target}\\n")

def ours(file):
    # Not what writes for others, but whoever calls it. Snakemake runs a copy of a script.
    return ("/workflow/scripts/" in file or ".snakemake/scripts/" in file) and (
        "/workflow/scripts/files/" not in file
    )

def write_down():
    with open(os.environ["WATCHED"], "a") as file:
        file.writelines(list(busy))

busy = []
if ".snakemake/scripts" in " ".join(sys.orig_argv):
    sys.addaudithook(watch)
    atexit.register(write_down)
"""


def test_the_engine_writes_no_output_of_a_rule(project: Project, tmp_path: Path):
    """Else what it does would be part of results, and its code had to count."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(WATCHER)
    watched = tmp_path / "watched"
    project.succeed(
        *("--config", f"select={{noise: [{POISSON}], methods: [autoencoder, median]}}"),
        PYTHONPATH=str(tmp_path / "site"),
        WATCHED=str(watched),
    )
    written: dict[str, set[str]] = {}
    for line in watched.read_text().splitlines():
        room, target = line.split("\t")
        written.setdefault(room, set()).add(target)
    records = [record for _, record in read_records([project.folder])]
    outputs = {path for record in records for path in record["outputs"]}
    assert outputs <= set().union(*written.values())  # the watcher sees each of them
    assert written["engine"]  # logs and records
    assert not written["engine"] & outputs


def test_expected_jobs_are_what_they_should_be(finished: Project):
    """The records, from which the tests above take what to expect, against a list by hand."""
    median = chain(TWO_NOISES, "median") | COMPARED | TABLE
    assert reached_by(finished, "methods/median.py") == median
    assert reached_by(finished, "files/tensors.py") == chain(TWO_NOISES, *TRAINED) | COLLECTED
    assert reached_by(finished, "distributions/poisson.py") == corruption([POISSON]) | COLLECTED
    assert reached_by(finished, "phantom/rays.py") == EVERYTHING


SCORED = jobs("score_images", TWO_NOISES, ["noisy", *ALL])


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("torch", chain(TWO_NOISES, *TRAINED) | COLLECTED),
        ("scipy", chain(TWO_NOISES, "median") | COMPARED | TABLE),
        ("scikit-image", SCORED | FIGURES | COMPARED | TABLE),
        ("pandas", set()),
        ("numpy", set()),
    ],
)
def test_another_version_of_a_package_runs_what_depends_on_it(
    finished: Project, tmp_path: Path, package: str, expected: Jobs
):
    assert finished.planned(PYTHONPATH=pretended(tmp_path, package, "99.0.0")) == expected


def pretended(folder: Path, package: str, version: str) -> str:
    """Make a folder that claims to hold another version of a package; return its path."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    return str(folder)


def test_another_patch_release_of_a_package_runs_nothing(finished: Project, tmp_path: Path):
    minor = ".".join(importlib.metadata.version("scipy").split(".")[:2])
    assert finished.planned(PYTHONPATH=pretended(tmp_path, "scipy", f"{minor}.99")) == set()


# What Python runs first: torch can't be imported, and is in no list of packages.
WITHOUT_TORCH = """
import importlib.metadata
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == "torch" else find_spec(name, *rest)
importlib.metadata.packages_distributions = lambda: {}
version = importlib.metadata.version

def version_but_of_torch(name):
    if name == "torch":
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

importlib.metadata.version = version_but_of_torch
"""


def test_a_run_without_trained_methods_needs_no_torch(project: Project):
    (project.folder / "sitecustomize.py").write_text(WITHOUT_TORCH)
    path = str(project.folder)
    assert ("train_denoiser", POISSON, "unet") in project.planned(PYTHONPATH=path)
    project.succeed("--config", ONLY_MEDIAN, PYTHONPATH=path)


# ------------------------------------------------------------------------------ lost


def test_a_deleted_result_is_made_again(finished: Project, copy: Project):
    names = ["table.md", f"figures/{POISSON}.png"]
    ours, theirs = (project.folder / "results/phantom" for project in (copy, finished))
    for name in names:
        (ours / name).unlink()
    assert copy.planned() == TABLE | {("plot_examples", POISSON)}
    copy.succeed()
    for name in names:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    (ours / f"models/{POISSON}/unet.pt").unlink()
    assert copy.planned() == chain([POISSON], "unet") | COMPARED | CURVES


def test_a_deleted_intermediate_is_made_again_when_it_is_needed(copy: Project):
    (copy.folder / f"results/phantom/noisy/{POISSON}/train.npy").unlink()
    assert copy.planned() == set()
    again = {("corrupt_images", POISSON, "train")} | chain(TWO_NOISES, "autoencoder") | COLLECTED
    assert copy.planned("--config", MORE_STEPS) == again
