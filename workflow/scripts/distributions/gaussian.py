"""Additive noise of a normal distribution, as in the published experiment."""

import numpy as np

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
