"""How strong a network is told that a film's noise is: the error is estimated without the truth."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from films import strength
from films.strength import STRENGTHS, best_strength, windows
from noise.models import corrupt
from noise.seeds import generator

GAIN, DEVIATION = 0.002, 0.01
NOISE = {"distribution": "poisson_gaussian", "dose": 1 / GAIN, "electronic": DEVIATION}


class Picture:
    """What is used of a film."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.shape = pixels, pixels.shape

    def rows(self, start: int, stop: int) -> np.ndarray:
        assert 0 <= start < stop <= self.shape[0]
        return self.pixels[start:stop]


def clean(detail: float, side: int = 400) -> np.ndarray:
    """Return an image whose details are as fine as the noise of pixels, (side, side) in [0, 1]."""
    y, x = np.mgrid[:side, :side] / side
    fine = gaussian_filter(generator(5, "detail").standard_normal((side, side)), 0.7)
    return (0.5 + 0.2 * np.sin(4 * x) * np.cos(3 * y) + detail * fine / fine.std()).clip(0.02, 0.98)


def blurred(told: float):
    """Return a method that blurs the more, the stronger it is told that the noise is."""
    return lambda images: np.float32(gaussian_filter(images, 1.6 * told - 0.6, axes=(-2, -1)))


def errors(image: np.ndarray, noisy: np.ndarray) -> dict[float, float]:
    found = np.linspace(STRENGTHS[0], STRENGTHS[-1], 21)
    return {float(told): float(np.square(blurred(told)(noisy) - image).mean()) for told in found}


SMOOTH, MEDIUM, FINE, FINEST = 0.0, 0.028, 0.042, 0.084


@pytest.mark.parametrize("detail", [SMOOTH, MEDIUM, FINE, FINEST])
def test_the_strength_of_the_least_error_is_found_without_the_truth(detail):
    image = clean(detail)
    noisy = np.float32(corrupt(image, NOISE, generator(1, "noise")))
    chosen = best_strength(noisy[None], blurred, GAIN, DEVIATION)
    true = errors(image, noisy)
    best = min(true, key=true.get)
    assert abs(chosen - best) <= 0.08
    assert true[min(true, key=lambda told: abs(told - chosen))] < 1.06 * true[best]
    if detail in (SMOOTH, FINEST):
        assert abs(chosen - STRENGTHS[-1 if detail == SMOOTH else 0]) < 0.03
    else:
        assert STRENGTHS[0] + 0.03 < chosen < STRENGTHS[-1] - 0.03


def test_detail_that_is_finer_is_told_less_noise_and_parts_do_as_well_as_all():
    noisy = [np.float32(corrupt(clean(d), NOISE, generator(2, "noise"))) for d in (MEDIUM, FINE)]
    smooth, fine = (best_strength(image[None], blurred, GAIN, DEVIATION) for image in noisy)
    assert fine < smooth - 0.05
    parts = np.stack([noisy[1][:200, :200], noisy[1][200:, 200:]])
    assert best_strength(parts, blurred, GAIN, DEVIATION) == pytest.approx(fine, abs=0.06)


def test_clipped_pixels_do_not_count_and_without_others_the_noise_is_told_as_it_is():
    image = clean(FINE)
    noisy = np.float32(corrupt(image, NOISE, generator(1, "noise")))
    expected = best_strength(noisy[None], blurred, GAIN, DEVIATION)
    for level in (0.0, 1.0):
        clipped = np.float32(corrupt(np.full((400, 400), level), NOISE, generator(3, "noise")))
        found = best_strength(np.stack([noisy, clipped]), blurred, GAIN, DEVIATION)
        assert found == pytest.approx(expected, abs=1e-6)
        assert best_strength(clipped[None], blurred, GAIN, DEVIATION) == 1


def test_it_is_the_same_each_time():
    noisy = np.float32(corrupt(clean(FINE), NOISE, generator(1, "noise")))
    found = {best_strength(noisy[None], blurred, GAIN, DEVIATION) for _ in range(2)}
    assert len(found) == 1


@pytest.mark.parametrize(
    "shape", [(64, 64), (512, 512), (2400, 1935), (100, 5000), (5000, 100), (1, 300_000)]
)
def test_windows_lie_in_the_film_and_are_few(shape):
    pixels = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found = windows(Picture(pixels))
    if pixels.size <= strength.WHOLE:
        (whole,) = found
        assert whole.shape == shape
        return
    assert all(max(part.shape) <= strength.SIDE for part in found)
    assert min(map(min, (part.shape for part in found))) == min(*shape, strength.SIDE)
    starts = {int(part[0, 0]) for part in found}
    assert len(starts) == len(found) >= strength.ACROSS
    for part in found:  # unchanged parts, none at an edge of a side that is long
        top, left = divmod(int(part[0, 0]), shape[1])
        np.testing.assert_array_equal(
            part, pixels[top : top + part.shape[0], left : left + part.shape[1]]
        )
        assert all(
            0 < start < length - strength.SIDE
            for start, length in zip((top, left), shape, strict=True)
            if length > strength.SIDE
        )
