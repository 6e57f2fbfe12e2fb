"""What every job does around its work: log, report progress, fail with a clear message."""

import errno
import importlib
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from engine.digests import digests_of
from engine.locks import end_with_owner
from engine.records import write_record

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake as Snakemake

log = logging.getLogger("workflow")
RESUME = "run the same command again: it resumes where it stopped"
# What a user can do about errors of the operating system.
REMEDIES = {
    errno.ENOSPC: f"free some space, and {RESUME}",
    errno.EDQUOT: f"free some of your quota, and {RESUME}",
    errno.EROFS: f"make the folder writable, and {RESUME}",
    errno.EACCES: f"change the permissions, and {RESUME}",
    errno.EPERM: f"change the permissions, and {RESUME}",
    errno.ENOENT: f"if it was removed meanwhile, {RESUME}",
    errno.EIO: f"the disk may be failing; copy what you need, and {RESUME}",
}
MORE_MEMORY = "close other programs, or run fewer jobs at a time (--cores 1)"


class InputError(Exception):
    """Something that the user gave cannot be used. The message names it and the remedy."""


def run(main: Callable[["Snakemake"], None], snakemake: "Snakemake") -> None:
    """Run a script's `main` with its messages going to the job's log file and to the terminal.

    Code that is another one than when the job was planned is not run, see `check_code`.

    An `InputError` ends the job with its message alone, and so do want of memory, and errors of the operating
    system that a user can do something about; any other exception keeps its traceback, which is written to the log
    file too. A job that succeeds leaves a record, see `engine.records`.
    """
    end_with_owner()
    logging.raiseExceptions = False  # a log that can't be written must not bury what is said
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers += [logging.FileHandler(path, mode="w") for path in snakemake.log]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    name = " ".join([snakemake.rule, *map(str, snakemake.wildcards)])
    started = time.monotonic()
    try:
        check_code(snakemake.params.code)
        main(snakemake)
        write_record(snakemake)
    except InputError as error:
        log.error("%s: %s", name, error)
        sys.exit(1)
    except KeyboardInterrupt:
        log.error("%s: interrupted; %s", name, RESUME)
        sys.exit(130)
    except OSError as error:
        if error.errno not in REMEDIES:
            log.exception("%s failed", name)
            sys.exit(1)
        place = error.filename or ", ".join(map(str, snakemake.output))
        log.error("%s: %s: %s; %s", name, place, error.strerror, REMEDIES[error.errno])
        sys.exit(1)
    except Exception as error:
        if fault := out_of_memory(error):
            log.error("%s: %s: %s", name, fault, MORE_MEMORY)
        else:
            log.exception("%s failed", name)
        sys.exit(1)
    log.info("%s: done in %.1f s", name, time.monotonic() - started)


def out_of_memory(error: Exception) -> str | None:
    """Return what to say of an error that means that memory does not suffice; None of others."""
    torch = sys.modules.get("torch")
    # CUDA's libraries have errors of their own; for want of memory on a CPU, torch raises what it raises for
    # any reason.
    on_gpu = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    if (torch and isinstance(error, torch.OutOfMemoryError)) or any(
        t in str(error) for t in on_gpu
    ):
        return "out of memory on the GPU (device: cpu needs none)"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: " in str(error):
        return "out of memory"
    return None


def check_code(planned: Mapping[str, str]) -> None:
    """Import the code of a job, and check that it is what the job was planned with.

    From then on it does not matter whether files are edited while the job runs.

    Args:
        planned: Digests by file, as `engine.digests` gives them; the script itself runs already.

    Raises:
        InputError: When files were edited since; the message names them.
    """
    for name in planned:
        if "/" in name:
            importlib.import_module(
                name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            )
    now = digests_of(planned)
    if changed := [name for name in planned if now[name] != planned[name]]:
        raise InputError(
            f"{', '.join(changed)} changed while the workflow ran, which would mix results of two versions: "
            "run the same command again, which makes anew what depends on it"
        )


class Progress:
    """Log how far a long loop has come and when it will end, every few seconds.

    Args:
        what: What is being done, for the message.
        total: How many units there are.
        done: How many were done before this process started (a resumed loop).
        every: Seconds between two messages.
    """

    def __init__(self, what: str, total: int, done: int = 0, every: float = 10) -> None:
        self.what, self.total, self.done, self.every = what, total, done, every
        self.first, self.started = done, time.monotonic()
        self.reported = self.started

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count `units` more as done; `note` is added to the message, if one is due."""
        self.done += units
        now = time.monotonic()
        if now - self.reported < self.every:
            return
        self.reported = now
        left = (now - self.started) / (self.done - self.first) * (self.total - self.done)
        clock = f"{left / 60:.1f} min" if left >= 90 else f"{left:.0f} s"
        log.info(
            "%s: %d of %d (%.0f %%), %s left%s",
            self.what,
            self.done,
            self.total,
            100 * self.done / self.total,
            clock,
            f", {note}" if note else "",
        )
