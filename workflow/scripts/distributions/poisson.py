"""Additive noise of a Poisson distribution, as in the published experiment.

The draws do not depend on the signal: this is noise on the lattice 0, factor, 2 factor, ..., not
the quantum noise of a detector (for that, see `poisson_gaussian`).
"""

import math

import numpy as np
from scipy.special import pdtrc

from noise.likelihood import log_normal, log_poisson, near, widened

SETTINGS = {
    "factor": {"type": "number", "exclusiveMinimum": 0},
    # Mean count; one count is one factor.
    "lambda": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000000},
}
FINE = 0.002  # distance of the lattice's points, grey levels


def draw(
    image: np.ndarray, rng: np.random.Generator, *, factor: float, **settings: float
) -> np.ndarray:
    """Return `image + factor * n`, n Poisson counts of mean `lambda`, independent in each pixel."""
    return image + factor * rng.poisson(settings["lambda"], image.shape)


def log_likelihood(
    observed: np.ndarray, clean: np.ndarray, spread: float, *, factor: float, **settings: float
) -> np.ndarray:
    """Return the logarithm of the likelihood of clipped values, see `noise.likelihood`.

    A value between 0 and 1 comes from itself, or from what is one factor below, or two, and so on.
    Where the factor is less than `FINE`, the noise is taken as normal.
    """
    mean = settings["lambda"]
    if factor < FINE:
        deviation = widened(factor * np.sqrt(mean), spread)
        return log_normal(observed, clean + factor * mean, deviation)
    most = math.ceil((1 + spread) / factor)  # from here on all is white
    found = pdtrc(most, mean) * (observed >= 1)
    for count, share in enumerate(np.exp(log_poisson(np.arange(most + 1), mean))):
        found = found + share * near(observed, clean + factor * count, spread)
    return np.log(found)
