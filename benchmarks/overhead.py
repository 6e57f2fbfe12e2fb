"""Measure what a run takes besides training and denoising: the other jobs, and Snakemake itself.

`python benchmarks/overhead.py` in the project's folder, after `make run`. Needs Snakemake, and
Linux for its processor time.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Result = dict[str, Any]
EXPENSIVE = ("train_denoiser", "tune_method", "filter_images", "apply_network")
THREADS = {"render_phantom": 4, "resize_images": 4}  # at most; other rules take one
# A run of 47 jobs that trains nothing.
TINY = [
    "image_size=16",
    "datasets={phantom: {subjects: 10, train: 6}}",
    "select={methods: [median]}",
]


def job_seconds(folders: Iterable[Path], cores: int) -> list[Result]:
    """Return what the jobs of finished runs took, from the benchmark files of each rule.

    Args:
        folders: Each with a folder `benchmarks`, as `results/phantom`.
        cores: How many cores the jobs shared.

    Returns:
        A line a rule: `rule`, `jobs`, and as sums over its jobs `seconds` by the clock,
        `core_seconds`, these times the cores that a job takes, and `cpu_seconds` of the processor,
        which another load of the machine changes less. Snakemake samples the last, so the end of
        a job is missing.
    """
    rules: dict[str, list[tuple[float, float]]] = {}
    for folder in folders:
        for path in sorted((folder / "benchmarks").rglob("*.tsv")):
            rule = path.relative_to(folder / "benchmarks").parts[0].removesuffix(".tsv")
            with path.open(encoding="utf-8", newline="") as file:
                times = [
                    # A job may be too short for a sample of its processor time.
                    (float(line["s"]), float(line["cpu_time"].replace("NA", "0")))
                    for line in csv.DictReader(file, delimiter="\t")
                ]
            rules.setdefault(rule, []).extend(times)
    results = []
    for rule, times in rules.items():
        seconds, cpu_seconds = map(sum, zip(*times, strict=True))
        core_seconds = seconds * min(THREADS.get(rule, 1), cores)
        results.append(
            {
                "rule": rule,
                "jobs": len(times),
                "seconds": seconds,
                "core_seconds": core_seconds,
                "cpu_seconds": cpu_seconds,
            }
        )
    return results


def snakemake_seconds(*arguments: str, folder: Path = ROOT) -> tuple[float, float]:
    """Run Snakemake in a folder, and return its seconds by the clock and of the processor.

    The second are those of Snakemake's own process, without the jobs that it starts.

    Raises:
        RuntimeError: When Snakemake fails, with what it wrote.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, but not yet forgotten
        seconds = time.perf_counter() - started
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        if process.wait():
            output.seek(0)
            raise RuntimeError(output.read())
    return seconds, sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def idle_seconds(cores: int) -> float:
    """Return the seconds of a run in which nothing is to be done.

    Raises:
        RuntimeError: When something is to be done; it is not.
    """
    plan = [sys.executable, "-m", "snakemake", "--dry-run"]
    said = subprocess.run(
        plan, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout
    if "Nothing to be done" not in said:
        raise RuntimeError("the run is not complete: finish it first")
    return snakemake_seconds("--cores", str(cores))[0]


def own_seconds(cores: int) -> Result:
    """Return Snakemake's own processor time, from a tiny run in a temporary folder.

    Returns:
        `start`, to plan a run and find nothing to do, and `job`, for each job that it runs.
    """
    with tempfile.TemporaryDirectory() as name:
        arguments = [
            *("--snakefile", str(ROOT / "Snakefile"), "--configfile", str(ROOT / "config.yaml")),
            *("--cores", str(cores), "--config", *TINY),
        ]
        _, whole = snakemake_seconds(*arguments, folder=Path(name))
        jobs = sum(line["jobs"] for line in job_seconds(Path(name).glob("r*/**/phantom"), cores))
        _, start = snakemake_seconds(*arguments, folder=Path(name))
    return {"start": start, "job": (whole - start) / jobs}


def overhead(folders: Iterable[Path], cores: int, repeats: int = 3) -> list[Result]:
    """Measure everything but training, tuning and denoising of a finished run.

    Args:
        folders: The run's results and its data set, as `results/phantom` and
            `resources/datasets/phantom`.
        cores: How many cores the run had.
        repeats: How often a run that has nothing to do is timed.

    Returns:
        A line for each rule (see `job_seconds`), and one with `jobs_seconds`, the other jobs'
        core seconds over the cores, `cpu_seconds`, the same of their processor time,
        `snakemake_seconds`, Snakemake's own for that many jobs, and `idle_seconds` by the clock of
        each run that has nothing to do.

    Raises:
        ValueError: When the folders hold no benchmark files.
        RuntimeError: When the run is not complete.
    """
    folders = list(folders)
    rules = job_seconds(folders, cores)
    if not rules:
        raise ValueError(f"no benchmarks in {', '.join(map(str, folders))}: run it first")
    others = [line for line in rules if line["rule"] not in EXPENSIVE]
    own = own_seconds(cores)
    snakemake = own["start"] + own["job"] * sum(line["jobs"] for line in rules)
    total = {
        "cores": cores,
        "jobs_seconds": sum(line["core_seconds"] for line in others) / cores,
        "cpu_seconds": sum(line["cpu_seconds"] for line in others) / cores,
        "snakemake_seconds": snakemake,
        "idle_seconds": [idle_seconds(cores) for _ in range(repeats)],
    }
    return [{"benchmark": "overhead", **line} for line in (*rules, total)]


def table(results: list[Result]) -> str:
    """Return what `overhead` found as text."""
    *rules, total = results
    lines = []
    for line in sorted(rules, key=lambda line: -line["core_seconds"]):
        mark = " (not counted)" if line["rule"] in EXPENSIVE else ""
        lines.append(
            f"{line['rule']:18}{line['jobs']:4} jobs {line['seconds']:8.1f} s, "
            f"processor {line['cpu_seconds']:8.1f} s{mark}"
        )
    lines += [
        f"the other jobs over {total['cores']} cores: {total['jobs_seconds']:.1f} s, of processor "
        f"time {total['cpu_seconds']:.1f} s; Snakemake itself {total['snakemake_seconds']:.1f} s",
        "nothing to do: " + ", ".join(f"{seconds:.1f} s" for seconds in total["idle_seconds"]),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folders",
        type=Path,
        nargs="*",
        default=[ROOT / "results/phantom", ROOT / "resources/datasets/phantom"],
        help="the run and its data set (default: those of the phantom)",
    )
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="that the run had")
    given = parser.parse_args()
    print(table(overhead(given.folders, given.cores)))


if __name__ == "__main__":
    main()
