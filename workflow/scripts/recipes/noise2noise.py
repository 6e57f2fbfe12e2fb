"""Training without clean images, on two noisy exposures of each subject.

One exposure is the input, the other the target. What such a network learns is the mean of the noisy
values, so the clip-aware inversion is applied to its output.

Source: J. Lehtinen et al., Noise2Noise, ICML 2018.
"""

import numpy as np
import torch
from torch.nn.functional import mse_loss

from noise.models import corrupt
from recipes.supervised import Supervised, flipped

SETTINGS = {
    "steps": {"type": "integer", "minimum": 1},
    "batch": {"type": "integer", "minimum": 1},
    "learning_rate": {"type": "number", "exclusiveMinimum": 0, "description": "the highest"},
}
DATA = "clean"  # to draw the exposures from
USES: list[str] = []
ESTIMATES = "mean noisy value"


class Noise2Noise(Supervised):
    """The exposures, shape (N, 2, H, W), are drawn once, as if two films had been taken."""

    EXPOSURES = 2

    def __post_init__(self) -> None:
        exposures = [
            [corrupt(image, self.noise, self.draw("exposure", n, k)) for k in range(self.EXPOSURES)]
            for n, image in enumerate(self.images["clean"])
        ]
        # The exposures alone: the clean images are not even at hand.
        self.images = {"exposures": np.array(exposures)}
        super().__post_init__()

    def pair(self) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = flipped(self.images["exposures"][self.indices], self.rng)
        swapped = self.rng.random((len(pairs), 1, 1, 1)) < 0.5
        pairs = torch.where(swapped, pairs.flip(1), pairs)
        return self.processor.batch(pairs[:, 0]), self.processor.batch(pairs[:, 1])

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        # Of a noisy target only the squared error has the mean as its best answer.
        return mse_loss(output, target)
