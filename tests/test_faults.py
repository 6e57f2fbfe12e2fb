"""What happens when a run is killed, a disk fails, files are damaged, and names are hostile."""

import contextlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from conftest import SNAKEMAKE, TWO_NOISES, Project, tiny

pytestmark = pytest.mark.slow

POISSON = TWO_NOISES[1]
ONE = f"select={{noise: [{POISSON}], methods: [autoencoder, median]}}"
# What differs from run to run: it holds times.
TIMED = ("logs/", "benchmarks/", "provenance/", "costs/", "methods.", "compute.png")
PATIENCE = 120  # seconds after which something that is waited for is given up
SECONDS = 10  # what "within seconds" means, on a machine that is busy with other tests
RESUME = "run the same command again"


class Run:
    """A running Snakemake, with its jobs in a process group of their own."""

    def __init__(self, project: Project, *arguments: str, cores: int = 2) -> None:
        self.log = project.folder / "run.log"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [*SNAKEMAKE, "--cores", str(cores), *arguments],
                cwd=project.folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def reaches(self, condition: Callable[[], object]) -> bool:
        """Wait until a condition holds; say whether it did before the run ended."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            ended = self.process.poll() is not None
            if condition():
                return True
            if ended:
                return False
            time.sleep(0.01)
        raise TimeoutError(self.text)

    def end(self, kind: int = signal.SIGKILL, *, jobs: bool = True) -> int:
        """Send a signal to Snakemake, and to its jobs if so said; return how Snakemake ended."""
        (os.killpg if jobs else os.kill)(self.process.pid, kind)
        return self.process.wait(PATIENCE)


def processes_in(folder: Path) -> list[str]:
    """Return the commands of the living processes that were started in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == folder:
                command = (entry / "cmdline").read_bytes()
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return [command for command in found if command]  # one that has ended has none


def assert_ended(folder: Path) -> None:
    """Assert that within `SECONDS` no process of a run is left."""
    end = time.monotonic() + SECONDS
    while processes_in(folder) and time.monotonic() < end:
        time.sleep(0.05)
    assert not processes_in(folder)


def made(project: Project) -> dict[str, object]:
    """Return all that a run made, by path, without times: of models, the weights."""
    found: dict[str, object] = {}
    for folder in ("results", "resources/datasets"):
        for path in sorted((project.folder / folder).rglob("*")):
            name = path.relative_to(project.folder).as_posix()
            if path.is_file() and not any(part in name for part in TIMED):
                found[name] = path.read_bytes()
                if path.suffix == ".pt":
                    model = torch.load(path, weights_only=True)
                    model["cost"].pop("training_seconds")
                    weights = {k: v.numpy().tobytes() for k, v in model.pop("weights").items()}
                    found[name] = (model, weights)
    return found


