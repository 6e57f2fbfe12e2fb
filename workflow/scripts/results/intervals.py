"""How sure a mean score is, or the difference of two: over images, draws of noise and trainings.

The scores of a method and noise setting are a grid of shape (images, trainings), each the mean of
its draws. `docs/evidence.md` has the formulas, `benchmarks/coverage.py` shows how often they hold.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

LEVEL = 0.95  # of intervals
ALPHA = 0.03  # of a table's verdicts: what 5 % becomes where trainings are few and skewed
ENOUGH = 6  # trainings, for an interval over them
SAME = 1e-9  # smaller differences of scores are rounding
IMAGES = "images and draws"
TRAININGS = "images, trainings and draws"
NOT_JUDGED = "not judged, since the images of one method hardly differ from each other"
FEW = f"images and draws alone, since a trained method has fewer than {ENOUGH} trainings"
PAIRS = ["noise", "first", "second", "difference", "low", "high", "p", "verdict", "over"]

Grids = Mapping[tuple[str, str], np.ndarray]  # by noise setting and method


def grids_of(scores: pd.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """Return the grids of `read_scores`' SSIM; NaN is what is missing.

    Draws are averaged: an image's noise in a draw is its own, so draws differ by chance alone that
    also makes images differ. All grids have the images in the same order.
    """
    scores = scores if "training" in scores else scores.assign(training=1)
    keys = ["noise", "method", "training", "image"]
    wide = scores.groupby(keys)["ssim"].mean(skipna=False).unstack("image")
    return {key: rows.to_numpy().T for key, rows in wide.groupby(level=["noise", "method"])}


def estimate(first: np.ndarray, second: np.ndarray | None = None) -> tuple[float, float, float]:
    """Return a mean, or the mean difference of two grids, its standard error and its freedom.

    Images and trainings are random (but trainings fewer than `ENOUGH`, which are averaged), images
    the same for both methods, trainings their own. The degrees of freedom are Satterthwaite's.
    """
    grids = [first] if second is None else [first, second]
    means = image_means(*grids)
    count = len(means)
    terms = [(means.var(ddof=1) / count, count - 1)]  # shares of the variance, and their freedom
    for grid in grids:
        trainings = grid.shape[1]
        if trainings >= ENOUGH:
            of_trainings = grid.mean(0)
            rest = grid - grid.mean(1, keepdims=True) - of_trainings + grid.mean()
            freedom = (count - 1) * (trainings - 1)
            among = of_trainings.var(ddof=1) / trainings
            within = (rest**2).sum() / freedom / grid.size  # is in the means of images already
            if among > within:
                terms += [(among, trainings - 1), (-within, freedom)]
    variance = sum(share for share, _ in terms)
    freedom = variance**2 / sum(share**2 / freedom for share, freedom in terms)
    return float(means.mean()), math.sqrt(variance), freedom


def quantile(freedom: float) -> float:
    """Return the quantile of Student's t that ends an interval of `LEVEL`."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def image_means(first: np.ndarray, second: np.ndarray | None = None) -> np.ndarray:
    """Return the mean over trainings for each image, or the difference of two methods' means."""
    return first.mean(axis=1) - (0 if second is None else second.mean(axis=1))


def obstacle(*grids: np.ndarray) -> str:
    """Return why one grid, or two to be compared, have no interval; nothing if they have one."""
    if len(grids[0]) < 2:
        return "no interval, since there is one test image"
    if not all(np.isfinite(grid).all() for grid in grids):
        return "no interval, since a score is missing or no finite number"
    if np.ptp(image_means(*grids)) < SAME:
        what = "scores" if len(grids) == 1 else "differences"
        return f"no interval, since all images have the same {what}"
    if any(grid.shape[1] >= ENOUGH and np.ptp(grid, axis=1).max() < SAME for grid in grids):
        return "no interval, since all trainings give the same scores"
    return ""


