"""Additive noise of a normal distribution, as in the published experiment."""

import numpy as np

from noise.likelihood import log_normal, widened

SETTINGS = {
    "factor": {"type": "number", "exclusiveMinimum": 0},
    "mean": {"type": "number", "description": "in units of the factor"},
    "std": {"type": "number", "minimum": 0, "description": "in units of the factor"},
}


def draw(
    image: np.ndarray, rng: np.random.Generator, *, factor: float, mean: float, std: float
) -> np.ndarray:
    """Return `image + factor * n`, n normal and independent in each pixel."""
    return image + factor * rng.normal(mean, std, image.shape)


def gain_and_deviation(*, factor: float, mean: float, std: float) -> tuple[float, float] | None:
    """Return the numbers of Poisson-Gaussian noise; noise that shifts the values is none."""
    return (0.0, factor * std) if mean == 0 else None


def log_likelihood(
    observed: np.ndarray,
    clean: np.ndarray,
    spread: float,
    *,
    factor: float,
    mean: float,
    std: float,
) -> np.ndarray:
    """Return the logarithm of the likelihood of clipped values, see `noise.likelihood`."""
    return log_normal(observed, clean + factor * mean, widened(factor * std, spread))
