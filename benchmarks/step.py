"""Run one script of the workflow without Snakemake, and print what that took.

`python benchmarks/step.py SCRIPT JOB`: JOB is JSON of what Snakemake would hand to the script:
`input`, `output`, `params`, `wildcards` and `threads`. Prints JSON, see `run_step`.
"""

import importlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow" / "scripts"


class Names(dict):
    """A dictionary whose values are attributes too, as Snakemake's are."""

    __getattr__ = dict.__getitem__


def job_of(parts: dict[str, Any]) -> SimpleNamespace:
    """Return what Snakemake would hand to a script that runs with one thread, for replicate 1."""
    first = {"training": "", "draw": ""}
    parts = parts | {"wildcards": first | parts.get("wildcards", {})}
    named = {key: Names(part) if isinstance(part, dict) else part for key, part in parts.items()}
    return SimpleNamespace(**{"threads": 1} | named)


def run_step(script: str, **job: Any) -> dict[str, float]:  # noqa: ANN401 (what JSON can hold)
    """Run a script in a process of its own.

    Args:
        script: Name of a file in `workflow/scripts/`, without suffix.
        job: `input`, `output`, `params` and `wildcards`, dictionaries, and `threads`.

    Returns:
        `seconds` from start to end by the clock, `cpu_seconds` of the processor and `peak_mib`,
        the most memory that was resident; imports are part of all three.

    Raises:
        subprocess.CalledProcessError: When the script fails.
    """
    command = [sys.executable, __file__, script, json.dumps(job)]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {"seconds": time.perf_counter() - started} | json.loads(done.stdout)


def peak_mib() -> float:
    """Return the most memory of this process that was ever resident, in MiB."""
    try:  # Linux: `ru_maxrss` below has the parent's peak in it, which survives the start
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    except FileNotFoundError:
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    """Run the script named by the arguments; see the top of this file."""
    sys.path.insert(0, str(SCRIPTS))
    script, job = sys.argv[1], json.loads(sys.argv[2])
    importlib.import_module(script).main(job_of(job))
    print(json.dumps({"cpu_seconds": time.process_time(), "peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
