"""Compare every result with the digest that was recorded when it was made.

Names each file that is another one now, or is missing, and the command that makes it again. Snakemake
itself does not look into files that are older than what was made of them.
"""

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.files import file_digest
from common.provenance import read_records

FOLDERS = [Path("results"), Path("resources/datasets")]


def problems(records: dict[Path, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the files of some records, and for each the command that mends it."""
    for path, record in records.items():
        if "outputs" not in record:
            yield f"{path} can't be read: this record is damaged", ""
            continue
        command = rebuilding(record["target"], record["options"])
        for name, digest in record["outputs"].items():
            file = Path(name)
            try:
                if file_digest(file) != digest:
                    yield f"{name} was altered since it was made ({record['made']})", command
            except FileNotFoundError:
                yield f"{name} is missing", command
            except OSError as error:
                yield f"{name} can't be read ({error.strerror})", command


def rebuilding(target: str, options: list[str]) -> str:
    """Return the command that makes the outputs of a job again, and nothing else."""
    return shlex.join(["snakemake", "--cores", "all", *options, "--force", "--", target])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*", default=FOLDERS, help="default: all")
    folders = parser.parse_args().folders
    records = dict(read_records(folders))
    found: dict[str, list[str]] = {}
    for problem, command in problems(records):
        found.setdefault(command, []).append(problem)
    for command, lines in found.items():
        print(*lines, sep="\n")
        if command:
            print(f"  to make it again: {command}")
    count = sum(len(record.get("outputs", [])) for record in records.values())
    if not count:
        sys.exit(f"nothing is recorded in {', '.join(map(str, folders))}")
    if found:
        sys.exit(f"{sum(map(len, found.values()))} of {count} files are not as they were made")
    print(f"all {count} files are as they were made")


if __name__ == "__main__":
    main()
