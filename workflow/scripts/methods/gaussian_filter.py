"""Gaussian filter: the average of the neighbourhood, weighted by distance.

The linear baseline: it blurs edges as much as noise. SciPy's `gaussian_filter`.
"""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

# Standard deviation of the weights, pixels.
SETTINGS = {"sigma": {"type": "number", "exclusiveMinimum": 0}}
USES: list[str] = []


def denoise(noisy: np.ndarray, noise: Mapping, settings: Mapping) -> np.ndarray:
    """Return images of shape (N, H, W), convolved with a Gaussian; borders are reflected."""
    return ndimage.gaussian_filter(noisy, settings["sigma"], axes=(1, 2))