def assert_same(project: Project, other: Project) -> None:
    ours, theirs = made(project), made(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


# ------------------------------------------------------------------------------------- killed


def test_killed_in_each_rule_the_same_command_goes_on(finished: Project, project: Project):
    """One run after the other is killed in the first job of a rule that was not hit yet.

    Every other time the jobs are left alone, as by a kill for memory: they have to end alone.
    """
    (project.folder / "config.yaml").write_text((finished.folder / "config.yaml").read_text())
    random = np.random.default_rng(1)
    every_rule = {job[0] for job in project.planned()}
    hit: list[str] = []

    def next_rule() -> str | None:
        rules = re.findall(r"^(?:local)?rule (\w+):$", run.text, re.MULTILINE)
        return next((rule for rule in rules if rule not in [*hit, "all"]), None)

    while True:
        run = Run(project, cores=1)
        if not run.reaches(next_rule):
            break
        hit.append(next_rule())
        # Within its job, which takes half a second and more, or when the next rule's has begun.
        end = time.monotonic() + random.uniform(0, 0.8)
        if run.reaches(lambda end=end: time.monotonic() > end or next_rule()):
            run.end(jobs=len(hit) % 2 == 0)
    assert run.process.returncode == 0, run.text
    assert set(hit) == every_rule
    assert_same(project, finished)
    assert project.planned() == set()
    assert project.script("verify.py").returncode == 0


LONG = "methods={autoencoder: {training: {steps: 200}}, unet: {training: {steps: 200}}}"
TWO_TRAINED = f"select={{noise: [{POISSON}], methods: [autoencoder, unet]}}"


def test_killed_training_goes_on_and_ends_bit_identical(finished: Project, tmp_path: Path):
    whole, killed = (finished.copied(tmp_path / name) for name in ("whole", "killed"))
    arguments = ["--config", TWO_TRAINED, LONG]
    whole.succeed(*arguments)

    results = killed.folder / "results/phantom"
    for method, jobs in (("autoencoder", False), ("unet", True)):
        run = Run(killed, *arguments)
        checkpoint = results / f"checkpoints/{POISSON}/{method}.pt"
        assert run.reaches(checkpoint.exists), run.text
        run.end(jobs=jobs)
    killed.succeed(*arguments)
    for method in ("autoencoder", "unet"):
        log = (results / f"logs/train_denoiser/{POISSON}/{method}.log").read_text()
        assert "resumes after step " in log
    assert_same(killed, whole)
    assert not list((results / "checkpoints").rglob("*.pt"))


def test_a_training_that_is_killed_at_its_very_end_does_no_step_again(
    finished: Project, tmp_path: Path
):
    copy = finished.copied(tmp_path / "copy")
    arguments = ["--config", ONE, LONG]
    results = copy.folder / "results/phantom"
    history = results / f"training/{POISSON}/.autoencoder.partial.csv"
    os.mkfifo(history)  # whoever writes the history waits for ever
    run = Run(copy, *arguments)
    model = results / f"models/{POISSON}/autoencoder.pt"
    assert run.reaches(lambda: "train_denoiser" in run.text and not model.exists()), run.text
    assert run.reaches(model.exists), run.text
    run.end()
    history.unlink()
    copy.succeed(*arguments)
    log = results / f"logs/train_denoiser/{POISSON}/autoencoder.log"
    assert "resumes after step 200 from its checkpoint" in log.read_text()


def training_run(project: Project) -> Run:
    """Start a run that will train for hours, and wait until it trains."""
    run = Run(project, "--config", ONE, ENDLESS)
    checkpoint = project.folder / f"results/phantom/checkpoints/{POISSON}/autoencoder.pt"
    assert run.reaches(checkpoint.exists), run.text
    return run


ENDLESS = "methods={autoencoder: {training: {steps: 10000000}}}"


def test_jobs_end_when_their_snakemake_is_killed(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    run = training_run(copy)
    assert len(processes_in(copy.folder)) > 1
    run.end(jobs=False)
    assert_ended(copy.folder)


def test_processes_of_a_job_end_when_its_snakemake_is_killed(project: Project):
    """A job that renders has some of its own, which render for long at this size."""
    project.edit_config(lambda config: config.update(image_size=512))
    run = Run(project, "--", "resources/datasets/phantom/512px/images.npy")
    assert run.reaches(lambda: len(rendering(project.folder)) == 2), run.text
    run.end(jobs=False)
    assert_ended(project.folder)


def test_code_that_the_processes_of_a_job_import_is_checked_as_well(project: Project):
    project.edit_config(lambda config: config.update(image_size=512))
    run = Run(project, "--", "resources/datasets/phantom/512px/images.npy")
    assert run.reaches(lambda: rendering(project.folder)), run.text
    path = project.folder / "workflow/scripts/phantom/rays.py"
    path.write_text(path.read_text() + "\nANSWER = 42\n")
    assert run.process.wait(PATIENCE) != 0
    assert "phantom/rays.py changed while the workflow ran" in run.text
    assert not (project.folder / "resources/datasets/phantom/512px/images.npy").exists()


def rendering(folder: Path) -> list[str]:
    """Return the commands of the processes of a pool, without the one that starts them."""
    return [c for c in processes_in(folder) if "multiprocessing.forkserver" in c][1:]


def test_a_second_run_is_refused_while_the_first_one_lives(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    run = training_run(copy)
    second = copy.snakemake("--config", ONE, ENDLESS)
    assert second.returncode != 0
    assert "cannot be locked" in second.stdout
    assert run.process.poll() is None
    assert processes_in(copy.folder)
    copy.planned("--config", ONE)  # looking is allowed, and does no harm
    assert copy.snakemake("--config", ONE, ENDLESS).returncode != 0
    with waiting_dry_run(copy):
        run.end()
        assert list((copy.folder / ".snakemake/locks").iterdir())  # nobody clears them but the next
        copy.succeed("--config", ONE)


@contextlib.contextmanager
def waiting_dry_run(project: Project) -> Iterator[None]:
    """Let a dry run wait for long, once it has begun."""
    waits, snakefile = project.folder / "waits", project.folder / "Snakefile"
    with snakefile.open("a") as file:
        file.write("\nimport time\nif workflow.output_settings.dryrun:\n")
        file.write(f"    Path({str(waits)!r}).touch()\n    time.sleep({PATIENCE})\n")
    run = Run(project, "--dry-run")
    assert run.reaches(waits.exists)
    yield
    assert run.process.poll() is None
    run.end()


def test_locks_of_another_machine_are_let_be(finished: Project, tmp_path: Path):
    """Whether a run is alive there can't be told from here, if the disk is shared."""
    copy = finished.copied(tmp_path / "copy")
    lock = copy.folder / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text("results/phantom/table.md\n")
    (copy.folder / ".snakemake/alive").write_text("elsewhere\n01234567\n")
    force = ["--force", "--", "results/phantom/table.md"]
    for _ in range(2):
        done = copy.snakemake(*force)
        assert done.returncode != 0
        assert "elsewhere has left locks in" in done.stdout
        assert "snakemake --unlock" in done.stdout
        assert lock.exists()
    copy.succeed("--unlock")
    copy.succeed(*force)

    lock.parent.mkdir(exist_ok=True)
    lock.write_text("results/phantom/table.md\n")
    copy.succeed(*force)  # it was this machine that left it


def test_code_that_is_edited_while_a_run_goes_on_is_not_run(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    steps = "methods={autoencoder: {training: {steps: 300, precision: fp32}}}"
    run = Run(copy, "--config", ONE, steps)
    results = copy.folder / "results/phantom"
    assert run.reaches((results / f"checkpoints/{POISSON}/autoencoder.pt").exists), run.text
    for file in (
        "methods/autoencoder.py",
        "score_images.py",
    ):  # of the job that runs, of one that will
        path = copy.folder / "workflow/scripts" / file
        path.write_text(path.read_text() + "\nANSWER = 42\n")
    assert run.process.wait(PATIENCE) != 0
    assert (results / f"models/{POISSON}/autoencoder.pt").exists()  # this one had all that it runs
    assert "methods/autoencoder.py changed while the workflow ran" in run.text  # denoising
    assert "Traceback" not in run.text
    planned = copy.planned("--config", ONE, steps)
    assert {
        ("train_denoiser", POISSON, "autoencoder"),
        ("score_images", POISSON, "noisy"),
    } <= planned
    copy.succeed("--config", ONE, steps)
    assert copy.planned("--config", ONE, steps) == set()


def test_ctrl_c_ends_the_run_and_says_how_to_go_on(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    run = training_run(copy)
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.process.wait(SECONDS) != 0
    assert f"interrupted; {RESUME}" in run.text
    assert "Traceback" not in run.text
    assert not processes_in(copy.folder)


# -------------------------------------------------------------------------------------- disks


@pytest.fixture
def disk(project: Project) -> Iterator[Callable[[str], None]]:
    """A disk of its own for the results; the function mounts it with options, again if need be."""
    results = project.folder / "results"
    results.mkdir()

    def mount(options: str) -> None:
        again = "remount," if os.path.ismount(results) else ""
        command = ["mount", "-t", "tmpfs", "-o", again + options, "tmpfs", str(results)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no command mount")
        if done.returncode:
            pytest.skip(f"a disk can't be mounted here: {done.stderr.strip()}")

    yield mount
    subprocess.run(["umount", "-l", str(results)], capture_output=True, check=False)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("100k", rf"results/\S+: No space left on device; free some space, and {RESUME}"),
        ("500k", rf"No space left on device(.|\n)*Not finished\. .*, {RESUME}"),  # Snakemake's own
    ],
)
def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_space(
    project: Project, disk: Callable[[str], None], size: str, message: str
):
    disk(f"size={size}")
    done = project.snakemake("--config", ONE)
    assert done.returncode != 0
    assert re.search(message, done.stdout)
    assert "Traceback" not in done.stdout
    assert not [path for path in project.folder.rglob(".*.partial*") if path.is_file()]
    disk("size=100m")
    project.succeed("--config", ONE)


def test_results_that_cannot_be_written_are_named(project: Project, disk: Callable[[str], None]):
    disk("size=100m,ro")
    done = project.snakemake("--config", ONE)
    assert done.returncode != 0
    assert "Read-only file system" in done.stdout
    assert "results/" in done.stdout
    assert "Traceback" not in done.stdout
    disk("size=100m,rw")
    project.succeed("--config", ONE)


def test_folders_that_vanish_are_made_again(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    steps = "methods={autoencoder: {training: {steps: 200, precision: fp32}}}"
    run = Run(copy, "--config", ONE, steps)
    results = copy.folder / "results/phantom"
    assert run.reaches((results / f"checkpoints/{POISSON}/autoencoder.pt").exists), run.text
    for name in ("models", "training", "checkpoints", "denoised"):
        shutil.rmtree(results / name)
    assert run.process.wait(PATIENCE) is not None
    copy.succeed("--config", ONE, steps)
    assert (results / f"models/{POISSON}/autoencoder.pt").is_file()


# ----------------------------------------------------------------------------- damaged, hostile


class Evil:
    """What runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("place", ["models/{}/autoencoder.pt", "noisy/{}/test.npy"])
def test_a_file_that_would_run_code_is_refused(finished: Project, tmp_path: Path, place: str):
    copy = finished.copied(tmp_path / "copy")
    file = copy.folder / "results/phantom" / place.format(POISSON)
    evil = Evil(tmp_path / "pwned")
    content = file.read_bytes()
    fakes = {
        "pickle": lambda stream: pickle.dump(evil, stream),
        "torch": lambda stream: torch.save(evil, stream),
        "numpy": lambda stream: np.save(stream, np.array([evil], dtype=object), allow_pickle=True),
        "cut": lambda stream: stream.write(content[: len(content) // 2]),
    }
    target = f"results/phantom/denoised/{POISSON}/autoencoder.npy"
    for kind, write in fakes.items():
        with file.open("wb") as stream:
            write(stream)
        done = copy.snakemake("--force", "--", target)
        assert done.returncode != 0, kind
        assert f"{file.relative_to(copy.folder)} can't be read" in done.stdout
        assert "delete it and run the same command again" in done.stdout
        assert "Traceback" not in done.stdout
        assert not evil.path.exists()
    file.unlink()
    copy.succeed("--force", "--", target)
    assert_same(copy, finished)


HOSTILE = [
    "a film.png",
    "-rf.png",
    "--help.png",
    "it's.png",
    'say "ah".png',
    "$(touch pwned).png",
    "`touch pwned`.png",
    "a;touch pwned.png",
    "two\nlines.png",
    "köpf 頭.png",
    "{noise}.png",
    "a,b.png",
]


def test_hostile_names_of_images_folders_and_the_project(tmp_path: Path):
    folder = tmp_path / "my 'own' \"project\" $HOME; ü"
    folder.mkdir()
    project = Project(folder)
    project.edit_config(tiny)
    images = folder / "- films' {noise}\n\"of $(touch pwned)"
    images.mkdir()
    rng = np.random.default_rng(0)
    for name in HOSTILE:
        pixels = rng.integers(0, 256, (40, 30), dtype=np.uint8)
        Image.fromarray(pixels).save(images / name)
    sources = f"datasets={{mine: {{sources: [{json.dumps(str(images))}], train: 5}}}}"
    project.succeed("--config", "dataset=mine", sources, ONE)
    scores = pd.read_csv(folder / "results/mine/scores.csv")
    assert set(scores["image"]) == {Path(name).stem for name in sorted(HOSTILE)[5:]}
    assert not list(tmp_path.rglob("pwned"))
    assert project.script("verify.py").returncode == 0
    assert project.planned("--config", "dataset=mine", sources, ONE) == set()


def test_braces_in_the_path_of_the_project_are_refused(tmp_path: Path):
    folder = tmp_path / "{noise}"
    folder.mkdir()
    done = Project(folder).snakemake()
    assert done.returncode != 0
    assert "{noise}: Snakemake takes braces in a path for wildcards; rename" in done.stdout
    assert "Traceback" not in done.stdout


# ------------------------------------------------------------------------------ unusual images


def test_a_test_set_of_one_and_images_without_contrast(project: Project, tmp_path: Path):
    folder = tmp_path / "films"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        films = {1: np.zeros((20, 20)), 2: np.full((20, 20), 255), 3: np.full((20, 20), 77)}
        pixels = films.get(index, rng.integers(0, 256, (20, 20))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    for black in (False, True):  # the only test image
        if black:
            Image.fromarray(np.zeros((20, 20), np.uint8)).save(folder / "5.png")
        name = f"mine{black:d}"
        sources = f"datasets={{{name}: {{sources: [{folder}], train: 5}}}}"
        project.succeed("--config", f"dataset={name}", sources, ONE)
        scores = pd.read_csv(project.folder / f"results/{name}/scores.csv")
        assert len(scores) == 3
        assert np.isfinite(scores[["ssim", "psnr"]]).all(axis=None)
