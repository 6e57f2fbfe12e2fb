"""How strong a network is told that a film's noise is: so that its error is least in that film.

Told the true noise, a network answers with what its training images would most likely have below
such noise. Where a film has more fine detail than these, that is too smooth, and a network that is
told less noise is nearer the truth. How near, Stein's unbiased risk estimate says without the
truth: C. M. Stein, Annals of Statistics 9(6), 1981; by one random direction, as in S. Ramani, T.
Blu and M. Unser, IEEE Transactions on Image Processing 17(9), 2008.
"""

from collections.abc import Callable

import numpy as np

from films.methods import Denoise
from films.strips import Film
from noise.seeds import generator

# Tried, relative to the noise's standard deviation, evenly apart and with 1; what is taken lies
# between them.
STRENGTHS = (0.7, 0.85, 1.0)
SIDE, ACROSS = 128, 3  # windows of a film, in pixels, and how many in each direction
WHOLE = 2**18  # pixels of a film of which all is looked at
STEP = 0.2  # of the direction, relative to the noise
# Pixels so near black or white that noise is clipped there are left out: the estimate is of normal
# noise. So many standard deviations, and the share that has to be left.
CLEAR, FEWEST = 2.5, 0.05


def windows(film: Film) -> np.ndarray:
    """Return parts of a film in which its strength is sought, or all of it.

    Returns:
        Shape (N, h, w), float32 in [0, 1].
    """
    height, width = film.shape
    if height * width <= WHOLE:
        return film.rows(0, height)[None]
    tops, lefts = (
        np.unique(np.linspace(0, max(0, length - SIDE), ACROSS + 2).astype(int)[1:-1])
        for length in film.shape
    )
    rows = (film.rows(top, min(top + SIDE, height)) for top in tops)
    return np.stack([band[:, left : left + SIDE] for band in rows for left in lefts])


def best_strength(
    images: np.ndarray, told: Callable[[float], Denoise], gain: float, deviation: float
) -> float:
    """Return how many times the noise's standard deviation a method is best told.

    Args:
        images: Noisy, (N, h, w), in [0, 1].
        told: Returns the method that is told so many times the noise's standard deviation.
        gain, deviation: The noise's variance is `gain * x + deviation^2` at the clean level x.

    Returns:
        The place of the least estimated error, by a parabola, between the least and the greatest of
        `STRENGTHS`; 1 if nearly all pixels are close to black or white.
    """
    likely = told(1.0)(images)
    spread = np.sqrt(np.maximum(gain * likely + deviation**2, 1e-12))
    clear = (likely > CLEAR * spread) & (likely < 1 - CLEAR * spread)
    if clear.mean() < FEWEST:
        return 1.0
    direction = spread * generator(0, "direction").standard_normal(images.shape)
    moved = np.clip(images + STEP * direction, 0, 1).astype(images.dtype)

    def risk(strength: float) -> float:
        denoise = told(strength)
        found = likely if strength == 1 else denoise(images)
        covariance = direction * (denoise(moved) - found) / STEP
        return float(((found - images) ** 2 - spread**2 + 2 * covariance)[clear].mean())

    risks = {strength: risk(strength) for strength in STRENGTHS}
    low, middle, high = STRENGTHS
    slope = (risks[high] - risks[low]) / 2
    curvature = (risks[high] + risks[low]) / 2 - risks[middle]
    if curvature <= 0:
        return min(risks, key=risks.get)
    place = middle - slope / (2 * curvature) * (high - middle)
    return float(np.clip(place, low, high))
