"""Checks of what the entries of data sets say of their split, before any image is read."""

import re
from collections.abc import Iterator

from engine.plugins import Config


def split_problems(datasets: dict[str, Config]) -> Iterator[str]:
    """Yield what does not fit together in the entries of data sets."""
    for name, entry in datasets.items():
        place = f"datasets.{name}"
        if "train" not in entry and "test" not in entry:
            yield f"{place}.train: missing; or give `test`"
        if "train" in entry and "test" in entry:
            yield (
                f"{place}.test: `train` is given too; give one of the two. An entry of config.yaml "
                "keeps its `train`: give the data set another name"
            )
        if "test" in entry and entry.get("duplicates") == "group":
            yield f"{place}.duplicates: `test` says the part of each image; allowed: refuse, keep"
        if "patient" in entry and not _finds_one(entry["patient"]):
            yield (
                f"{place}.patient: {entry['patient']!r} is not allowed; allowed: a regular "
                "expression with at most one group"
            )
        if "variety" in entry and "subjects" not in entry:
            yield f"{place}.variety: only rendered subjects (`subjects`) have it; remove it"
        if "subjects" in entry and entry["subjects"] <= entry.get("train", 0):
            yield (
                f"{place}.train: {entry['train']} of {entry['subjects']} subjects "
                f"leaves none to test on; allowed: 0 to {entry['subjects'] - 1}"
            )


def _finds_one(pattern: str) -> bool:
    try:
        return re.compile(pattern).groups <= 1
    except re.error:
        return False
