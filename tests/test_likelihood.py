"""Likelihoods of noisy values, against draws of the noise."""

import sys
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import chi2

from engine.messages import InputError
from engine.plugins import declarations, plugins
from noise.likelihood import log_likelihood
from noise.models import corrupt
from noise.seeds import generator

DRAWS = 100_000
CLEAN = [0.0, 0.07, 0.5, 0.96, 1.0]
NOISE = [
    {"distribution": "gaussian", "factor": 0.2, "mean": 1, "std": 2},
    {"distribution": "gaussian", "factor": 0.1, "mean": 0, "std": 1},
    {"distribution": "poisson", "factor": 0.2, "lambda": 1},
    {"distribution": "poisson", "factor": 0.21, "lambda": 5},
    {"distribution": "poisson", "factor": 0.001, "lambda": 100},
    {"distribution": "poisson_gaussian", "dose": 25, "electronic": 0.01},
    {"distribution": "poisson_gaussian", "dose": 100, "electronic": 0.05},
    {"distribution": "poisson_gaussian", "dose": 600, "electronic": 0.01},
    {"distribution": "speckle", "std": 0.5},
    {"distribution": "salt_pepper", "share": 0.2},
]
SPREAD = 0.01
each_noise = pytest.mark.parametrize("noise", NOISE, ids=lambda n: "-".join(map(str, n.values())))


def spread_around(clean: float, rng: np.random.Generator) -> np.ndarray:
    """What a clean value stands for: a triangle, whose ends may lie beyond black and white."""
    return clean + SPREAD * rng.triangular(-1, 0, 1, DRAWS)


def drawn(noise: dict, clean: float) -> np.ndarray:
    rng = generator(1, "likelihood", clean)
    values = spread_around(clean, rng)
    # Counts can't be expected to be negative; the others are as they are.
    is_count = noise["distribution"] == "poisson_gaussian"
    return corrupt(np.full(DRAWS, clean) if is_count else values, noise, rng)


def bins(count: int) -> np.ndarray:
    return np.linspace(0, 1, count + 1)


def expected_shares(noise: dict, clean: float, edges: np.ndarray) -> np.ndarray:
    """The shares of 0, of the bins between, and of 1, by the likelihood, integrated finely."""
    fine, count = 400, len(edges) - 1
    places = (np.arange(count * fine) + 0.5) / (count * fine)
    density = np.exp(log_likelihood(noise, places, clean, SPREAD)).reshape(count, fine)
    ends = np.exp(log_likelihood(noise, np.array([0.0, 1.0]), clean, SPREAD))
    return np.concatenate([ends[:1], density.mean(1) / count, ends[1:]])


@each_noise
def test_likelihoods_are_those_of_draws_and_sum_to_one(noise):
    edges = bins(25)
    for clean in CLEAN:
        expected, values = expected_shares(noise, clean, edges), drawn(noise, clean)
        assert expected.sum() == pytest.approx(1, abs=2e-3)
        inside = np.histogram(values[(values > 0) & (values < 1)], edges)[0]
        found = np.array([(values <= 0).sum(), *inside, (values >= 1).sum()]) / DRAWS
        # Five standard deviations of a draw, and what the shape of a spread may matter.
        allowed = 5 * np.sqrt(expected / DRAWS) + 5e-3
        assert (np.abs(found - expected) <= allowed).all(), clean


@pytest.mark.parametrize(
    "noise",
    [
        {"distribution": "gaussian", "factor": 0.2, "mean": 1, "std": 2},
        {"distribution": "poisson_gaussian", "dose": 25, "electronic": 0.02},
        {"distribution": "poisson_gaussian", "dose": 200, "electronic": 0.05},
        {"distribution": "speckle", "std": 0.5},
    ],
)
def test_noise_with_a_density_has_that_of_draws_to_the_last_digit(noise):
    """Of one clean value, spread by nothing: a chi-square test with the ends among the bins."""
    for clean in (0.07, 0.5, 0.96):
        values = corrupt(np.full(DRAWS, clean), noise, generator(2, "likelihood", clean))
        places = (np.arange(20 * 500) + 0.5) / 10_000
        density = np.exp(log_likelihood(noise, places, clean, 1e-9)).reshape(20, 500).mean(1) / 20
        ends = np.exp(log_likelihood(noise, np.array([0.0, 1.0]), clean, 1e-9))
        expected = DRAWS * np.array([ends[0], *density, ends[1]])
        inside = np.histogram(values[(values > 0) & (values < 1)], bins(20))[0]
        found = np.array([(values <= 0).sum(), *inside, (values >= 1).sum()])
        enough = expected > 10
        assert found[~enough].sum() <= 5 * np.sqrt(expected[~enough].sum()) + 5
        difference = ((found - expected)[enough] ** 2 / expected[enough]).sum()
        assert difference < chi2.ppf(1 - 1e-5, enough.sum()), clean
        assert expected.sum() == pytest.approx(DRAWS, rel=1e-5)


