"""Compare every result with the digest that was recorded when it was made.

Names each file that was altered or is missing, and the command that makes it again. Snakemake
itself does not look into files that are older than what was made of them.
"""

import argparse
import ast
import base64
import json
import re
import shlex
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from engine.films import shown
from engine.messages import some
from engine.records import LOGS, RECORDS, files_of, read_records
from files.atomic import file_digest

FEW = 3  # files that are named, of those without a record in a folder
# Of this workflow, and of those of which it is a module with a prefix.
FOLDERS = ["results", "resources/datasets", "*/results", "*/resources/datasets"]
# What a run leaves beside its results: logs, times, what it resumes from after a kill, and which
# folders it is of.
NOT_RESULTS = {LOGS, RECORDS, "benchmarks", "checkpoints", "images.download", "folder.json"}


def latest(records: dict[Path, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return each recorded file's last record, by the file's path.

    A file has several when another rule made it before: a data set was rendered and is now read.
    """
    in_order = sorted(filter(None, records.values()), key=lambda record: record["made"])
    return {file: record for record in in_order for file in record["outputs"]}


def problems(records: dict[Path, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with each file of some records, and the command that makes it again."""
    for path, record in records.items():
        if not record:
            yield f"{path} can't be read: this record is damaged", ""
    for name, record in latest(records).items():
        run = ["snakemake", "--cores", "all", *record["options"], "--force", "--"]
        command = shlex.join([*run, record["target"]])
        try:
            if file_digest(name) != record["outputs"][name]:
                yield f"{shown(name)} was altered since it was made ({record['made']})", command
            elif not planned(name) <= set(map(json.dumps, record["params"].values())):
                yield f"{name} was made with other settings than Snakemake has on record", command
        except FileNotFoundError:
            yield f"{shown(name)} is missing", command
        except OSError as error:
            yield f"{name} can't be read ({error.strerror})", command


def planned(file: str) -> set[str]:
    """Return the parameters of the job that Snakemake recorded for a file, each as JSON."""
    name = base64.urlsafe_b64encode(file.encode()).decode()
    *folders, last = re.findall(".{1,254}", name)  # file systems allow 255
    path = Path(".snakemake/metadata", *(f"@{folder}" for folder in folders), last)
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))["params"]
    except (OSError, ValueError, KeyError):  # it has been cleaned up, and says nothing
        return set()
    return {json.dumps(ast.literal_eval(text), default=str) for text in texts}


def unrecorded(folders: list[Path], recorded: Collection[str]) -> dict[str, list[str]]:
    """Return the names of the files that should have a record and have none, by their folder."""
    found: dict[str, list[str]] = {}
    for path in (p for folder in filter(Path.is_dir, folders) for p in files_of(folder)):
        hidden = path.name.startswith(".")  # Snakemake's own, or half-written
        if str(path) not in recorded and not hidden and kind_of(path) not in NOT_RESULTS:
            found.setdefault(str(path.parent), []).append(path.name)
    return found


def kind_of(path: Path) -> str | None:
    """Return which folder of its run or data set a file is in."""
    start = next(n for n, part in enumerate(path.parts) if part in ("results", "datasets"))
    return next(iter(path.parts[start + 2 :]), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*", help="default: all")
    folders = parser.parse_args().folders
    folders = folders or [path for pattern in FOLDERS for path in sorted(Path().glob(pattern))]
    records = dict(read_records(folders))
    recorded = latest(records)
    if not recorded:
        sys.exit(f"nothing is recorded in {', '.join(map(str, folders)) or 'this folder'}")
    found: dict[str, list[str]] = {}
    for problem, command in problems(records):
        found.setdefault(command, []).append(problem)
    for command, lines in found.items():
        print(*lines, sep="\n")
        if command:
            print(f"  to make it again: {command}")
    unknown = unrecorded(folders, recorded)
    for folder, names in unknown.items():
        print(f"{folder}: {some(names, FEW)}: no record, so nobody can tell what was altered")
    wrong = sum(map(len, found.values()))
    if found:
        print(f"{wrong} of {len(recorded)} files are not as they were made")
    if unknown:
        print(f"{sum(map(len, unknown.values()))} files have no record")
    if found or unknown:
        sys.exit(1)
    print(f"all {len(recorded)} files are as they were made")


if __name__ == "__main__":
    main()
