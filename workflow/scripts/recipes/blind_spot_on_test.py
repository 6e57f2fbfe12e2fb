"""Training as in `blind_spot`, on the noisy test images: one exposure of each subject, as drawn."""

import numpy as np

from recipes.blind_spot import SETTINGS, USES, BlindSpot  # noqa: F401

DATA = "noisy test"


class BlindSpotOnTest(BlindSpot):
    """The exposures are the images that the network is to denoise."""

    def exposed(self) -> dict[str, np.ndarray]:
        return {"exposures": np.asarray(self.images["noisy"], np.float32)}
