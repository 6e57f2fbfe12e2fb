"""Total variation: the image nearest to the noisy one among those with few changes.

Rudin, Osher and Fatemi's model, solved by Chambolle's algorithm (Journal of Mathematical Imaging
and Vision 20, 2004); scikit-image's `denoise_tv_chambolle`.
"""

from collections.abc import Mapping

import numpy as np
from skimage.restoration import denoise_tv_chambolle

SETTINGS = {
    "weight": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "of the total variation against the squared difference, grey levels",
    },
    "tolerance": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "relative change of the cost at which the iteration stops",
    },
}
USES: list[str] = []
ITERATIONS = 1000  # at most; the default of 200 is few for a small tolerance


def denoise(noisy: np.ndarray, noise: Mapping, settings: Mapping) -> np.ndarray:
    """Return the images of least total variation and squared difference together.

    Takes and returns images of shape (N, H, W), values in [0, 1]. The greater the weight, the
    smoother; a great tolerance stops early and keeps more detail. `noise` is not used.
    """
    weight, tolerance = settings["weight"], settings["tolerance"]
    # As if they were channels, which are denoised one by one.
    return denoise_tv_chambolle(
        noisy, weight, eps=tolerance, max_num_iter=ITERATIONS, channel_axis=0
    )