def basis(grids: Collection[np.ndarray], trained: Collection[bool]) -> str:
    """Return over what the interval of one grid, or of two, is; or why there is none."""
    enough = [grid.shape[1] >= ENOUGH for grid in grids]
    if any(train and not many for train, many in zip(trained, enough, strict=True)):
        over = FEW
    else:
        over = TRAININGS if any(enough) else IMAGES
    return obstacle(*grids) or over


def half_width(grid: Sequence[Any] | np.ndarray) -> float:
    """Return half the width of the 95 % interval of a grid's mean; NaN if there is an obstacle.

    The grid may be a list of the images' scores alone.
    """
    grid = np.asarray(grid, np.float64)
    grid = grid[:, None] if grid.ndim == 1 else grid
    if obstacle(grid):
        return math.nan
    _, error, freedom = estimate(grid)
    return quantile(freedom) * error


def compare(
    grids: Grids,
    trained: Collection[str],
    margin: float,
    alike: Collection[tuple[str, str]] = (),
) -> pd.DataFrame:
    """Compare all methods of each noise setting in pairs; give verdicts.

    Args:
        grids: In the order in which the pairs are to be.
        trained: Methods that are trained, and have no verdict with fewer than `ENOUGH` trainings.
        margin: Methods whose means differ by less, in SSIM, are equivalent.
        alike: Noise settings and methods that have no verdict: see `wording.ALIKE`.

    Returns:
        Columns `PAIRS`: the difference first minus second, the ends of its interval, `p` after
        Holm's correction for all pairs, the verdict on the first method, and what `basis` returns.
    """
    lines = []
    for (noise, first), (other, second) in itertools.combinations(grids, 2):
        if noise == other:
            two = [grids[noise, first], grids[noise, second]]
            over = basis(two, [first in trained, second in trained])
            over = NOT_JUDGED if {(noise, first), (noise, second)} & {*alike} else over
            names = {"noise": noise, "first": first, "second": second, "over": over}
            numbers = {} if obstacle(*two) else difference(*two, margin)
            verdict = {"p": math.nan, "verdict": ""} if over not in (IMAGES, TRAININGS) else {}
            lines.append(names | numbers | verdict)
    table = pd.DataFrame(lines, columns=PAIRS)
    table["p"] = holm(table["p"].astype(float))
    table["verdict"] = table["verdict"].mask(table["p"] > ALPHA, "undecided")
    return table


def from_both_sides(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of `compare`, and each again as the second method's."""
    other = pairs.rename(
        columns={"first": "second", "second": "first", "low": "high", "high": "low"}
    )
    ends = ["difference", "low", "high"]
    other[ends] = -other[ends].astype(float)  # also if there is no pair
    other["verdict"] = other["verdict"].replace({"better": "worse", "worse": "better"})
    return pd.concat([pairs, other])


def difference(first: np.ndarray, second: np.ndarray, margin: float) -> dict[str, Any]:
    """Return the numbers of a pair, with the verdict that comes first as the level rises.

    `p` is the level from which on an interval (of 1 - p) is wholly above or below the margins
    around zero or between them: of two one-sided tests, twice the larger tail.
    """
    mean, error, freedom = estimate(first, second)
    reach = quantile(freedom) * error
    beyond = np.array([margin - mean, margin + mean]) / error
    better, worse = stdtr(freedom, beyond)
    tails = {"better": better, "worse": worse, "equivalent": stdtr(freedom, -beyond).max()}
    verdict = min(tails, key=tails.get)
    numbers = {"difference": mean, "low": mean - reach, "high": mean + reach}
    return numbers | {"p": 2 * tails[verdict], "verdict": verdict}


def holm(p: pd.Series) -> pd.Series:
    """Return p-values after Holm's correction; NaN stays, and does not count.

    statsmodels has it, but importing that takes longer than the whole comparison.
    """
    ranked = p.dropna().sort_values()
    return (ranked * np.arange(len(ranked), 0, -1)).cummax().clip(upper=1).reindex(p.index)
