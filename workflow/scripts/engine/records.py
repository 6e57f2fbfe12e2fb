"""What a job made and of what, in a record beside its log.

Snakemake plans by its own records. These serve people: `verify.py` compares files with their
digests, and `why.py` says which setting or which code has changed.
"""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from files.atomic import file_digest, write_text

if TYPE_CHECKING:
    from snakemake.iocontainers import Snakemake

LOGS, RECORDS = "logs", "provenance"  # folders of a run or a data set; names can't be these
KEYS = {"rule", "made", "options", "target", "outputs", "inputs", "params"}


def record_path(log: str | Path) -> Path:
    """Return the path of a job's record: that of its log, in `provenance/` in place of `logs/`."""
    parts = Path(log).with_suffix(".json").parts
    return Path(*(RECORDS if part == LOGS else part for part in parts))


def write_record(snakemake: "Snakemake") -> None:
    """Write the record of a job that has made its outputs.

    `outputs` has a digest for each file by path (of a folder, for each file in it), `inputs` the
    paths, and `params` what Snakemake handed over, digests of the code among it. `options` of
    Snakemake and `target` tell how to make the outputs again.
    """
    record = {
        "rule": snakemake.rule,
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "options": snakemake.config.get("options", []),
        "target": str(snakemake.output[0]),
        "outputs": {str(p): file_digest(p) for path in snakemake.output for p in files_of(path)},
        "inputs": list(map(str, snakemake.input)),
        "params": dict(snakemake.params.items()),
    }
    text = json.dumps(record, indent=1, default=str) + "\n"
    write_text(record_path(snakemake.log[0]), text)


def read_records(folders: list[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the path of each record below some folders, and the record."""
    for folder in folders:
        for path in sorted(folder.rglob(f"{RECORDS}/**/[!.]*.json")):
            yield path, read_record(path)


def read_record(path: Path) -> dict[str, Any]:
    """Return what `write_record` wrote; nothing if there is none, or if it is damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and record.keys() >= KEYS else {}


def files_of(path: str | Path) -> list[Path]:
    """Return a file itself, or all files in a folder."""
    path = Path(path)
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
