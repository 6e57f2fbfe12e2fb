"""Runs a script's work as a job: its log, its code, its record, and how it ends."""

import errno
import importlib
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine.digests import digests_of
from engine.gpus import take_gpu
from engine.locks import end_with_owner
from engine.messages import MORE_MEMORY, RESUME, InputError, log, out_of_memory
from engine.records import write_record

if TYPE_CHECKING:
    from snakemake.iocontainers import Snakemake
else:
    Snakemake = Any  # what Snakemake hands to a script

DIFFERENT = "WORKFLOW_DIFFERENT"  # environment variable: in what this machine departs from the plan
# What a user can do about errors of the operating system.
REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "make the folder writable",
    errno.EACCES: "change the permissions",
    errno.EPERM: "change the permissions",
    errno.ENOENT: "if it was removed meanwhile",
    errno.EIO: "the disk may be failing; copy what you need",
}


def run(main: Callable[[Snakemake], None]) -> None:
    """Run a script's `main` with what Snakemake has put there, the global variable `snakemake`.

    Messages go to the job's log file and to the terminal.

    A job does not run on another machine that departs from the plan, see `engine.plan`. One that
    wants a GPU gets it first, see `engine.gpus`. Code that was edited since the job was
    planned is not run, see `check_code`. An error that a user can mend ends the job with its
    message alone; any other keeps its traceback, in the log file too. A job that succeeds leaves a
    record, see `engine.records`.
    """
    snakemake: Snakemake = sys.modules["__main__"].snakemake
    end_with_owner()
    logging.raiseExceptions = False  # a log that can't be written must not bury what is said
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers += [logging.FileHandler(path, mode="w") for path in snakemake.log]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    name = " ".join([snakemake.rule, *filter(None, map(str, snakemake.wildcards))])
    started = time.monotonic()
    try:
        check_plan()
        take_gpu(snakemake.resources.get("gpu", 0))
        check_code(snakemake.params.code)
        main(snakemake)
        write_record(snakemake)
    except KeyboardInterrupt:
        log.error("%s: interrupted; %s", name, RESUME)
        sys.exit(130)
    except Exception as error:
        if message := mendable(error, snakemake):
            log.error("%s: %s", name, message)
        else:
            log.exception("%s failed", name)
        sys.exit(1)
    log.info("%s: done in %.1f s", name, time.monotonic() - started)


def mendable(error: Exception, snakemake: Snakemake) -> str | None:
    """Return what to tell a user who can do something about an error; None of other errors."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.errno in REMEDIES:
        place = error.filename or ", ".join(map(str, snakemake.output))
        return f"{place}: {error.strerror}; {REMEDIES[error.errno]}, and {RESUME}"
    fault = out_of_memory(error)
    return f"{fault}: {MORE_MEMORY}" if fault else None


def check_plan() -> None:
    """Raise an InputError where Snakemake came to another plan than that of the main process."""
    if different := os.environ.get(DIFFERENT):
        raise InputError(
            f"not as planned: {different}. It was edited while this job waited, or differs on "
            f"{socket.gethostname()}. Run the same command again: what it changes is done again"
        )


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
            module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            importlib.import_module(module)
    now = digests_of(planned)
    if changed := [name for name in planned if now[name] != planned[name]]:
        raise InputError(
            f"{', '.join(changed)} changed while the workflow ran, which would mix results of two "
            "versions: run the same command again, and all that depends on it is run again"
        )
