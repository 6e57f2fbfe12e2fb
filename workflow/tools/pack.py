"""Pack what a machine lacks that has a GPU but neither Snakemake nor a network.

    python workflow/tools/pack.py results/pack --dataset isbi2015 --python 3.12

Run with PyTorch, NumPy, SciPy, scikit-image, pandas, tabulate and matplotlib alone, `run_packed.py`
then trains there. The folder gets the other packages in an archive, and the prepared images in
single precision. Rounding changes the scores of noisy and filtered images by less than 1e-8, and
long trainings as another machine does.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from engine.messages import InputError

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
# What is packed, with all that these want.
NEEDED = ["snakemake", "jsonschema", "ruamel.yaml", "psutil", "pytest", "safetensors"]
# But for what is there, built for that machine's CUDA.
THERE = ["torch", "numpy", "scipy", "scikit-image", "pandas", "tabulate", "matplotlib"]
# Linux on x86-64, with a C library of 2018 or newer.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(28, 16, -1)]
PLATFORMS += ["manylinux2014_x86_64"]
# Programs, caches, a solver (Snakemake has a greedy one), and what SQLAlchemy does without.
LEFT_OUT = re.compile(r"^\.\.|__pycache__|^pulp/solverdir/cbc/|^sqlalchemy/cyextension/.*\.so$")


def wanted(python: str) -> list[Distribution]:
    """Return the packages to pack for a version of Python, as they are installed here."""
    waiting, found = list(map(Requirement, NEEDED)), {}
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    while waiting:
        package = waiting.pop()
        name = canonicalize_name(package.name)
        applies = package.marker is None or package.marker.evaluate(environment)
        if applies and name not in {*found, *THERE}:
            found[name] = distribution(name)
            waiting += map(Requirement, found[name].requires or [])
    return list(found.values())


def pack_packages(archive: Path, python: str) -> None:
    """Write the packages for a version of Python (as `3.12`) into an archive.

    What is compiled for another version than that of this Python, pip gets from its registry.

    Raises:
        InputError: When pip can't, with the last that it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        compiled = []
        for package in wanted(python):
            files = [str(file) for file in package.files or [] if not LEFT_OUT.search(str(file))]
            if any(name.endswith(".so") for name in files) and python != HERE:
                compiled.append(f"{package.name}=={package.version}")
                continue
            for name in files:
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(package.locate_file(name), target)
        if compiled:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
            command += ["--target", folder, "--no-deps", "--only-binary", ":all:"]
            command += ["--python-version", python]
            command += [word for name in PLATFORMS for word in ("--platform", name)]
            done = subprocess.run(
                [*command, *compiled], check=False, text=True, stderr=subprocess.PIPE
            )
            if done.returncode:
                said = done.stderr.strip().splitlines()[-1]
                raise InputError(f"{archive}: no packages for Python {python}: {said}")
        with tarfile.open(archive, "w:xz", preset=2) as tar:
            tar.add(folder, ".")


def pack_images(prepared: Path, folder: Path) -> None:
    """Write a prepared data set in single precision.

    Args:
        prepared: Folder with `train.npy` and `test.npy`, shape (N, size, size), in [0, 1], and the
            tables `split.csv` and `ids.csv`.
        folder: Folder to make.

    Raises:
        InputError: When one of them is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for name in ("split.csv", "ids.csv"):
            shutil.copy(prepared / name, folder)
        for name in ("train.npy", "test.npy"):
            np.save(folder / name, np.load(prepared / name).astype(np.float32))
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename}: there is no such file. Make it, with the options of the run: "
            f"snakemake --cores all -- {prepared / 'test.npy'}"
        ) from error


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folder", type=Path, help="to make; results/pack is not in git")
    parser.add_argument("--dataset", default="isbi2015", help="default: isbi2015")
    parser.add_argument("--size", type=int, default=128, help="of the images; default: 128")
    parser.add_argument("--python", default="3.12", help="version there; default: 3.12")
    arguments = parser.parse_args()
    prepared = Path(f"resources/datasets/{arguments.dataset}/{arguments.size}px")
    shutil.rmtree(arguments.folder, ignore_errors=True)
    try:
        pack_images(prepared, arguments.folder / prepared)
        pack_packages(arguments.folder / f"packages-{arguments.python}.tar.xz", arguments.python)
    except InputError as error:
        sys.exit(str(error))
    size = sum(path.stat().st_size for path in arguments.folder.rglob("*") if path.is_file())
    print(f"{arguments.folder}: {size / 1e6:.0f} MB. There, in the folder of the project:")
    print(f"python workflow/tools/run_packed.py {arguments.folder} --minutes 9 --out FOLDER")


if __name__ == "__main__":
    main()
