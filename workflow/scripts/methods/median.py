"""Median filter, the published experiment's classical baseline.

Uses neither the noise model nor clean training images.
"""

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import median_filter

SETTINGS = {
    "size": {"type": "integer", "minimum": 1, "description": "window, pixels"},
}
USES: list[str] = []


def denoise(
    noisy: np.ndarray, noise: Mapping[str, float | str], settings: Mapping[str, int]
) -> np.ndarray:
    """Return the median of the `size` x `size` window around each pixel.

    Args:
        noisy: Images, shape (N, H, W), values in [0, 1].
        noise: The noise setting; not used.
        settings: `size` of the window in pixels.

    Returns:
        The filtered images, of the same shape; borders are reflected.
    """
    return median_filter(noisy, size=(1, settings["size"], settings["size"]))