def test_a_value_on_the_lattice_of_counts_has_its_probability():
    """Without electronic noise; clipped values are more than one point."""
    noise = {"distribution": "poisson_gaussian", "dose": 10, "electronic": 0}
    values = corrupt(np.full(DRAWS, 0.6), noise, generator(1, "counts")).astype(np.float32)
    lattice = (np.arange(11) / 10).astype(np.float32)
    found = np.array([(values == point).mean() for point in lattice])
    assert found.sum() == pytest.approx(1)
    expected = np.exp(log_likelihood(noise, lattice, 0.6, SPREAD))
    assert expected.sum() == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(found, expected, atol=5e-3)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_value_of_the_published_poisson_noise_comes_from_whole_steps_below(count):
    noise, levels = {"distribution": "poisson", "factor": 0.2, "lambda": 1}, np.linspace(0, 1, 101)
    found = np.exp(log_likelihood(noise, np.float64(0.5), levels, SPREAD))
    possible = np.flatnonzero(found)
    near = np.abs((0.5 - levels[:, None]) - 0.2 * np.arange(3)).min(1) < SPREAD - 1e-9
    assert set(possible) == set(np.flatnonzero(near))
    # Beside each other as the counts are, whatever the levels are.
    shares = [found[np.abs(levels - 0.5 + 0.2 * k) < SPREAD - 1e-9].sum() for k in range(3)]
    weights = np.array([1, 1, 0.5])
    assert shares[count] / sum(shares) == pytest.approx(weights[count] / weights.sum())


@each_noise
def test_a_finer_spread_is_the_same_likelihood_of_a_finer_grid(noise):
    """The likelihood of a level is the mean of those of levels four times as dense."""
    observed = np.linspace(0, 1, 501)
    for clean in (0.2, 0.55):
        parts = clean + SPREAD / 4 * np.arange(-3, 4)
        weights = (4 - np.abs(np.arange(-3, 4))) / 16
        fine = np.exp(log_likelihood(noise, observed[:, None], parts, SPREAD / 4)) @ weights
        coarse = np.exp(log_likelihood(noise, observed, clean, SPREAD))
        exact = noise["distribution"] == "salt_pepper" or noise.get("factor") in (0.2, 0.21)
        exact = exact and noise["distribution"] != "gaussian"
        # Where noise has a density, the spread matters little.
        scale = coarse[1:-1].max()
        np.testing.assert_allclose(fine / scale, coarse / scale, atol=1e-9 if exact else 0.1)


def test_nothing_is_so_far_off_that_all_is_impossible():
    noise = {"distribution": "poisson_gaussian", "dose": 20, "electronic": 1e-4}
    found = log_likelihood(noise, np.array([0.525]), np.linspace(0, 1, 11)[:, None], SPREAD)
    assert np.isfinite(found.max())
    assert found.argmax() in (5, 6)


def test_noise_that_only_shifts_selects_the_level_it_comes_from():
    noise = {"distribution": "gaussian", "factor": 0.1, "mean": 1, "std": 0}
    levels = np.linspace(0, 1, 101)
    found = log_likelihood(noise, np.array([[0.35], [0.1], [1.0]]), levels, SPREAD)
    assert levels[found.argmax(1)] == pytest.approx([0.25, 0, 1])


def test_every_distribution_says_its_likelihood():
    tested = {noise["distribution"] for noise in NOISE}
    assert tested == set(plugins("distributions"))
    for name in tested:
        assert "log_likelihood" in declarations("distributions", name)


def test_a_distribution_without_likelihood_is_refused_in_words(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributions.foggy", ModuleType("foggy"))
    words = r"likelihood of the noise, which foggy does not say; write log_likelihood .*foggy\.py"
    with pytest.raises(InputError, match=words):
        log_likelihood({"distribution": "foggy"}, np.zeros(1), np.zeros(1), SPREAD)
