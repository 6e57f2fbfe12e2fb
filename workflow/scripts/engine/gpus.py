"""GPUs that jobs have to themselves: `--resources gpu=2` says how many run, not which on which.

A job holds a lock on a file as long as it lives; the operating system frees it however it ends.
"""

import contextlib
import fcntl
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from engine.locks import HELD
from engine.messages import log

VISIBLE, SLURM = "CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"


def take_gpu(wanted: int, every: float = 1.0) -> None:
    """Let this process see one GPU that no other job has, or none if none is `wanted`.

    Waits for one, looking every `every` seconds. Where `CUDA_VISIBLE_DEVICES` names a single GPU,
    or Slurm hands them out, that is respected.

    Raises:
        RuntimeError: When torch is imported: it may have looked for GPUs already.
    """
    if sys.modules.get("torch"):
        raise RuntimeError("torch is imported before the job has its GPU")
    if not wanted:
        os.environ[VISIBLE] = ""
        return
    names, given = gpus(), os.environ.get(VISIBLE)
    # If there is none at all, torch says so.
    if not names or (given and len(names) == 1) or (given is None and SLURM in os.environ):
        return
    folder = lease_folder()
    for waited in range(sys.maxsize):
        for name in names:
            file = (folder / re.sub(r"\W", "_", name)).open("a")
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                HELD.append(file)
                os.environ[VISIBLE] = name
                log.info("takes GPU %s of %s", name, ", ".join(names))
                return
            file.close()
        if not waited:
            log.info("waits for a GPU: other jobs have %s", ", ".join(names))
        time.sleep(every)


def gpus() -> list[str]:
    """Return what CUDA calls the GPUs of this machine that may be used: numbers, or ids of MIG."""
    found = sorted(Path("/dev").glob("nvidia[0-9]*"))
    given = os.environ.get(VISIBLE)
    names = given.split(",") if given is not None else map(str, range(len(found)))
    return [name.strip() for name in names if name.strip()]


def lease_folder() -> Path:
    """Return the folder of the locks, one for each user and each allocation of Slurm."""
    owner = f"{os.getuid()}-{os.environ.get(SLURM, '')}"
    folder = Path(tempfile.gettempdir()) / f"gpu-leases-{owner}".rstrip("-")
    folder.mkdir(exist_ok=True)
    return folder
