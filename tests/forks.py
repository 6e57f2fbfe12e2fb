"""A Python that has imported Snakemake, and forks for each program: a second less for each start.

The scripts of Snakemake's jobs come from another Python, which has imported the packages that they
use, but nothing of the project: two seconds less for each. Both are asked by sockets in the given
folder, `programs` and `jobs`; `forked.py` stands for a Python that they fork.
"""

import atexit
import contextlib
import gc
import importlib.metadata
import json
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import sys
import threading
import weakref
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from snakemake.script import PythonScript

# What takes the second.
OF_SNAKEMAKE = """
jsonschema numpy PIL.Image snakemake.cli snakemake.profiles snakemake.report.html_reporter
snakemake.storage yaml
"""
OF_JOBS = """
jinja2 matplotlib.backends.backend_agg matplotlib.figure numpy pandas PIL.Image psutil
scipy.fft scipy.interpolate scipy.ndimage scipy.sparse.csgraph scipy.special scipy.stats
skimage.metrics skimage.restoration skimage.transform snakemake.iocontainers yaml
"""
if not Path("/dev/nvidiactl").exists():  # jobs choose their GPU before they import it
    OF_JOBS += "torch torch._dynamo"


class Hidden:
    """Takes a package away after it was imported, until it is imported again."""

    def __init__(self, name: str) -> None:
        self.name = name
        names = [n for n in sys.modules if n.partition(".")[0] == name]
        self.modules = {n: sys.modules.pop(n) for n in names}

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == self.name and self.modules else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        sys.modules.update(self.modules)
        return self.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: it was run."""


def next_program(listener: socket.socket, packages: str) -> list:
    """Fork for each connection; return in the child what is asked for, in the parent never.

    A connection is answered with the exit status of its child.
    """
    owner, waiting = os.getppid(), {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    while os.getppid() == owner:
        ready, _, _ = select.select([listener, woken], [], [], 1)
        if woken in ready:
            os.read(woken, 2**16)
            answer_ended(waiting)
        if listener in ready:
            connection, _ = listener.accept()
            asked, files = received(connection)
            if packages:  # not before there is a program
                prepare(packages)
                packages = ""
            process = os.fork()
            if not process:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return [*asked, files]
            waiting[process] = connection
            for file in files:
                os.close(file)
    shutil.rmtree(sys.argv[1], ignore_errors=True)  # of the sockets
    os._exit(0)


def prepare(packages: str) -> None:
    """Import the packages, so that a fork has them and takes little time to begin and to end."""
    for package in packages.split():
        importlib.import_module(package)
    gc.freeze()
    for finalizer in list(weakref.finalize._registry):
        finalizer.atexit = False
    sys.meta_path.insert(0, Hidden("torch"))  # jobs see to it that they import it late


def received(connection: socket.socket) -> tuple[list, list[int]]:
    """Return what a connection asks for, and its standard files."""
    text, files, _, _ = socket.recv_fds(connection, 2**16, 3)
    while not text.endswith(b"\n"):
        text += connection.recv(2**16)
    return json.loads(text), files


def answer_ended(waiting: dict[int, socket.socket]) -> None:
    """Answer the connections whose processes have ended, and forget them."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            process, status = ended
            with waiting.pop(process) as connection, contextlib.suppress(BrokenPipeError):
                connection.sendall(b"%d" % (os.waitstatus_to_exitcode(status) % 256))


def run(arguments: list[str], folder: str, environment: dict[str, str], files: list[int]) -> None:
    """Do as Python does that was started with these arguments."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files):
        os.dup2(file, number)
    option, *others = arguments
    if option == "-m":
        sys.argv, sys.path[0] = others, folder
        runpy.run_module(others[0], run_name="__main__", alter_sys=True)
    elif option == "-c":
        sys.argv, sys.path[0] = ["-c", *others[1:]], ""
        exec(others[0], {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = arguments, os.path.dirname(option)  # noqa: PTH120 (as Python does)
        runpy.run_path(option, run_name="__main__")


def status_of(*asked: object) -> int:
    """Do what is asked for, and return the exit status, as Python has it."""
    try:
        run(*asked)
        return 0
    except SystemExit as end:
        if isinstance(end.code, int | None):
            return end.code or 0
        print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    return 1


def end(status: int) -> None:
    """End as Python does, but take no module apart: with all these, that lasts a second."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def listening(name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{sys.argv[1]}/{name}")
    listener.listen(64)
    return listener


programs, jobs = listening("programs"), listening("jobs")
print("ready", flush=True)
if os.fork():
    installed = importlib.metadata.packages_distributions()
    importlib.metadata.packages_distributions = lambda: installed  # which takes long to find out
    stand_in = Path(__file__).with_name("forked.py")
    JOB = [sys.executable, "-IS", str(stand_in), f"{sys.argv[1]}/jobs"]
    PythonScript.execute_script = lambda script, path, edit=False: script._execute_cmd(
        "{program} {path:q}", program=shlex.join(JOB), path=path, is_python_script=True
    )
    sys.executable = f"{sys.argv[1]}/python"  # what jobs on a cluster are started with
    asked = next_program(programs, OF_SNAKEMAKE)
else:
    asked = next_program(jobs, OF_JOBS)
end(status_of(*asked))
