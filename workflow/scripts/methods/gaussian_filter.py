"""Gaussian filter: the average of the neighbourhood, weighted by distance.

The linear baseline: it blurs edges as much as noise. SciPy's `gaussian_filter`.
"""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

SETTINGS = {
    "sigma": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "standard deviation of the weights, pixels",
    },
}
USES: list[str] = []


def denoise(noisy: np.ndarray, noise: Mapping, settings: Mapping) -> np.ndarray:
    """Return images of shape (N, H, W), values in [0, 1], convolved with a Gaussian.

    Borders are reflected. `noise` is not used.
    """
    return ndimage.gaussian_filter(noisy, settings["sigma"], axes=(1, 2))
