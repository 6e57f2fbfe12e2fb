"""Multiplicative noise of a normal distribution."""

import numpy as np

from noise.likelihood import log_normal, widened

SETTINGS = {"std": {"type": "number", "minimum": 0, "description": "of a factor of mean 1"}}


def draw(image: np.ndarray, rng: np.random.Generator, *, std: float) -> np.ndarray:
    """Return `image * n`, n normal with mean 1 and independent in each pixel."""
    return image * rng.normal(1, std, image.shape)


def log_likelihood(
    observed: np.ndarray, clean: np.ndarray, spread: float, *, std: float
) -> np.ndarray:
    """Return the logarithm of the likelihood of clipped values, see `noise.likelihood`."""
    return log_normal(observed, clean, widened(std * clean, spread))
