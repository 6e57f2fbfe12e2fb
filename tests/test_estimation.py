"""Noise estimated from one image: its numbers, and what is said not to fit."""

import functools
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.transform import resize

from engine.messages import InputError
from noise.blocks import MOST_BLOCKS, blocks
from noise.clipping import LEVELS, moments
from noise.estimation import estimate_noise
from noise.misfit import reasons
from noise.models import corrupt
from noise.seeds import generator
from render_phantom import render

GREYS = np.array([0.1, 0.5, 0.9])
WHITE = {"correlation": (0.0, 0.0, 0.0), "colour": 1.0}


@functools.cache
def phantom():
    return render(3, 256, seed=77)


def noisy(gain, deviation, image=None, seed=1):
    image = phantom() if image is None else image
    rng = generator(seed, "estimation")
    if not gain:
        return corrupt(image, {"distribution": "gaussian", "factor": deviation, **UNIT}, rng)
    settings = {"dose": 1 / gain, "electronic": deviation}
    return corrupt(image, {"distribution": "poisson_gaussian", **settings}, rng)


UNIT = {"mean": 0, "std": 1}


def spread(gain, deviation):
    return np.sqrt(gain * GREYS + deviation**2)


@pytest.mark.parametrize(
    ("gain", "deviation"),
    [(0, 0.002), (0, 0.03), (0, 0.2), (1 / 400, 0.01), (1 / 25, 0.01), (0.01, 0.07), (1e-4, 0.007)],
)
def test_standard_deviations_are_found_and_the_noise_fits(gain, deviation):
    found = estimate_noise(noisy(gain, deviation))
    assert found.deviation_at(GREYS) == pytest.approx(spread(gain, deviation), rel=0.05)
    assert found.reasons == ()
    assert found.fits


@pytest.mark.parametrize(("gain", "deviation"), [(0.01, 0.07), (0.0004, 0.014), (0.04, 0.1)])
def test_gain_and_deviation_are_told_apart(gain, deviation):
    found = estimate_noise(noisy(gain, deviation))
    assert found.gain == pytest.approx(gain, rel=0.1)
    assert found.deviation == pytest.approx(deviation, rel=0.05)


def test_what_is_clipped_does_not_make_the_noise_weaker():
    """A dark image of which a third of the pixels becomes 0."""
    rows = np.linspace(0.02, 0.2, 128)[:, None] * np.ones(128)
    image = noisy(0, 0.15, rows)
    assert (image == 0).mean() > 0.2
    assert image.std() < 0.9 * 0.15
    assert estimate_noise(image).deviation_at(0.1) == pytest.approx(0.15, rel=0.05)


def test_structure_is_not_taken_for_noise():
    image = np.full((128, 128), 0.5)
    image[:, 64:] += generator(1, "structure").uniform(-0.2, 0.2, (128, 64))
    image[64:, :64] += np.linspace(-0.3, 0.3, 64)
    found = estimate_noise(noisy(0, 0.01, image))
    assert found.deviation_at(0.5) == pytest.approx(0.01, rel=0.05)


def test_the_deviation_at_a_grey_has_the_variance_of_both():
    found = replace(estimate_noise(noisy(0.01, 0.07)), gain=0.04, deviation=0.3)
    assert found.deviation_at(0.5) == pytest.approx(np.sqrt(0.04 * 0.5 + 0.3**2))
    assert found.deviation_at(np.zeros((2, 3))) == pytest.approx(np.full((2, 3), 0.3))


def test_the_levels_are_those_at_which_noise_was_measured():
    rows = np.linspace(0.3, 0.6, 128)[:, None] * np.ones(128)
    low, high = estimate_noise(noisy(0.001, 0.01, rows)).levels
    assert low == pytest.approx(0.3, abs=0.03)
    assert high == pytest.approx(0.6, abs=0.03)


def test_rounding_to_8_bits_is_subtracted():
    rounded = (255 * noisy(0, 0.0025)).round() / 255
    found = estimate_noise(rounded)
    assert found.misfit.grey_step == 1 / 255
    assert found.deviation_at(0.5) == pytest.approx(0.0025, rel=0.05)
    assert np.hypot(0.0025, 1 / 255 / np.sqrt(12)) > 1.09 * 0.0025  # what is there without


def test_the_same_image_has_the_same_estimate_whatever_its_type():
    image = noisy(0.01, 0.02)
    assert estimate_noise(image) == estimate_noise(image.copy())
    assert estimate_noise(image.astype(np.float32)).gain == pytest.approx(0.01, rel=0.1)


def test_values_that_a_filter_rounds_beyond_1_are_taken():
    image = noisy(0, 0.1)
    assert estimate_noise(np.where(image == 1, 1 + 1e-9, image)) == estimate_noise(image)


@pytest.mark.parametrize(
    ("gain", "deviation"), [(0, 0.2), (0.05, 0.002), (0.0019, 0.05), (0.0021, 0.05)]
)
@pytest.mark.parametrize("number", [12, 64, 120])
def test_moments_are_those_of_clipped_draws(gain, deviation, number):
    found, level = moments(gain, deviation), LEVELS[number]
    draws = noisy(gain, deviation, np.full(400_000, level))
    apart = draws - draws.mean()
    assert found.mean[number] == pytest.approx(draws.mean(), rel=0.01)
    assert found.variance[number] == pytest.approx((apart**2).mean(), rel=0.02)
    assert found.third[number] == pytest.approx(
        (apart**3).mean(), abs=0.06 * draws.std() ** 3, rel=0.05
    )
    assert found.fourth[number] == pytest.approx((apart**4).mean(), rel=0.05)
    assert found.clipped[number] == pytest.approx(np.isin(draws, (0, 1)).mean(), abs=0.005)
    assert found.whole[number] == pytest.approx(gain * level + deviation**2)


def jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray((255 * image).round().astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)) / 255


CASES = {
    "blurred": (lambda image: ndimage.gaussian_filter(image, 0.5), "not white"),
    "blurred in a row": (lambda image: ndimage.gaussian_filter1d(image, 0.5), "not white"),
    "mean": (lambda image: ndimage.uniform_filter(image, 3), "not white"),
    "median": (lambda image: ndimage.median_filter(image, 3), "not white"),
    "enlarged": (lambda image: resize(image, (300, 300)), "not white"),
    "jpeg": (lambda image: jpeg(image, 75), "JPEG"),
    "part of a jpeg": (lambda image: jpeg(image, 75)[3:, 5:], "JPEG"),
    "impulses": (
        lambda image: corrupt(
            image, {"distribution": "salt_pepper", "share": 0.002}, generator(1, "impulses")
        ),
        "impulse",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("gain", "deviation"), [(0, 0.02), (0.01, 0.01)])
def test_noise_that_was_treated_does_not_fit(case, gain, deviation):
    treat, why = CASES[case]
    found = estimate_noise(treat(noisy(gain, deviation)))
    assert not found.fits
    assert why in " ".join(found.reasons)


def test_correlated_neighbours_are_measured_in_their_direction():
    assert np.abs(estimate_noise(noisy(0, 0.05)).misfit.correlation).max() < 0.04
    image = noisy(0, 0.05)
    along_rows = 0.9 * image + 0.1 * np.roll(image, 1, axis=1)
    down, across, _ = estimate_noise(along_rows).misfit.correlation
    assert abs(down) < 0.04
    assert 0.07 < across < 0.15  # of neighbours it is .1 * .9 / (.1^2 + .9^2) = .11


OTHERS = {
    "published Poisson": ({"distribution": "poisson", "factor": 0.2, "lambda": 1}, "skewed"),
    "speckle": ({"distribution": "speckle", "std": 0.1}, "in proportion to the grey level"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_noise_does_not_fit(name):
    noise, why = OTHERS[name]
    found = estimate_noise(corrupt(phantom(), noise, generator(1, "other")))
    assert not found.fits
    assert why in " ".join(found.reasons)


def test_an_image_without_noise_does_not_fit():
    assert not estimate_noise(phantom()).fits
    ramp = np.linspace(0.1, 0.9, 128) * np.ones((128, 1))
    assert "hardly any noise" in " ".join(estimate_noise(ramp).reasons)


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ({"correlation": (0.0, -0.3, 0.0), "colour": 9.0}, "(-0.30 relative"),
        ({"curve": 0.3}, "departs by 30 %"),
        ({"skewness": -0.4}, "(-0.40)"),
        ({"kurtosis": -0.7}, "lighter tails"),
        ({"usable": 0.04}, "96 % of the image are clipped"),
        ({"impulses": 3}, "3 lone pixels"),
        ({"impulses": 60, "pixels": 2400 * 1935}, "60 lone pixels"),
        ({"grey_step": 0.1}, "finer than the steps"),
    ],
)
def test_each_reason_alone_says_what_was_measured(numbers, why):
    fitting = replace(estimate_noise(noisy(0, 0.02)).misfit, **WHITE)
    assert reasons(fitting, finest=0.02) == ()
    [reason] = reasons(replace(fitting, **numbers), finest=0.02)
    assert why in reason


def test_dust_and_marks_of_a_whole_film_are_no_impulse_noise():
    image = noisy(0.01, 0.01, np.full((2400, 1935), 0.5))
    assert estimate_noise(image).fits
    image[100:2300:220, 900] = 0
    found = estimate_noise(image)
    assert (found.fits, found.misfit.impulses) == (True, 10)
    part = estimate_noise(image[:1024, 800:1056])
    assert "lone pixels" in " ".join(part.reasons)


GREY = np.full((128, 128), 0.5)
DOT = np.zeros((128, 128))
DOT[60, 60] = 1


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (np.full((128, 40), 0.5), "128 x 40"),
        (np.zeros((80, 80, 3)), "one grey image"),
        (GREY, "all pixels of the image are the same"),
        (GREY * np.nan, "undefined"),
        (255 * noisy(0, 0.1, GREY), r"scale it to \[0, 1\]"),
        (-GREY, "outside"),
        (GREY.astype(str), "grey levels"),
        (np.where(noisy(0, 0.1, GREY) > 0.5, 1.0, 0.0) * (np.arange(128) < 2), "black or white"),
        (DOT, "black or white"),
    ],
)
def test_images_that_cannot_be_judged_are_refused(image, why):
    with pytest.raises(InputError, match=why):
        estimate_noise(image)


def test_a_large_image_has_no_more_blocks():
    large = blocks(np.broadcast_to(np.float64(0.5), (2400, 1935)))
    assert MOST_BLOCKS / 2 < len(large.mean) < 2 * MOST_BLOCKS
