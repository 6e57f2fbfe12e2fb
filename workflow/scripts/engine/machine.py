"""What is installed here: packages that results depend on, and a GPU to plan with."""

import functools
import importlib.metadata
import importlib.util
import os
import runpy
import sys
from pathlib import Path

from engine.digests import SCRIPTS, imported_names

# Its next random numbers are as good as the last ones, but would train everything again.
NOT_COUNTED = {"numpy"}


def package_versions(*files: str) -> dict[str, str | None]:
    """Return the versions of the packages that files, or local modules that they reach, import.

    Patch releases don't count, nor does the standard library.

    Args:
        files: Paths relative to `workflow/scripts/`.

    Returns:
        Versions by the packages' names in the registry; None for what is not installed.
    """
    modules = {name.partition(".")[0] for name in imported_names(*files)}
    modules -= {path.stem for path in SCRIPTS.iterdir()} | sys.stdlib_module_names | NOT_COUNTED
    names = {name for module in modules for name in _packages().get(module, [module])}
    return {name: _version(name) for name in sorted(names)}


def _version(package: str) -> str | None:
    try:
        return ".".join(importlib.metadata.version(package).split(".")[:2])
    except importlib.metadata.PackageNotFoundError:
        return None


_packages = functools.cache(importlib.metadata.packages_distributions)


def wants_gpu(device: str) -> bool:
    """Say whether jobs with this `device` setting (auto, cpu, cuda) will run on a GPU.

    For planning: looks for NVIDIA device files and for a torch built with CUDA, without the
    seconds that importing torch takes.
    """
    if device != "auto":
        return device == "cuda"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    present = any(Path("/dev").glob("nvidia[0-9]*"))
    spec = importlib.util.find_spec("torch")
    if hidden or not present or spec is None or spec.origin is None:
        return False
    version = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    return version.get("cuda") is not None
