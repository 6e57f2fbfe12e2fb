"""The jobs that some results come from: what they made, with what, and what that took."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from engine.records import LOGS, RECORDS, read_records

Records = Mapping[Path, Mapping[str, Any]]  # by path
BENCHMARKS = "benchmarks"
RUNS_ON = re.compile(r" runs on (.+)$", re.MULTILINE)  # what a training logs, `training.processor`


def jobs_behind(files: Iterable[str], folders: list[Path]) -> Records:
    """Return the records of the jobs that made some files, and of those before them, oldest first.

    Args:
        files: Paths, as the records have them.
        folders: Where records are: of a run, of a data set.
    """
    records = {path: record for path, record in read_records(folders) if record}
    in_order = sorted(records, key=lambda path: records[path]["made"])
    # A file has several records when another rule made it before: the last one counts.
    makers = {
        file: path
        for path in in_order
        for file in (records[path]["target"], *records[path]["outputs"])
    }
    waiting, found = list(files), set()
    while waiting:
        path = makers.get(waiting.pop())
        if path and path not in found:
            found.add(path)
            waiting += records[path]["inputs"]
    return {path: records[path] for path in in_order if path in found}


def beside(record: Path, folder: str, suffix: str) -> Path:
    """Return a file of a job that has the place of its record, in another folder of the run."""
    parts = record.with_suffix(suffix).parts
    return Path(*(folder if part == RECORDS else part for part in parts))


def measured(benchmarks: Iterable[Path]) -> pd.DataFrame:
    """Return what jobs took, from their benchmark files, one line a job.

    Returns:
        Columns `rule`, `seconds` by the clock, `processor` seconds and `memory` (MB). A job that
        is too short for Snakemake to take a sample of the last two has NaN.
    """
    rows = []
    for path in benchmarks:
        line = pd.read_csv(path, sep="\t").iloc[0]
        parts = path.with_suffix("").parts
        rule = parts[len(parts) - parts[::-1].index(BENCHMARKS)]
        cells = (line["s"], line.get("cpu_time"), line["max_rss"])
        rows.append([rule, *(float(pd.to_numeric(cell, errors="coerce")) for cell in cells)])
    return pd.DataFrame(rows, columns=["rule", "seconds", "processor", "memory"])


def times(jobs: Records) -> pd.DataFrame:
    """Return what the jobs of each rule took together, the longest first; see `measured`.

    Returns:
        Columns `rule`, `jobs`, `seconds`, `processor`, and `memory`: the most that a job took.
    """
    files = [beside(path, BENCHMARKS, ".tsv") for path in jobs]
    rules = measured(path for path in files if path.exists()).groupby("rule", as_index=False)
    sums = rules.agg(
        jobs=("seconds", "size"),
        seconds=("seconds", "sum"),
        processor=("processor", "sum"),
        memory=("memory", "max"),
    )
    return sums.sort_values("seconds", ascending=False, kind="stable")


def checksums(jobs: Records) -> pd.DataFrame:
    """Return the files that jobs made: columns `file`, `rule`, `made` and `sha256`.

    A folder of fetched images is left out: its table of checksums is a file itself.
    """
    rows = [
        (file, record["rule"], record["made"].replace("T", " ")[:19], digest)
        for record in jobs.values()
        for file, digest in record["outputs"].items()
        if not file.startswith(f"{record['target']}/")
    ]
    return pd.DataFrame(rows, columns=["file", "rule", "made", "sha256"])


def packages(jobs: Records) -> dict[str, list[str]]:
    """Return the versions of the packages that results depend on, as they were recorded."""
    found: dict[str, set[str]] = {}
    for record in jobs.values():
        for name, version in record["params"].get("packages", {}).items():
            found.setdefault(name, set()).add(version or "not installed")
    return {name: sorted(found[name]) for name in sorted(found)}


def processors(jobs: Records) -> list[str]:
    """Return on what networks were trained, as their logs say it."""
    logs = [beside(path, LOGS, ".log") for path in jobs]
    texts = [path.read_text(encoding="utf-8") for path in logs if path.exists()]
    return sorted({place for text in texts for place in RUNS_ON.findall(text)})
