"""Median filter, the published experiment's classical baseline."""

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import median_filter

SETTINGS = {"size": {"type": "integer", "minimum": 1, "description": "window, pixels"}}
USES: list[str] = []


def denoise(noisy: np.ndarray, noise: Mapping, settings: Mapping) -> np.ndarray:
    """Return for each pixel the median of the window of `size` x `size` pixels around it.

    Takes and returns images of shape (N, H, W), values in [0, 1]; borders are reflected.
    """
    return median_filter(noisy, size=(1, settings["size"], settings["size"]))
