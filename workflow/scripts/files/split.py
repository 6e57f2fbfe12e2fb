"""Which images of a data set are for training and which for the test."""

from pathlib import Path

from files.tables import read_table


def ids_of(part: str, split: str | Path) -> list[str]:
    """Return the ids of the images of a part (`train` or `test`), in order.

    Args:
        part: The part.
        split: The table `split.csv` of a data set, columns `id` and `part`.
    """
    return [line["id"] for line in read_table(split) if line["part"] == part]
