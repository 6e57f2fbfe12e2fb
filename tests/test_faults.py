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

from conftest import SNAKEMAKE, TWO_NOISES, Project, as_fork, own_images, tiny

pytestmark = pytest.mark.slow

POISSON = TWO_NOISES[1]
ONE = ["--config", f"select={{noise: [{POISSON}], methods: [autoencoder, median]}}"]
TWO = ["--config", f"select={{noise: [{POISSON}], methods: [autoencoder, unet]}}"]
LONG = "methods={autoencoder: {training: {steps: 200}}, unet: {training: {steps: 200}}}"
ENDLESS = "methods={autoencoder: {training: {steps: 10000000}}}"
LARGE = "resources/datasets/phantom/512px/images.npy"
# What differs from run to run: it holds times.
TIMED = ("logs/", "benchmarks/", "provenance/", "costs/", "methods.", "compute.")
PATIENCE = 120  # seconds after which something that is waited for is given up
SECONDS = 10  # what "within seconds" means, on a machine that is busy with other tests
RESUME = "run the same command again"


@pytest.fixture
def copy(finished: Project, tmp_path: Path) -> Project:
    return finished.copied(tmp_path / "copy")


def result(project: Project, folder: str, name: str = "autoencoder.pt") -> Path:
    """Return the path of a result of the Poisson noise."""
    return project.folder / "results/phantom" / folder / POISSON / name


