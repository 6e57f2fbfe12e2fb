"""Bilateral filter: averages the neighbours that are near in place and in grey level.

Tomasi and Manduchi, Bilateral filtering for gray and color images, ICCV 1998. This is not
scikit-image's `denoise_bilateral`: that of version 0.26 reads its table of spatial weights, of
(w + 1)^2 values, as if it had w^2, which moves the image and weighs the wrong neighbours.
"""

import math
from collections.abc import Mapping

import numpy as np

SETTINGS = {  # standard deviations of the weights
    "sigma_color": {"type": "number", "exclusiveMinimum": 0},  # over grey levels of [0, 1]
    "sigma_spatial": {"type": "number", "exclusiveMinimum": 0},  # over distance, pixels
}
USES: list[str] = []
TRUNCATE = 3  # standard deviations to the border of the window


def denoise(noisy: np.ndarray, noise: Mapping, settings: Mapping) -> np.ndarray:
    """Return images of shape (N, H, W), values in [0, 1], filtered; `noise` is not used.

    The window reaches three times as far as `sigma_spatial`; borders are reflected.
    """
    return np.stack([_filtered(image, **settings) for image in noisy])


def _filtered(image: np.ndarray, sigma_color: float, sigma_spatial: float) -> np.ndarray:
    radius = math.ceil(TRUNCATE * sigma_spatial)
    distances = np.arange(-radius, radius + 1)
    spatial = np.exp(-0.5 * (distances / sigma_spatial) ** 2)
    padded = np.pad(image, radius, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, image.shape)
    total, weights = np.zeros_like(image), np.zeros_like(image)
    # Neighbour by neighbour, for all pixels of an image at once, so that the cache holds it.
    for (row, column), weight in np.ndenumerate(np.outer(spatial, spatial)):
        neighbour = windows[row, column]
        share = weight * np.exp(-0.5 * ((neighbour - image) / sigma_color) ** 2)
        total += share * neighbour
        weights += share
    return total / weights
