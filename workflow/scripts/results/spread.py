"""How far one run of an experiment lies from another: a training, and a draw of the noise."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from results.intervals import quantile

WIDEST = 0.02  # half-width of an interval, in SSIM, beyond which it says too little
Spread = Mapping[str, float]  # of a method: the `deviation` of one run, and how many `runs` tell it


def spread_of(scores: pd.DataFrame, trained: bool) -> Spread | None:
    """Return the standard deviation of a run's mean SSIM; None where there are too few runs.

    Args:
        scores: Of one noise setting and method: `training`, `draw`, `image` and `ssim`.
        trained: Whether each run trains anew. Then the draws alone don't tell, nor the trainings.
    """
    means = scores.groupby(["training", "draw"])["ssim"].mean().unstack()
    trainings, draws = means.shape
    if draws < 2 or (trained and trainings < 2) or means.isna().any(axis=None):
        return None
    variance = means.var(axis=1).mean()
    if trained:  # the mean over draws varies too, by a share that is in both terms
        variance = means.mean(axis=1).var() + variance * (1 - 1 / draws)
    return {"deviation": math.sqrt(variance), "runs": trainings if trained else draws}


def prediction(spread: Spread, runs: int) -> float:
    """Return half the width of the 95 % prediction interval of one more run.

    Args:
        spread: What `spread_of` returned. Degrees of freedom are its runs less one: if trainings
            are few, they are what makes it uncertain.
        runs: Of which the mean is, around which the interval lies.
    """
    return quantile(spread["runs"] - 1) * spread["deviation"] * math.sqrt(1 + 1 / runs)


def verdict(difference: float, half_width: float) -> str:
    """Say whether a value this far from the middle is inside an interval."""
    if not half_width <= WIDEST:  # also if it is not known
        return "undecided"
    return "inside" if abs(difference) <= half_width else "outside"


def spread_in(file: Mapping[str, Any], noise: Mapping[str, Any]) -> Mapping[str, Spread]:
    """Return the spread of each method for a noise setting, as `resources/spread.yaml` has it."""
    rows = (row["methods"] for row in file.get("rows", []) if row["noise"] == noise)
    return next(rows, {})
