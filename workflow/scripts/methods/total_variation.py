"""Total variation: the image nearest to the noisy one among those with few changes.

Rudin, Osher and Fatemi's model, solved by Chambolle's algorithm (Journal of Mathematical Imaging
and Vision 20, 2004); scikit-image's `denoise_tv_chambolle`.
"""

from collections.abc import Mapping

import numpy as np
from skimage.restoration import denoise_tv_chambolle

SETTINGS = {
    # Of the total variation against the squared difference, grey levels.
    "weight": {"type": "number", "exclusiveMinimum": 0},
    # Relative change of the cost at which the iteration stops.
    "tolerance": {"type": "number", "exclusiveMinimum": 0},
}
USES: list[str] = []
ITERATIONS = 1000  # at most; the default of 200 is few for a small tolerance


def denoise(noisy: np.ndarray, noise: Mapping, settings: Mapping) -> np.ndarray:
    """Return the images of least total variation and squared difference together.

    Takes and returns images of shape (N, H, W), values in [0, 1]. The greater the weight, the
    smoother; a great tolerance stops early and keeps more detail.
    """
    weight, tolerance = settings["weight"], settings["tolerance"]
    # As if they were channels, which are denoised one by one.
    return denoise_tv_chambolle(noisy, weight, tolerance, ITERATIONS, channel_axis=0)
