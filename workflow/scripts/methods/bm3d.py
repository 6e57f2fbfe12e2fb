"""BM3D: filters stacks of similar patches in a transform domain, twice.

Dabov, Foi, Katkovnik and Egiazarian, IEEE Transactions on Image Processing 16, 2007; Mäkinen,
Azzari and Foi, the same 29, 2020: their own package `bm3d` from the registry. Its licence allows
non-commercial use alone, so it is no requirement of the workflow:
`pip install -r requirements-bm3d.txt`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.messages import InputError

SETTINGS = {
    # The noise's assumed standard deviation, grey levels of [0, 1].
    "sigma": {"type": "number", "exclusiveMinimum": 0},
    # Normal, of low complexity (three times as fast), for heavy noise.
    "profile": {"enum": ["np", "lc", "vn"]},
}
USES: list[str] = []
PROFILES = {"np": "BM3DProfile", "lc": "BM3DProfileLC", "vn": "BM3DProfileVN"}


def settings_for(deviation: float) -> dict[str, Any]:
    """Return settings for noise of one standard deviation, grey levels of [0, 1].

    As its authors have it: the rest follows from the deviation.
    """
    return {"sigma": deviation, "profile": "np"}


def denoise(noisy: np.ndarray, noise: Mapping, settings: Mapping) -> np.ndarray:
    """Return what BM3D makes of images of shape (N, H, W), values in [0, 1]; `noise` is not used.

    Raises:
        InputError: When the package is not installed.
    """
    try:
        import bm3d
    except ImportError as error:
        raise InputError(
            "the method bm3d needs the package of this name, whose licence allows non-commercial "
            "use alone; install it with: pip install -r requirements-bm3d.txt"
        ) from error

    profile = getattr(bm3d, PROFILES[settings["profile"]])()
    profile.num_threads = 1  # with more, results differ in the last digits from run to run
    denoised = [bm3d.bm3d(image, settings["sigma"], profile) for image in noisy]
    return np.clip(denoised, 0, 1)
