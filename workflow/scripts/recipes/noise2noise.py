"""Training without clean images, on two noisy exposures of each subject.

One exposure is the input, the other the target. What such a network learns is the mean of the noisy
values.

Source: J. Lehtinen et al., Noise2Noise, ICML 2018.
"""

import numpy as np
import torch
from torch.nn.functional import mse_loss

from noise.models import corrupt
from recipes.supervised import BUDGET as SETTINGS  # noqa: F401
from recipes.supervised import Supervised, flipped
from training.recipe import Recipe

DATA = "clean"  # to draw the exposures from
USES: list[str] = []


class Noise2Noise(Supervised):
    """The exposures, shape (N, 2, H, W), are drawn once, as if two films had been taken."""

    EXPOSURES = 2

    def __post_init__(self) -> None:
        # The exposures alone: the clean images are not even at hand.
        self.images = {"exposures": exposures(self, self.EXPOSURES)}
        super().__post_init__()

    def pair(self) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = flipped(self.images["exposures"][self.indices], self.rng)
        swapped = self.rng.random((len(pairs), 1, 1, 1)) < 0.5
        pairs = torch.where(swapped, pairs.flip(1), pairs)
        return self.processor.batch(pairs[:, 0]), self.processor.batch(pairs[:, 1])

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        # Of a noisy target only the squared error has the mean as its best answer.
        return mse_loss(output, target)


def exposures(recipe: Recipe, count: int) -> np.ndarray:
    """Return exposures of a recipe's clean images, single precision, shape (N, count, H, W).

    They are drawn, and the same for the same training.
    """
    found = [
        [corrupt(image, recipe.noise, recipe.draw("exposure", n, k)) for k in range(count)]
        for n, image in enumerate(recipe.images["clean"])
    ]
    return np.array(found, np.float32)
