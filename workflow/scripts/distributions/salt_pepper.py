"""Impulse noise: some pixels become black or white."""

import numpy as np

from noise.likelihood import by_place, near

# Of the pixels, half of which become 0 and half 1.
SETTINGS = {"share": {"type": "number", "minimum": 0, "maximum": 1}}


def draw(image: np.ndarray, rng: np.random.Generator, *, share: float) -> np.ndarray:
    """Return the image with each pixel replaced with probability `share`."""
    drawn = rng.random(image.shape)
    return image * (drawn >= share) + 1.0 * (drawn < share / 2)


def log_likelihood(
    observed: np.ndarray, clean: np.ndarray, spread: float, *, share: float
) -> np.ndarray:
    """Return the logarithm of the likelihood of clipped values, see `noise.likelihood`."""
    replaced = by_place(observed, share / 2, 0, share / 2)
    return np.log((1 - share) * near(observed, clean, spread) + replaced)
