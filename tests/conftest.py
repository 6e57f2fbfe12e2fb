"""What several tests need: the project copied to a fresh folder, and the real images."""

import contextlib
import fcntl
import functools
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

# Jobs of the workflow say how many threads they take; tests take one.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

# What `make test` hands on is not for the makes that tests run.
for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "IMAGES", "OUT", "METHOD", "NOISE", "WHITE"):
    os.environ.pop(name, None)

ROOT = Path(__file__).resolve().parents[1]
SNAKEMAKE = [sys.executable, "-m", "snakemake"]
# Prints the jobs of Snakemake's plan: rule, and the wildcards that tell jobs apart.
PLANNED = """
import json, sys
from itertools import chain

sys.path.insert(0, "workflow/tools")
from why import plan, planned

def shown(dag):
    for job in chain(*planned(dag)):
        values = map(job.wildcards_dict.get, ["noise", "draw", "method", "training", "part"])
        yield [job.rule.name, *filter(None, values)]

print(json.dumps(plan(sys.argv[1:], lambda dag: list(shown(dag)))))
"""
PARTS = ["Snakefile", "config.yaml", "config", "profiles", "workflow"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with tests that share a long run: at the end they would leave a processor idle.

    For the same reason those that run the workflow come before all that take a moment.
    """
    markers = ["xdist_group", "slow"]
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in markers])


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of the 400 real images, from the environment variable ISBI2015_IMAGES."""
    folder = os.environ.get("ISBI2015_IMAGES")
    if not folder:
        pytest.skip("ISBI2015_IMAGES is not set to the folder of the real images")
    return Path(folder)


def needed(program: str) -> str:
    """Return the path of a program; without it the test is skipped, or fails if it must not be."""
    if path := shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
        return path
    if program in os.environ.get("PROGRAMS_THAT_MUST_BE_THERE", "").split():
        pytest.fail(f"{program} is not installed")
    pytest.skip(f"{program} is not installed")


def environment_with(folder: Path, requirements: list[str]) -> str:
    """Make an environment of installed packages and what they need; return its interpreter."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    waiting, found = [line for line in requirements if re.match(r"\w", line)], set()
    while waiting:
        line = waiting.pop()
        name = re.match(r"[\w.-]+", line)[0].lower().replace("_", "-")
        if name in found or "extra ==" in line:
            continue
        found.add(name)
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # for another system
            package = importlib.metadata.distribution(name)
            waiting += package.requires or []
            for top in {file.parts[0] for file in package.files} - {"..", "__pycache__"}:
                if not (packages / top).exists():
                    (packages / top).symlink_to(package.locate_file(top))
    return str(folder / "bin/python")


# On a GPU, with the steps recorded as a graph, as trainings run there.
PROCESSORS = [
    ("cpu", None),
    ("cpu", torch.bfloat16),
    *(pytest.param("cuda", autocast, marks=pytest.mark.gpu) for autocast in (None, torch.bfloat16)),
]


@functools.cache
def forks() -> Path:
    """Return the folder of the sockets of forks.py, which ends with this process."""
    folder = Path(tempfile.mkdtemp())
    command = [sys.executable, ROOT / "tests/forks.py", folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    # For `make`: a folder that looks like that of the interpreter.
    for name, options in (("python", ""), ("snakemake", "-m snakemake ")):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {shlex.join(stand_in(folder))} {options}"$@"\n')
        program.chmod(0o700)
    return folder


def stand_in(folder: Path, imported: str = "programs") -> list[str]:
    """Return the command of a Python that has imported all that programs or jobs need."""
    return [sys.executable, "-IS", str(ROOT / "tests/forked.py"), str(folder / imported)]


def as_fork(command: Sequence[str]) -> list[str]:
    """Return a command of Python as one that forks a Python that has imported all it needs."""
    return [*stand_in(forks()), *command[1:]]


def with_packages(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess:
    """Run Python with these arguments, in which the packages that jobs use are imported already."""
    command = [*stand_in(forks(), "jobs"), *arguments]
    return subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, check=False)


class Project:
    """A copy of the project in which a test runs Snakemake, edits files and looks at results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(
                    ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(ROOT / part, folder / part)
        (folder / "resources").mkdir()
        for file in (ROOT / "resources").iterdir():
            if file.is_file():
                shutil.copy(file, folder / "resources" / file.name)
        # Of megabytes, and no test changes it.
        (folder / "resources" / "models").symlink_to(ROOT / "resources" / "models")

    def copied(self, folder: Path) -> "Project":
        """Return a copy of the project and of its results in another folder."""
        return Project.at(shutil.copytree(self.folder, folder, symlinks=True))

    @classmethod
    def at(cls, folder: Path) -> "Project":
        """Return the project that is in a folder."""
        project = cls.__new__(cls)
        project.folder = folder
        return project

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess:
        """Run a command in the project's folder; the output is in `stdout`."""
        if command[0] == sys.executable and "PYTHONPATH" not in environment:
            command = as_fork(command)
        return subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    def snakemake(
        self, *arguments: str, cores: int = 2, **environment: str
    ) -> subprocess.CompletedProcess:
        """Run Snakemake as a user would, but for images that are too few to share their work."""
        options = [f"--cores={cores}", "--set-threads=render_phantom=1"]
        return self.run(*SNAKEMAKE, *options, *arguments, **environment)

    def make(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run a target of the Makefile with the tests' own interpreter, which has all packages."""
        own = ["--old-file=.venv/run", f"BIN={forks()}"]
        return self.run("make", f"--makefile={ROOT / 'Makefile'}", *own, *arguments)

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess:
        """Run one of the tools."""
        return self.run(sys.executable, f"workflow/tools/{name}", *arguments)

    def succeed(self, *arguments: str, **environment: str) -> str:
        done = self.snakemake(*arguments, **environment)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def planned(self, *arguments: str, **environment: str) -> set[tuple[str, ...]]:
        """Return the planned jobs: rule, and the values of the wildcards that tell jobs apart."""
        done = self.run(sys.executable, "-c", PLANNED, *arguments, **environment)
        assert done.returncode == 0, done.stdout
        return set(map(tuple, json.loads(done.stdout)))

    def append(self, file: str, text: str) -> None:
        """Add code to a file, whose path is relative to `workflow/scripts/`."""
        with (self.folder / "workflow/scripts" / file).open("a") as stream:
            stream.write(text)

    def edit_config(self, change, name: str = "config.yaml") -> None:
        """Apply the function `change` to the configuration file's content."""
        path = self.folder / name
        config = yaml.safe_load(path.read_text())
        change(config)
        path.write_text(yaml.safe_dump(config, sort_keys=False))


def tiny(config: dict) -> None:
    """Make the configuration one that runs in seconds."""
    config["image_size"] = 16
    config["datasets"]["phantom"] = {"subjects": 10, "seed": 1, "train": 6}
    config["methods"]["autoencoder"]["training"] |= {"steps": 6, "batch": 4}
    config["methods"]["unet"] |= {"widths": [4, 4]}
    config["methods"]["unet"]["training"] |= {"steps": 6, "batch": 4}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy of the project, with a tiny configuration."""
    folder = tmp_path / "project"
    folder.mkdir()
    project = Project(folder)
    project.edit_config(tiny)
    return project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project, run to the end with a tiny configuration. Not to be changed.

    Of several workers one makes it, and the others copy it.
    """
    own = tmp_path_factory.getbasetemp()
    first = Project.at((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "finished")
    with first.folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if first.folder.exists():
            return first.copied(own / "finished")
        project = Project(tmp_path_factory.mktemp("finished"))
        project.edit_config(tiny)
        project.edit_config(lambda config: config.update(select={"noise": TWO_NOISES}))
        project.succeed()
        project.copied(first.folder)
        return project


TWO_NOISES = ["gaussian_0.1_0_1", "poisson_0.2_1"]


def own_images(folder: Path, count: int = 8) -> Path:
    """Return a folder of images, of noise, made in it."""
    images = folder / "films"
    images.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (130, 140), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.png")
    return images
