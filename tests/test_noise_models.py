import numpy as np
import pytest

from common.noise_models import DISTRIBUTIONS, corrupt
from common.seeds import digest, generator

GREY = np.full((400, 400), 0.5)


def test_gaussian_moments_are_in_units_of_the_factor():
    noise = {"distribution": "gaussian", "factor": 0.01, "mean": 2, "std": 3}
    noisy = corrupt(GREY, noise, generator(1, "test"))
    assert noisy.mean() == pytest.approx(0.5 + 0.01 * 2, abs=4 * 0.03 / 400)
    assert noisy.std() == pytest.approx(0.03, rel=0.01)


def test_poisson_noise_lies_on_a_lattice_and_has_its_mean_and_variance():
    noise = {"distribution": "poisson", "factor": 0.01, "lambda": 5}
    counts = (corrupt(GREY, noise, generator(1, "test")) - 0.5) / 0.01
    assert np.allclose(counts, counts.round())
    assert counts.mean() == pytest.approx(5, rel=0.01)
    assert counts.var() == pytest.approx(5, rel=0.02)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_noise_is_clipped_on_both_sides(distribution):
    settings = {"gaussian": {"mean": 0, "std": 3}, "poisson": {"lambda": 5}}[distribution]
    noise = {"distribution": distribution, "factor": 0.5, **settings}
    noisy = corrupt(GREY, noise, generator(1, "test"))
    assert noisy.min() >= 0
    assert noisy.max() == 1
    assert noisy.dtype == np.float64


def test_noise_does_not_depend_on_the_signal():
    noise = {"distribution": "poisson", "factor": 0.01, "lambda": 1}
    dark, bright = (
        corrupt(np.full((50, 50), grey), noise, generator(1, "test")) - grey for grey in (0.2, 0.6)
    )
    np.testing.assert_allclose(dark, bright, atol=1e-15)


def test_seeds_are_the_same_everywhere_and_differ_by_purpose():
    # The value is of SHA-256, not of Python: it must not change between versions or processes.
    assert digest(2015, "noise", "a", 1) == 8557035449895954430
    purposes = [("noise", "a", 1), ("noise", "a", 11), ("noise", "a1", 1), ("shuffle", "a", 1)]
    assert len({digest(2015, *purpose) for purpose in purposes}) == len(purposes)
    assert digest(2015, "noise") != digest(2016, "noise")
