import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, norm
from scipy.stats import poisson as poisson_counts

from engine.messages import InputError
from engine.plugins import plugins
from noise.device_random import DeviceGenerator
from noise.models import clip_inversion, clipped_mean, corrupt, linear_estimate
from noise.seeds import digest, generator

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


NOISE = {
    "gaussian": {"factor": 0.5, "mean": 0, "std": 3},
    "poisson": {"factor": 0.5, "lambda": 5},
    "poisson_gaussian": {"dose": 3, "electronic": 0.1},
    "speckle": {"std": 2},
    "salt_pepper": {"share": 0.5},
}
NOISE = {name: {"distribution": name, **settings} for name, settings in NOISE.items()}


@pytest.mark.parametrize("distribution", plugins("distributions"))
def test_noise_is_clipped_and_reproducible(distribution):
    noise = NOISE[distribution]
    noisy = corrupt(GREY, noise, generator(1, "test"))
    assert noisy.min() >= 0
    assert noisy.max() == 1
    assert noisy.dtype == np.float64
    assert not np.array_equal(noisy, corrupt(GREY, noise, generator(2, "test")))
    np.testing.assert_array_equal(noisy, corrupt(GREY, noise, generator(1, "test")))


@pytest.mark.parametrize("grey", [0.1, 0.6])
def test_quantum_noise_depends_on_the_signal(grey):
    noise = {"distribution": "poisson_gaussian", "dose": 500, "electronic": 0.01}
    noisy = corrupt(np.full((1000, 400), grey), noise, generator(1, "test"))
    assert noisy.mean() == pytest.approx(grey, abs=5e-4)
    assert noisy.var() == pytest.approx(grey / 500 + 0.01**2, rel=0.02)


def test_speckle_is_proportional_to_the_signal():
    noise = {"distribution": "speckle", "std": 0.1}
    for grey in (0.2, 0.5):
        noisy = corrupt(np.full((400, 400), grey), noise, generator(1, "test"))
        assert noisy.std() == pytest.approx(0.1 * grey, rel=0.02)


