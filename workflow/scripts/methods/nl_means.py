"""Non-local means: averages the pixels whose surroundings look alike.

Buades, Coll and Morel, A non-local algorithm for image denoising, CVPR 2005; scikit-image's
`denoise_nl_means` in its fast mode (Froment, Image Processing On Line 4, 2014), which subtracts
what noise of standard deviation `sigma` adds to the distance of two patches.
"""

from collections.abc import Mapping

import numpy as np
from skimage.restoration import denoise_nl_means

SETTINGS = {
    # The noise's assumed standard deviation, grey levels of [0, 1].
    "sigma": {"type": "number", "exclusiveMinimum": 0},
    # Distance of patches at which their weight falls, in units of sigma.
    "h": {"type": "number", "exclusiveMinimum": 0},
    "patch_size": {"type": "integer", "minimum": 1},  # side, pixels
    "patch_distance": {"type": "integer", "minimum": 1},  # how far patches are searched, pixels
}
USES: list[str] = []


def denoise(noisy: np.ndarray, noise: Mapping, settings: Mapping) -> np.ndarray:
    """Return for each pixel the average of those with similar patches around them.

    Takes and returns images of shape (N, H, W), values in [0, 1]; borders are reflected.
    """
    sigma = settings["sigma"]
    how = settings["patch_size"], settings["patch_distance"], settings["h"] * sigma
    return np.stack([denoise_nl_means(image, *how, sigma=sigma) for image in noisy])
