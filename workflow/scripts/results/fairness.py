"""What the methods of a table were given, and whether that was the same for all."""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from engine.messages import InputError
from results.wording import CLEAN, MODEL, Texts


def read_trials(paths: Iterable[str]) -> pd.DataFrame:
    """Return how much each tuning tried: `noise`, `method`, `trials` and on how many `images`.

    Args:
        paths: Files `.../NOISE/METHOD.json`, each a list with an entry for each trial.
    """
    tried = {path: json.loads(path.read_text(encoding="utf-8")) for path in map(Path, paths)}
    lines = [(p.parent.name, p.stem, len(all_), all_[0]["images"]) for p, all_ in tried.items()]
    return pd.DataFrame(lines, columns=["noise", "method", "trials", "images"])


def require_equal_seconds(
    table: pd.DataFrame, methods: Collection[str], allowed: Mapping[str, Any]
) -> None:
    """Refuse trainings that took another time than that of the method `seconds_as`.

    Args:
        table: Columns `noise`, `method` and `training_seconds`.
        methods: The trained methods that the limit is for.
        allowed: What the configuration allows; without `seconds_as`, any time.

    Raises:
        InputError: Naming each method, the noise setting, its seconds and what is allowed.
    """
    if "seconds_as" not in allowed:
        return
    yardstick, tolerance = allowed["seconds_as"], allowed["tolerance"]
    seconds = table.set_index(["noise", "method"])["training_seconds"]
    wrong = []
    for (noise, method), found in seconds.loc[:, list(methods)].items():
        low, high = (seconds[noise, yardstick] * (1 + sign * tolerance) for sign in (-1, 1))
        if not low <= found <= high:  # nor if one of them is unknown
            wrong.append(
                f"methods.{method}: the training for {noise} took {found:.1f} s; allowed: "
                f"{low:.1f} to {high:.1f} s, as {yardstick} (allowed.seconds_as)"
            )
    if wrong:
        raise InputError("\n".join([*wrong, "Change the steps of these methods."]))


def given_notes(labels: Texts, uses: Mapping[str, Collection[str]]) -> list[str]:
    """Return in words what some methods of a table were given and others were not."""
    without = {
        what: [label for name, label in labels.items() if what not in uses[name]]
        for what in (CLEAN, MODEL)
    }
    return [
        f"Not all were given the same. Without {what}: {', '.join(names)}."
        for what, names in without.items()
        if 0 < len(names) < len(labels)
    ]
