"""What a killed run leaves behind: locks that nobody holds, and jobs that nobody waits for."""

import contextlib
import fcntl
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from engine.messages import InputError, log

OWNER = "WORKFLOW_PROCESS"  # environment variable: the Snakemake process that a job belongs to
HELD: list[IO[str]] = []  # open as long as this process lives


def begin(project: Path, *, main: bool, dry: bool) -> None:
    """Do what a Snakemake process has to do first.

    Its jobs will end when it is gone.

    Args:
        project: The folder of the Snakefile.
        main: Whether no other Snakemake process started this one.
        dry: Whether it will only say what it would do.
    """
    if set("{}") & set(str(project)):
        sys.exit(f"{project}: Snakemake takes braces in a path for wildcards; rename the folder")
    os.environ[OWNER] = str(os.getpid())
    if main:
        announce(Path(".snakemake"), stay=not dry)


def announce(folder: Path, *, stay: bool) -> None:
    """Clear away the locks of dead Snakemake processes, and note that this one lives.

    Snakemake's own locks are files that stay when it is killed. The operating system's end with the
    process: whoever gets one alone knows that no other run is alive. Some file systems keep these
    for each machine alone; so locks that another machine has left are let be.

    Args:
        folder: Where Snakemake keeps its records, `.snakemake`.
        stay: Whether this process will run jobs; else it is not noted.
    """
    with contextlib.suppress(OSError):  # nothing can be written there: nothing can be run either
        folder.mkdir(exist_ok=True)
        file = (folder / "alive").open("a+", encoding="utf-8")
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = _clear(list((folder / "locks").glob("*.lock")), file)
            if stay and ours:
                file.truncate(0)
                print(*_machine(), sep="\n", file=file, flush=True)
        if stay:
            fcntl.flock(file, fcntl.LOCK_SH)
            HELD.append(file)


def _clear(locks: list[Path], alive: IO[str]) -> bool:
    """Delete locks, unless another machine has left them; return whether none is left."""
    alive.seek(0)
    left_by = alive.read().splitlines()
    if locks and left_by and not set(left_by) & set(_machine()):
        print(
            f"{left_by[0]} has left locks in {locks[0].parent.absolute()}. If no run is alive "
            "there: snakemake --unlock",
            file=sys.stderr,
        )
        return False
    for lock in locks:
        lock.unlink(missing_ok=True)
    return True


def _machine() -> list[str]:
    """Return what this machine is known by: its name, and since when its system runs.

    The first stays when it is restarted; the second is the same in all of its containers.
    """
    names = [socket.gethostname()]
    with contextlib.suppress(OSError):
        names.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    return names


@contextlib.contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock on a file, which says who holds it.

    Raises:
        InputError: When another process holds it, with what that process wrote there.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"{what} runs already: {file.read().strip()}. Wait for it, or end it, and run the "
                f"same command again ({lock} is locked)"
            ) from None
        except OSError as error:  # some file systems have no locks
            log.warning("%s can't be locked (%s): don't start this twice", lock, error.strerror)
        job = f"job {os.environ['SLURM_JOB_ID']} of Slurm, " if "SLURM_JOB_ID" in os.environ else ""
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        file.truncate(0)
        file.write(f"{job}process {os.getpid()} on {socket.gethostname()}, since {started}\n")
        file.flush()
        yield


def end_with_owner() -> None:
    """End this job when the Snakemake process that started it is gone.

    Else it would survive a kill, and write the same files as a job of the next run.
    """
    if owner := int(os.environ.get(OWNER, "0")):
        end_with(owner)


def end_with(process: int, every: float = 0.5) -> None:
    """End this process when another one is gone; look every `every` seconds."""
    import psutil  # benchmarks run scripts where it is not installed

    def watch() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            other = psutil.Process(process)
            # One that has ended, but whose parent has not asked for its end yet, is gone as well.
            while other.is_running() and other.status() != psutil.STATUS_ZOMBIE:
                time.sleep(every)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
