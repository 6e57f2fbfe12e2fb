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


def denoise(
    noisy: np.ndarray, noise: Mapping[str, float | str], settings: Mapping[str, float]
) -> np.ndarray:
    """Return the images convolved with a Gaussian.

    Args:
        noisy: Images, shape (N, H, W), values in [0, 1].
        noise: The noise setting; not used.
        settings: `sigma` in pixels.

    Returns:
        The filtered images, of the same shape; borders are reflected.
    """
    return ndimage.gaussian_filter(noisy, settings["sigma"], axes=(1, 2))
