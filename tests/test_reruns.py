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
        *jobs("apply_network", noises, trained),
        *jobs("filter_images", noises, set(methods) - set(trained)),
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
    "the same value in another form": (f"noise={{{POISSON}: {{lambda: 1.0}}}}", set()),
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
    "the order of the noise settings": (
        f"select={{noise: [{POISSON}, {GAUSSIAN}]}}",
        {("make_table",), ("compare_methods",), ("plot_compute",)},
    ),
    "a data set, a method and a noise setting that are not selected": (
        [
            "methods={wide: {plugin: median, size: 5, default: false}}",
            "datasets={mine: {sources: [x], train: 3}}",
            "noise={new: {distribution: speckle, std: 0.1}}",
        ],
        set(),
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
    given, expected = SETTINGS[change]
    settings = [given] if isinstance(given, str) else given
    assert finished.planned("--config", *settings) == expected


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


def test_nothing_runs_in_a_copy_with_images_of_one_s_own(project: Project, tmp_path: Path):
    """A folder has no content that could be compared; its date is another one in a copy."""
    images = own_images(tmp_path)
    mine = f"datasets={{mine: {{sources: [{images}], train: 6}}}}"
    arguments = [
        "--config",
        "dataset=mine",
        mine,
        f"select={{noise: [{POISSON}], methods: [median]}}",
    ]
    project.succeed(*arguments)
    assert project.script("verify.py").returncode == 0
    copy = Project.at(
        shutil.copytree(project.folder, tmp_path / "copy", copy_function=shutil.copyfile)
    )
    fetched = copy.folder / "resources/datasets/mine/images"
    for path in [fetched, *fetched.iterdir()]:
        os.utime(path, (time.time() + 60,) * 2)  # copied after all that was made of it
    assert copy.planned(*arguments) == set()
    assert copy.script("verify.py").returncode == 0

    shutil.copyfile(images / "0.png", images / "7.png")  # another film of this name
    copy.succeed(*arguments, "--forcerun", "fetch_images")
    test = np.load(copy.folder / "resources/datasets/mine/16px/test.npy")
    train = np.load(copy.folder / "resources/datasets/mine/16px/train.npy")
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
        "files/tensors.py",  # reached through three others
        "files/tables.py",
        "noise/seeds.py",
        "methods/median.py",
        "recipes/supervised.py",
        "distributions/poisson.py",
        "phantom/rays.py",
    ],
)
def test_changed_code_runs_the_jobs_that_reach_it(finished: Project, tmp_path: Path, file: str):
    copy = finished.copied(tmp_path / "copy")
    expected = reached_by(copy, file)
    copy.append(file, "\nANSWER = 42\n")
    assert copy.planned() == expected


def test_code_of_what_is_not_selected_runs_nothing(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    for file in (
        "methods/dncnn.py",
        "methods/wavelet.py",
        "recipes/noise2noise.py",
        "distributions/speckle.py",
        "fetch_images.py",
    ):
        copy.append(file, "\nANSWER = 42\n")
    assert copy.planned() == set()


def test_edits_of_the_engine_run_nothing(finished: Project, tmp_path: Path):
    """However small the edits of other code are that run something."""
    copy = finished.copied(tmp_path / "copy")
    engine = copy.folder / "workflow/scripts/engine"
    files = sorted(engine.glob("*.py"))
    assert len(files) > 8
    for path in files:
        path.write_text(path.read_text() + "\nANSWER = 42\n")
    tool = copy.folder / "workflow/tools/verify.py"
    tool.write_text(tool.read_text() + "\nANSWER = 42\n")
    assert copy.planned() == set()
    copy.append("results/scores.py", "\nANSWER = 42\n")
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
        *("--config", f"select={{noise: [{POISSON}]}}"),
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
    median = jobs("filter_images", TWO_NOISES, ["median"])
    median |= jobs("score_images", TWO_NOISES, ["median"])
    assert reached_by(finished, "methods/median.py") == (
        median | FIGURES | COMPARED | {("make_table",)}
    )
    assert reached_by(finished, "files/tensors.py") == chain(TWO_NOISES, TRAINED) | COLLECTED
    assert reached_by(finished, "distributions/poisson.py") == corruption([POISSON]) | COLLECTED
    assert reached_by(finished, "phantom/rays.py") == EVERYTHING


def show(median: Jobs) -> Jobs:
    """Return some jobs, and those that show what they make."""
    return median | FIGURES | COMPARED | {("make_table",)}


@pytest.mark.parametrize(
    ("package", "version", "expected"),
    [
        ("torch", "99.0.0", chain(TWO_NOISES, TRAINED) | COLLECTED),
        ("scipy", "99.0.0", chain(TWO_NOISES, ["median"]) | COMPARED | {("make_table",)}),
        ("scikit-image", "99.0.0", show(jobs("score_images", TWO_NOISES, ["noisy", *ALL]))),
        ("pandas", "99.0.0", set()),
        ("numpy", "99.0.0", set()),
    ],
)
def test_another_version_of_a_package_runs_what_depends_on_it(
    finished: Project, tmp_path: Path, package: str, version: str, expected: Jobs
):
    assert finished.planned(PYTHONPATH=pretended(tmp_path, package, version)) == expected


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
import importlib.metadata, sys

sys.modules["torch"] = None
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
    arguments = ["--config", f"select={{noise: [{POISSON}], methods: [median]}}"]
    project.succeed(*arguments, PYTHONPATH=path)


# ------------------------------------------------------------------------------ lost


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
