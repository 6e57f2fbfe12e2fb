"""What a killed run leaves behind: locks that nobody holds, and jobs that nobody waits for."""

import contextlib
import fcntl
import os
import sys
import threading
import time
from pathlib import Path
from typing import IO

OWNER = "WORKFLOW_PROCESS"  # environment variable: the Snakemake process that a job belongs to
HELD: list[IO[str]] = []  # open as long as this process lives


def begin(project: Path, *, main: bool) -> None:
    """Do what a Snakemake process has to do first; `main` unless another one started it.

    Its jobs will end when it is gone.
    """
    if set("{}") & set(str(project)):
        sys.exit(f"{project}: Snakemake takes braces in a path for wildcards; rename the folder")
    os.environ[OWNER] = str(os.getpid())
    if main:
        announce(Path(".snakemake"))


def announce(folder: Path) -> None:
    """Note that this Snakemake process runs, after clearing away the locks of dead ones.

    Snakemake's own locks are files that stay when it is killed. The operating system's end with the
    process: whoever gets one alone knows that no other run is alive.

    Args:
        folder: Where Snakemake keeps its records, `.snakemake`.
    """
    with contextlib.suppress(OSError):  # nothing can be written there: nothing can be run either
        folder.mkdir(exist_ok=True)
        file = (folder / "alive").open("w")
        HELD.append(file)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for lock in (folder / "locks").glob("*.lock"):
                lock.unlink(missing_ok=True)
        fcntl.flock(file, fcntl.LOCK_SH)


def end_with_owner(every: float = 0.5) -> None:
    """End this job when the Snakemake process that started it is gone.

    Else it would go on after a kill, and write what the next run's job for the same files writes.
    """
    owner = int(os.environ.get(OWNER, "0"))
    if not owner:
        return

    def watch() -> None:
        while _is_alive(owner):
            time.sleep(every)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, but alive
        return True
    # A process that ended but whose parent has not asked for its end yet is gone as well.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
