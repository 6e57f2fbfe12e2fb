"""Additive noise of a Poisson distribution, as in the published experiment.

The draws do not depend on the signal: this is noise on the lattice 0, factor, 2 factor, ..., not
the quantum noise of a detector (for that, see `poisson_gaussian`).
"""

import numpy as np

SETTINGS = {
    "factor": {"type": "number", "exclusiveMinimum": 0},
    # Mean count; one count is one factor.
    "lambda": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000000},
}


def draw(
    image: np.ndarray, rng: np.random.Generator, *, factor: float, **settings: float
) -> np.ndarray:
    """Return `image + factor * n`, n Poisson counts of mean `lambda`, independent in each pixel."""
    return image + factor * rng.poisson(settings["lambda"], image.shape)