def test_salt_and_pepper_replace_their_share_of_the_pixels():
    noisy = corrupt(GREY, {"distribution": "salt_pepper", "share": 0.2}, generator(1, "test"))
    values, counts = np.unique(noisy, return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    assert counts / noisy.size == pytest.approx([0.1, 0.8, 0.1], abs=0.005)


def clipped_gaussian_mean(x, factor, mean, std):
    """E[clip(m + s z, 0, 1)], z standard normal, in closed form."""
    m, s = x + factor * mean, factor * std
    low, high = -m / s, (1 - m) / s
    inside = m * (norm.cdf(high) - norm.cdf(low)) + s * (norm.pdf(low) - norm.pdf(high))
    return inside + norm.sf(high)


def clipped_poisson_mean(x, factor, **settings):
    counts = np.arange(60)
    weights = poisson_counts.pmf(counts, settings["lambda"])
    return np.minimum(x[:, None] + factor * counts, 1) @ weights


EXACT = {"gaussian": clipped_gaussian_mean, "poisson": clipped_poisson_mean}


@pytest.mark.parametrize(
    ("distribution", "settings"),
    [
        ("gaussian", {"factor": 0.2, "mean": 1, "std": 2}),
        ("gaussian", {"factor": 0.5, "mean": 0, "std": 1}),
        ("poisson", {"factor": 0.2, "lambda": 1}),
        ("poisson", {"factor": 0.2, "lambda": 5}),
    ],
)
def test_clipped_mean_is_the_exact_one(distribution, settings):
    levels, means = clipped_mean({"distribution": distribution, **settings})
    np.testing.assert_allclose(means, EXACT[distribution](levels, **settings), atol=0.003)
    assert (np.diff(means) >= 0).all()


@pytest.mark.parametrize("distribution", ["gaussian", "poisson", "poisson_gaussian", "speckle"])
def test_inversion_undoes_the_mean_of_clipped_noise(distribution):
    """Against a Monte Carlo simulation of its own, with other draws."""
    noise = NOISE[distribution] | ({"factor": 0.1} if "factor" in NOISE[distribution] else {})
    clean = np.linspace(0.05, 0.95, 19)
    draws = corrupt(np.repeat(clean[:, None], 200_000, 1), noise, generator(7, "test"))
    biased = draws.mean(1)
    assert abs(biased - clean).max() > 0.03  # there is something to undo
    np.testing.assert_allclose(clip_inversion(noise)(biased), clean, atol=0.02)
    assert clip_inversion(noise)(np.array([-1.0, 2.0])).tolist() == [0, 1]


def test_inversion_where_many_clean_values_have_the_same_mean():
    """Noise that darkens by .5 leaves nothing of what was darker than that."""
    inverse = clip_inversion({"distribution": "gaussian", "factor": 1, "mean": -0.5, "std": 0})
    assert inverse(np.array([0, 0.25, 0.5])) == pytest.approx([0, 0.75, 1])


def test_linear_estimate_is_the_least_squares_one():
    noise = {"distribution": "gaussian", "factor": 0.2, "mean": 1, "std": 2}
    rng = generator(7, "test")
    clean = rng.random(1_000_000)
    slope, offset = np.polyfit(corrupt(clean, noise, rng), clean, 1)
    assert linear_estimate(noise) == pytest.approx((slope, offset), abs=0.02)


@pytest.mark.parametrize("distribution", plugins("distributions"))
def test_noise_on_a_device_has_the_same_distribution(distribution):
    """Training draws tensors; they are of the distribution that NumPy's generator draws."""
    noise = NOISE[distribution]
    grey = np.full((500, 500), 0.4)
    rng = DeviceGenerator(torch.device("cpu"))
    rng.seed(1)
    ours = corrupt(torch.from_numpy(grey).float(), noise, rng)
    assert ours.dtype == torch.float32
    numpys = corrupt(grey, noise, generator(1, "test"))
    steps = np.linspace(0, 1, 50)
    found, expected = (
        np.searchsorted(np.sort(values, axis=None), steps, "right") / values.size
        for values in (ours.numpy(), numpys)
    )
    np.testing.assert_allclose(found, expected, atol=0.006)  # cumulative: six standard deviations
    rng.seed(1)
    assert torch.equal(ours, corrupt(torch.from_numpy(grey).float(), noise, rng))


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("random", ()),
        ("uniform", (2, 5)),
        ("normal", (1, 3)),
        ("poisson", (4,)),
        ("integers", (3, 7)),
    ],
)
def test_tensors_are_drawn_as_numpy_draws(method, arguments):
    rng = DeviceGenerator(torch.device("cpu"))
    rng.seed(1)
    ours = getattr(rng, method)(*arguments, size=(100_000,)).double().numpy()
    numpys = getattr(generator(1, "test"), method)(*arguments, size=(100_000,))
    assert ks_2samp(ours, numpys).statistic < 0.01


def test_tensors_have_the_shape_of_what_they_depend_on():
    rng, row, column = DeviceGenerator(torch.device("cpu")), torch.ones(3), torch.ones(2, 1)
    assert rng.normal(0, row).shape == rng.normal(row).shape == rng.poisson(row).shape == (3,)
    assert len(set(rng.normal(0, row).tolist())) == len(set(rng.uniform(0, row).tolist())) == 3
    assert rng.uniform(row, 2 * column).shape == rng.normal(column, row).shape == (2, 3)


def test_what_a_device_can_not_draw_says_where_to_add_it():
    with pytest.raises(AttributeError, match=r"rng.gamma: give the class in .*device_random.py"):
        DeviceGenerator(torch.device("cpu")).gamma(2)


def test_noise_that_leaves_nothing_of_the_image_is_refused():
    with pytest.raises(InputError, match="makes all images the same"):
        linear_estimate({"distribution": "gaussian", "factor": 1, "mean": 100, "std": 0})


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
