"""Which images of a data set are for training and which for the test."""

from pathlib import Path

import pandas as pd


def read_table(path: str | Path) -> pd.DataFrame:
    """Return a table whose columns are all text; an image may be called `NA` or `001`."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def ids_of(part: str, split: str | Path) -> list[str]:
    """Return the ids of the images of a part (`train` or `test`), in order.

    Args:
        part: The part.
        split: The table `split.csv` of a data set, columns `id` and `part`.
    """
    table = read_table(split)
    return table.loc[table["part"] == part, "id"].tolist()
