"""Machines other than Linux with glibc: macOS has no /proc and no libc.so.6, musl no libc.so.6."""

import pytest

from conftest import TWO_NOISES, Project

pytestmark = pytest.mark.slow

# Python imports it first. What is refused is noted, so that the test knows that it was asked for.
HIDING = """
import os, sys

def callers():
    frame = sys._getframe(2)
    while frame:
        yield (frame.f_globals.get("__name__") or "").partition(".")[0]
        frame = frame.f_back

def hide(event, arguments):
    if event not in ("open", "os.listdir", "os.scandir", "ctypes.dlopen") or not arguments:
        return
    name = os.fspath(arguments[0]) if isinstance(arguments[0], (str, os.PathLike)) else ""
    if name == "libc.so.6" or name == "/proc" or name.startswith("/proc/"):
        if "psutil" in callers():  # has code for each system, and here that of Linux
            return
        with open(os.environ["REFUSED"], "a") as file:
            print(name, file=file)
        raise FileNotFoundError(2, "No such file or directory", name)

for name in [name for name in dir(os) if name.startswith("sched_")]:
    delattr(os, name)
sys.addaudithook(hide)
"""


def test_a_run_needs_neither_proc_nor_glibc(project: Project, tmp_path):
    (tmp_path / "hiding").mkdir()
    (tmp_path / "hiding/sitecustomize.py").write_text(HIDING)
    refused = tmp_path / "refused.txt"
    hidden = {"PYTHONPATH": str(tmp_path / "hiding"), "REFUSED": str(refused)}
    select = f"select={{noise: [{TWO_NOISES[0]}], methods: [autoencoder, median]}}"
    project.succeed("--config", select, **hidden)
    # Else nothing was hidden, or nothing is left that could fail.
    assert {"libc.so.6", "/proc/sys/kernel/random/boot_id"} <= set(refused.read_text().split())
    results = project.folder / "results/phantom"
    assert (results / f"models/{TWO_NOISES[0]}/autoencoder.pt").exists()
    assert (results / "table.md").exists()
    # The lock of a run that is over is cleared, on a machine that is known by its name alone.
    assert len((project.folder / ".snakemake/alive").read_text().splitlines()) == 1
    locks = project.folder / ".snakemake/locks"
    locks.mkdir(exist_ok=True)
    (locks / "0.input.lock").write_text("results/phantom/table.md\n")
    project.succeed("--config", select, **hidden)