class Run:
    """A running Snakemake, with its jobs in a process group of their own.

    Where nothing is killed, `forked` saves the time that its imports and those of its jobs take.
    """

    def __init__(self, project: Project, *arguments: str, forked: bool = False) -> None:
        self.log = project.folder / "run.log"
        command = [*SNAKEMAKE, "--cores=2", *arguments]
        if forked:
            command = as_fork(command)
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                command, cwd=project.folder, stdout=file, stderr=file, start_new_session=True
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

    def kill(self, *, jobs: bool = True) -> None:
        """Kill Snakemake, and its jobs if so said."""
        (os.killpg if jobs else os.kill)(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def done(self, patience: int = PATIENCE) -> subprocess.CompletedProcess:
        """Wait for the end; return it as `Project.snakemake` does."""
        return subprocess.CompletedProcess([], self.process.wait(patience), self.text)


def training_run(
    project: Project, *arguments: str, method: str = "autoencoder", forked: bool = False
) -> Run:
    """Start a run, and wait until it trains a method."""
    run = Run(project, *arguments, forked=forked)
    assert run.reaches(result(project, "checkpoints", f"{method}.pt").exists), run.text
    return run


def rendering_run(project: Project, processes: int, *, forked: bool = False) -> Run:
    """Start a run that renders for long, at this size, and wait for processes that do so."""
    run = Run(project, LARGE, "--config", "image_size=512", forked=forked)
    pool = "multiprocessing.forkserver"  # one of these starts the others
    assert run.reaches(lambda: len(processes_in(project.folder, pool)) > processes), run.text
    return run


def processes_in(folder: Path, words: str = "") -> list[str]:
    """Return the commands, with these words, of the living processes started in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == folder:
                found.append((entry / "cmdline").read_text(errors="replace").replace("\0", " "))
    return [command for command in found if command and words in command]  # none: it has ended


def assert_ended(folder: Path) -> None:
    """Assert that within `SECONDS` no process of a run is left."""
    end = time.monotonic() + SECONDS
    while processes_in(folder) and time.monotonic() < end:
        time.sleep(0.05)
    assert not processes_in(folder)


def assert_failed(done: subprocess.CompletedProcess, *words: str) -> None:
    """Assert that a run failed, and said so in these words."""
    assert done.returncode != 0
    for told in words:
        assert told in done.stdout
    assert "Traceback" not in done.stdout


def made(project: Project) -> dict[str, object]:
    """Return all that a run made, by path, without times: of models, the weights."""
    found: dict[str, object] = {}
    for folder in ("results", "resources/datasets"):
        for path in (project.folder / folder).rglob("*"):
            name = path.relative_to(project.folder).as_posix()
            if path.is_file() and not any(part in name for part in TIMED):
                found[name] = path.read_bytes()
                if path.suffix == ".pt":
                    found[name] = model = torch.load(path, weights_only=True)
                    model["cost"].pop("training_seconds")
                    model["weights"] = {k: v.numpy().tobytes() for k, v in model["weights"].items()}
    return found


def assert_same(project: Project, other: Project) -> None:
    ours, theirs = made(project), made(other)
    assert [name for name in ours | theirs if ours.get(name) != theirs.get(name)] == []


# ------------------------------------------------------------------------------------- killed


def test_killed_in_each_rule_the_same_command_goes_on(project: Project, tmp_path: Path):
    """One run after the other is killed in the first job of a rule that was not hit yet.

    Every other time the jobs are left alone, as by a kill for memory: they have to end alone.
    """
    project.edit_config(lambda config: config.update(select={"noise": [POISSON]}))
    whole = project.copied(tmp_path / "whole")
    whole.succeed()
    random = np.random.default_rng(1)
    every_rule = {job[0] for job in project.planned()}
    hit: list[str] = []

    def next_rule() -> str | None:
        rules = re.findall(r"^(?:local)?rule (\w+):$", run.text, re.MULTILINE)
        return next((rule for rule in rules if rule not in [*hit, "all"]), None)

    while (run := Run(project, "--cores=1")).reaches(next_rule):
        hit.append(next_rule())
        # Within its job, which takes half a second and more, or when the next rule's has begun.
        end = time.monotonic() + random.uniform(0, 0.8)
        if run.reaches(lambda end=end: time.monotonic() > end or next_rule()):
            run.kill(jobs=len(hit) % 2 == 0)
    assert run.process.returncode == 0, run.text
    assert set(hit) == every_rule
    assert_same(project, whole)
    assert project.planned() == set()
    assert project.script("verify.py").returncode == 0


def test_killed_training_goes_on_and_ends_bit_identical(finished, copy: Project, tmp_path: Path):
    whole = finished.copied(tmp_path / "whole")
    whole.succeed(*TWO, LONG)
    for method, jobs in (("autoencoder", False), ("unet", True)):
        training_run(copy, *TWO, LONG, method=method).kill(jobs=jobs)
    copy.succeed(*TWO, LONG)
    for method in ("autoencoder", "unet"):
        log = result(copy, "logs/train_denoiser", f"{method}.log")
        assert "resumes after step " in log.read_text()
    assert_same(copy, whole)
    assert not list((copy.folder / "results/phantom/checkpoints").rglob("*.pt"))


def test_a_training_that_is_killed_at_its_very_end_does_no_step_again(copy: Project):
    history = result(copy, "training", ".autoencoder.partial.csv")
    os.mkfifo(history)  # whoever writes the history waits for ever
    model = result(copy, "models")
    run = Run(copy, *ONE, LONG)
    assert run.reaches(lambda: "train_denoiser" in run.text and not model.exists()), run.text
    assert run.reaches(model.exists), run.text
    run.kill()
    history.unlink()
    copy.succeed(*ONE, LONG)
    log = result(copy, "logs/train_denoiser", "autoencoder.log").read_text()
    assert "resumes after step 200 from its checkpoint" in log


def test_jobs_end_when_their_snakemake_is_killed(copy: Project):
    run = training_run(copy, *ONE, ENDLESS)
    assert len(processes_in(copy.folder)) > 1
    run.kill(jobs=False)
    assert_ended(copy.folder)


def test_processes_of_a_job_end_when_its_snakemake_is_killed(project: Project):
    rendering_run(project, processes=2).kill(jobs=False)
    assert_ended(project.folder)


def test_code_that_the_processes_of_a_job_import_is_checked_as_well(project: Project):
    run = rendering_run(project, processes=1, forked=True)
    project.append("phantom/rays.py", "\nANSWER = 42\n")
    assert_failed(run.done(), "phantom/rays.py changed while the workflow ran")
    assert not (project.folder / LARGE).exists()


def test_a_second_run_is_refused_while_the_first_one_lives(copy: Project):
    run = training_run(copy, *ONE, ENDLESS)
    assert_failed(copy.snakemake(*ONE, ENDLESS), "cannot be locked")
    assert run.process.poll() is None
    assert processes_in(copy.folder)
    copy.planned(*ONE)  # looking is allowed, and does no harm
    assert_failed(copy.snakemake(*ONE, ENDLESS), "cannot be locked")
    # Neither does a dry run that takes long, and still looks when the next run begins.
    waits = copy.folder / "waits"
    with (copy.folder / "Snakefile").open("a") as file:
        file.write("\nimport time\nif workflow.output_settings.dryrun:\n")
        file.write(f"    Path({str(waits)!r}).touch()\n    time.sleep({PATIENCE})\n")
    looking = Run(copy, "--dry-run")
    assert looking.reaches(waits.exists)
    run.kill()
    assert list((copy.folder / ".snakemake/locks").iterdir())  # nobody clears them but the next
    copy.succeed(*ONE)
    assert looking.process.poll() is None
    looking.kill()


def test_locks_of_another_machine_are_let_be(copy: Project):
    """Whether a run is alive there can't be told from here, if the disk is shared."""
    lock = copy.folder / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text("results/phantom/table.md\n")
    (copy.folder / ".snakemake/alive").write_text("elsewhere\n01234567\n")
    force = ["--force", "--", "results/phantom/table.md"]
    for _ in range(2):
        left = "elsewhere has left locks in"
        assert_failed(copy.snakemake(*force), left, "snakemake --unlock")
        assert lock.exists()
    copy.succeed("--unlock")
    copy.succeed(*force)

    lock.parent.mkdir(exist_ok=True)
    lock.write_text("results/phantom/table.md\n")
    copy.succeed(*force)  # it was this machine that left it


def test_code_that_is_edited_while_a_run_goes_on_is_not_run(copy: Project):
    run = training_run(copy, *ONE, LONG, forked=True)
    for file in ("methods/autoencoder.py", "score_images.py"):  # of the job that runs, of a later
        copy.append(file, "\nANSWER = 42\n")
    # That of denoising fails.
    assert_failed(run.done(), "methods/autoencoder.py changed while the workflow ran")
    assert result(copy, "models").exists()  # this one had all that it runs
    concerned = {("train_denoiser", POISSON, "autoencoder"), ("score_images", POISSON, "noisy")}
    assert concerned <= copy.planned(*ONE, LONG)
    copy.succeed(*ONE, LONG)
    assert copy.planned(*ONE, LONG) == set()


def test_ctrl_c_ends_the_run_and_says_how_to_go_on(copy: Project):
    run = training_run(copy, *ONE, ENDLESS)
    os.killpg(run.process.pid, signal.SIGINT)
    assert_failed(run.done(SECONDS), f"interrupted; {RESUME}")
    assert not processes_in(copy.folder)


# -------------------------------------------------------------------------------------- disks


@pytest.fixture
def disk(project: Project) -> Iterator[Callable[[str], None]]:
    """A disk of its own for the results; the function mounts it with options, again if need be."""
    results = project.folder / "results"
    results.mkdir()

    def mount(options: str) -> None:
        again = "remount," if results.is_mount() else ""
        done = project.run("sh", "-c", f"mount -t tmpfs -o {again}{options} tmpfs results")
        if done.returncode:
            pytest.skip(f"a disk can't be mounted here: {done.stdout.strip()}")

    yield mount
    project.run("sh", "-c", "umount -l results")


def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_space(project: Project, disk):
    for size, message in {
        "100k": rf"results/\S+: No space left on device; free some space, and {RESUME}",
        "500k": rf"No space left on device(.|\n)*Not finished\. .*, {RESUME}",  # Snakemake's own
    }.items():
        disk(f"size={size}")
        done = project.snakemake(*ONE)
        assert_failed(done)
        assert re.search(message, done.stdout)
        assert not [path for path in project.folder.rglob(".*.partial*") if path.is_file()]
    disk("size=100m")
    project.succeed(*ONE)


def test_results_that_cannot_be_written_are_named(project: Project, disk):
    disk("size=100m,ro")
    assert_failed(project.snakemake(*ONE), "Read-only file system", "results/")
    disk("size=100m,rw")
    project.succeed(*ONE)


def test_folders_that_vanish_are_made_again(copy: Project):
    run = training_run(copy, *ONE, LONG, forked=True)
    for name in ("models", "training", "checkpoints", "denoised"):
        shutil.rmtree(copy.folder / "results/phantom" / name)
    run.done()
    copy.succeed(*ONE, LONG)
    assert result(copy, "models").is_file()


# ----------------------------------------------------------------------- damaged, hostile, unusual


@pytest.mark.parametrize("place", [["models"], ["noisy", "test.npy"]])
def test_a_file_that_would_run_code_is_refused(finished, copy: Project, tmp_path: Path, place):
    class Evil:
        def __reduce__(self) -> tuple:  # what unpickling runs
            return Path.touch, (tmp_path / "pwned",)

    file = result(copy, *place)
    content = file.read_bytes()
    fakes = {
        "pickle": lambda stream: pickle.dump(Evil(), stream),
        "torch": lambda stream: torch.save(Evil(), stream),
        "numpy": lambda stream: np.save(stream, np.array([Evil()]), allow_pickle=True),
        "cut": lambda stream: stream.write(content[: len(content) // 2]),
    }
    force = ["--force", "--", f"results/phantom/denoised/{POISSON}/autoencoder.npy"]
    for write in fakes.values():
        with file.open("wb") as stream:
            write(stream)
        name = f"{file.relative_to(copy.folder)} can't be read"
        assert_failed(copy.snakemake(*force), name, f"delete it and {RESUME}")
        assert not (tmp_path / "pwned").exists()
    file.unlink()
    copy.succeed(*force)
    assert_same(copy, finished)


# Between bars.
HOSTILE = """
a film|-rf|--help|it's|say "ah"|$(touch pwned)|`touch pwned`|a;touch pwned|two
lines|köpf 頭|{noise}|a,b
"""


def test_hostile_names_of_images_folders_and_the_project(tmp_path: Path):
    folder = tmp_path / "my 'own' \"project\" $HOME; ü"
    images = folder / "- films' {noise}\n\"of $(touch pwned)"
    images.mkdir(parents=True)
    names = HOSTILE.strip().split("|")
    for path, name in zip(own_images(tmp_path, len(names)).iterdir(), names, strict=True):
        path.rename(images / f"{name}.png")
    project = Project(folder)
    project.edit_config(tiny)
    sources = f"datasets={{mine: {{sources: [{json.dumps(str(images))}], train: 5}}}}"
    project.succeed(*ONE, "dataset=mine", sources)
    scores = pd.read_csv(folder / "results/mine/scores.csv")
    assert set(scores["image"]) == set(sorted(names)[5:])
    assert not list(tmp_path.rglob("pwned"))
    assert project.script("verify.py").returncode == 0
    assert project.planned(*ONE, "dataset=mine", sources) == set()


def test_braces_in_the_path_of_the_project_are_refused(tmp_path: Path):
    folder = tmp_path / "{noise}"
    folder.mkdir()
    message = "{noise}: Snakemake takes braces in a path for wildcards; rename"
    assert_failed(Project(folder).snakemake(), message)


def test_a_test_set_of_one_and_images_without_contrast(project: Project, tmp_path: Path):
    folder = own_images(tmp_path, 6)
    levels = {1: 0, 2: 255, 3: 77}
    for name in ("mine", "black"):
        for number, level in levels.items():
            Image.fromarray(np.full((20, 20), level, np.uint8)).save(folder / f"{number}.png")
        sources = f"datasets={{{name}: {{sources: [{folder}], train: 5, duplicates: keep}}}}"
        project.succeed("all", "figures", *ONE, f"dataset={name}", sources)
        scores = pd.read_csv(project.folder / f"results/{name}/scores.csv")
        assert len(scores) == 3
        assert np.isfinite(scores[["ssim", "psnr"]]).all(axis=None)
        levels[5] = 0  # the only test image
