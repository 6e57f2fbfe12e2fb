"""Small tables in `.csv` files, without the third of a second that importing pandas takes."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from files.atomic import replacing


def read_table(path: str | Path) -> list[dict[str, str]]:
    """Return the lines of a table by column; all is text: an image may be called `NA` or `001`."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: str | Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write one line or more, all of the same columns, as pandas does; None becomes empty."""
    first, *others = lines
    with replacing(path) as new, new.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, first, lineterminator="\n")
        writer.writeheader()
        writer.writerows([first, *others])


def ids_of(part: str, split: str | Path) -> list[str]:
    """Return the ids of the images of a part (`train` or `test`), in order.

    `split` is the table `split.csv` of a data set, columns `id` and `part`.
    """
    return [line["id"] for line in read_table(split) if line["part"] == part]
