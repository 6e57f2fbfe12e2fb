"""Intervals of means and of differences, and verdicts: against libraries and simulations."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from conftest import ROOT
from results import intervals
from results.intervals import (
    ALPHA,
    ENOUGH,
    FEW,
    IMAGES,
    PAIRS,
    TRAININGS,
    basis,
    compare,
    estimate,
    grids_of,
    half_width,
    holm,
    obstacle,
)

sys.path.insert(0, str(ROOT / "benchmarks"))

import coverage

MARGIN = 0.005


def grid(trainings: int = 1, images: int = 12, seed: int = 0, mean: float = 0.8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = mean + rng.normal(0, 0.02, (images, 1)) + rng.normal(0, 0.003, (images, trainings))
    return found + rng.normal(0, 0.01, trainings)


def scores_of(grids: dict, draws: int = 1) -> pd.DataFrame:
    """Score lines whose mean over draws is in the grids."""
    lines = [
        (
            noise,
            method,
            f"{image:03}",
            value + 0.01 * (draw - (draws - 1) / 2),
            training + 1,
            draw + 1,
        )
        for (noise, method), values in grids.items()
        for (image, training), value in np.ndenumerate(values)
        for draw in range(draws)
    ]
    return pd.DataFrame(lines, columns=["noise", "method", "image", "ssim", "training", "draw"])


def test_grids_are_means_over_draws():
    grids = {("b", "x"): grid(3), ("a", "y"): grid(1)}
    scores = scores_of(grids, draws=2).sample(frac=1, random_state=0)
    found = grids_of(scores)
    assert found.keys() == grids.keys()
    for key, values in grids.items():
        np.testing.assert_allclose(found[key], values)
    alone = scores_of({("a", "y"): grid(1)}).drop(columns=["training", "draw"])
    np.testing.assert_allclose(grids_of(alone)["a", "y"], grid(1))


def test_a_score_that_is_missing_or_no_number_is_not_passed_over():
    scores = scores_of({("a", "x"): grid(2), ("a", "y"): grid(2)}, draws=2)
    scores.loc[(scores["method"] == "x") & (scores["image"] == "003"), "ssim"] = [np.nan, 1, 1, 1]
    missing = grids_of(scores.drop(scores.index[-2:]))
    assert np.isnan(missing["a", "x"]).sum() == 1
    assert np.isnan(missing["a", "y"]).sum() == 1
    assert np.isnan(half_width(missing["a", "x"]))


def test_few_trainings_are_averaged_and_images_make_the_interval():
    for trainings in (1, 3, ENOUGH - 1):
        values = grid(trainings).mean(1)
        low, high = scipy.stats.t.interval(0.95, 11, values.mean(), scipy.stats.sem(values))
        assert half_width(grid(trainings)) == pytest.approx((high - low) / 2)


def test_the_interval_of_a_mean_is_that_of_a_two_way_random_model():
    values = grid(7)
    lines = scores_of({("a", "x"): values})
    squares = anova_lm(ols("ssim ~ C(image) + C(training)", lines).fit())["mean_sq"]
    image, training, rest = squares / values.size
    mean, error, freedom = estimate(values)
    assert mean == pytest.approx(values.mean())
    assert error**2 == pytest.approx(image + training - rest)
    shares = image**2 / 11 + training**2 / 6 + rest**2 / 66
    assert freedom == pytest.approx((image + training - rest) ** 2 / shares)
    low, high = scipy.stats.t.interval(0.95, freedom, mean, error)
    assert half_width(values) == pytest.approx((high - low) / 2)


def test_a_difference_is_paired_by_image_and_has_both_methods_trainings():
    first, second, filtered = grid(6), grid(9, seed=1), grid(1)
    mean, error, freedom = estimate(first, filtered)
    values = first - filtered  # a filter has no trainings, so this is the model of one grid
    assert (mean, error, freedom) == pytest.approx(estimate(values))
    _, both, _ = estimate(first, second)
    parts = [values.mean(0).var(ddof=1) / values.shape[1] for values in (first, second)]
    assert both**2 == pytest.approx(
        (first.mean(1) - second.mean(1)).var(ddof=1) / 12
        + sum(parts)
        - sum(scores_rest(values) / values.size for values in (first, second))
    )


def scores_rest(values: np.ndarray) -> float:
    """The mean square of what neither images nor trainings explain."""
    lines = scores_of({("a", "x"): values})
    return ols("ssim ~ C(image) + C(training)", lines).fit().mse_resid


def test_trainings_that_differ_by_less_than_chance_make_no_interval_narrower():
    values = grid(8)
    values = values - values.mean(0) + values.mean()
    values += np.linspace(0, 1e-6, 8)
    assert estimate(values)[1:] == pytest.approx((scipy.stats.sem(values.mean(1)), 11))


@pytest.mark.parametrize("shift", [-0.03, -0.004, 0, 0.002, 0.02])
def test_verdicts_of_filters_are_two_one_sided_tests(shift):
    first, second = grid(1, 40, mean=0.8 + shift), grid(1, 40, seed=2)
    table = compare({("a", "x"): first, ("a", "y"): second}, [], MARGIN)
    (line,) = table.itertuples(index=False)
    within, _, _ = ttost_paired(first[:, 0], second[:, 0], -MARGIN, MARGIN)
    above, below = (
        scipy.stats.ttest_1samp((first - second)[:, 0], edge, alternative=side).pvalue
        for edge, side in ((MARGIN, "greater"), (-MARGIN, "less"))
    )
    assert line.p == pytest.approx(2 * min(within, above, below))
    interval = scipy.stats.ttest_rel(first[:, 0], second[:, 0]).confidence_interval(0.95)
    assert (line.low, line.high) == pytest.approx(interval)
    assert line.difference == pytest.approx((first - second).mean())


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [(0.05, "better"), (-0.05, "worse"), (0, "equivalent"), (0.005, "undecided")],
)
def test_verdicts(difference, verdict):
    first, second = grid(6, 80), grid(6, 80) - difference
    first[:, 0] += 1e-4  # so that not all differences are the same
    first += np.random.default_rng(5).normal(0, 1e-3, first.shape)
    pairs = compare(
        {("a", "x"): first, ("a", "y"): second}, ["x", "y"], 0.02 if difference == 0 else MARGIN
    )
    assert pairs[["noise", "first", "second"]].to_numpy().tolist() == [["a", "x", "y"]]
    assert (pairs.loc[0, "verdict"], pairs.loc[0, "over"]) == (verdict, TRAININGS)
    assert (pairs.loc[0, "p"] <= ALPHA) == (verdict != "undecided")


def test_holm_is_that_of_statsmodels():
    p = pd.Series([0.01, np.nan, 0.02, 0.02, 0.9, 0.0001, 0.6])
    found = holm(p)
    given = p.dropna()
    _, expected, *_ = multipletests(given, method="holm")
    np.testing.assert_allclose(found.dropna(), expected)
    assert list(found.dropna().index) == list(given.index)
    assert np.isnan(found[1])


def test_holm_corrects_for_all_pairs_of_the_table():
    two = {("a", "x"): grid(1, 20, mean=0.807), ("a", "y"): grid(1, 20, seed=3, mean=0.78)}
    alone = compare(two, [], MARGIN)["p"][0]
    more = {(noise, method): values for noise in "bcd" for (_, method), values in two.items()}
    together = compare(two | more, [], MARGIN)["p"]
    np.testing.assert_allclose(together, min(1, 4 * alone))
    # Pairs without a verdict are no part of it.
    few = {("e", "x"): grid(2), ("e", "t"): grid(3, seed=4)}
    assert compare(two | few, ["t"], MARGIN)["p"][0] == alone


def test_trained_methods_have_verdicts_from_six_trainings_on():
    few, many, filtered = grid(5), grid(6, seed=1), grid(1, seed=2)
    for two, trained, over in (
        ((few, many), [True, True], FEW),
        ((few, filtered), [True, False], FEW),
        ((many, filtered), [True, False], TRAININGS),
        ((filtered, filtered[::-1]), [False, False], IMAGES),
        ((few,), [True], FEW),
        ((many,), [True], TRAININGS),
    ):
        assert basis(two, trained) == over
    (line,) = compare({("a", "x"): few, ("a", "y"): many}, "xy", MARGIN).itertuples()
    assert line.low < line.difference < line.high
    assert np.isnan(line.p)
    assert line.verdict == ""


def with_value(values: np.ndarray, value: float) -> np.ndarray:
    values = values.copy()
    values[1, 0] = value
    return values


BAD = {
    "there is one test image": (grid(1, 1), grid(1, 1, seed=1)),
    "a score is missing or no finite number": (with_value(grid(), np.nan), grid(seed=1)),
    "a score is missing or no finite number ": (grid(seed=1), with_value(grid(6), np.inf)),
    "all images have the same differences": (grid(), grid() - 0.1),  # not exactly the same
    "all images have the same differences ": (grid(6), grid(6)),
    "all trainings give the same scores": (grid(), np.repeat(grid(seed=1), 6, axis=1)),
}


@pytest.mark.parametrize("why", BAD)
def test_bad_input_gets_a_sentence_and_no_number(why):
    first, second = BAD[why]
    table = compare({("a", "x"): first, ("a", "y"): second}, [], MARGIN)
    assert list(table) == PAIRS
    assert table.iloc[0].tolist()[:3] == ["a", "x", "y"]
    assert table.loc[0, ["difference", "low", "high", "p"]].isna().all()
    assert table.loc[0, "verdict"] == ""
    assert table.loc[0, "over"] == f"no interval, since {why.strip()}"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (grid(1, 1), "one test image"),
        (grid(6, 1), "one test image"),
        (np.full((5, 1), 0.3) + 1e-12 * grid(1, 5), "all images have the same scores"),
        (with_value(grid(), np.inf), "no finite number"),
        (np.repeat(grid(), 6, axis=1), "all trainings give the same scores"),
        (np.empty((0, 1)), "one test image"),
    ],
)
def test_a_mean_without_an_interval_says_why(values, why):
    assert np.isnan(half_width(values))
    assert why in obstacle(values)
    assert why in basis([values], [False])


def test_one_method_has_no_pairs():
    assert compare({("a", "x"): grid(), ("b", "y"): grid()}, [], MARGIN).empty


def within(share: float, low: float, high: float, repeats: int) -> bool:
    """Whether a simulated share may be one from `low` to `high`: four binomial errors."""
    return all(
        (share - edge) * side < 4 * np.sqrt(edge * (1 - edge) / repeats)
        for edge, side in ((low, -1), (high, 1))
    )


REPEATS = 1000


@pytest.mark.parametrize("scenario", list(coverage.SCENARIOS)[:4])
def test_intervals_cover_as_often_as_they_say(scenario):
    found = coverage.coverage(scenario, ENOUGH, REPEATS)
    alone = found.pop("two trained, images alone")
    assert all(within(share, 0.935, 0.965, REPEATS) for share in found.values()), found
    # An interval that knows nothing of trainings is told apart.
    assert within(alone, 0.935, 0.965, REPEATS) == (scenario == "0.0005")


def test_few_tables_have_a_wrong_verdict(monkeypatch):
    table = ("0.002", [0, MARGIN, 2 * MARGIN], [ENOUGH, ENOUGH, 0], 2)
    assert within(coverage.judged(*table, 300)["wrong tables"], 0, 0.05, 300)
    monkeypatch.setattr(intervals, "holm", lambda p: p)  # as if each pair were the only one
    assert not within(coverage.judged(*table, 300)["wrong tables"], 0, 0.05, 300)


def test_the_page_of_the_simulation(monkeypatch, tmp_path):
    committed = coverage.RESULT.read_text()
    monkeypatch.setattr(coverage, "RESULT", tmp_path / "coverage.md")
    monkeypatch.setattr(sys, "argv", ["coverage.py", "--repeats", "2", "--tables", "1"])
    coverage.main()
    text = (tmp_path / "coverage.md").read_text()
    numbers = r"[\d,.]+%|in [\d,]+ sim|and [\d,]+ were|[ :-]+"
    assert re.sub(numbers, "", text) == re.sub(numbers, "", committed)


def test_pairs_from_both_sides_say_the_same():
    rng = np.random.default_rng(1)
    grids = {
        ("a", name): rng.normal(mean, 0.02, (30, 6)) for name, mean in (("x", 0.9), ("y", 0.8))
    }
    there, back = intervals.from_both_sides(compare(grids, ["x"], 0.005)).to_dict("records")
    assert [there[key] for key in ("first", "second", "verdict")] == ["x", "y", "better"]
    assert [back[key] for key in ("first", "second", "verdict")] == ["y", "x", "worse"]
    assert 0 < there["low"] < there["difference"] < there["high"]
    ends = [there[key] for key in ("difference", "low", "high", "p")]
    assert [-back["difference"], -back["high"], -back["low"], back["p"]] == ends
