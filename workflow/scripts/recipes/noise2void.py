"""Training without clean images, on a single noisy exposure of each subject: a blind spot.

Some pixels of the input are replaced by a neighbour, and the network learns to tell from the
others what was there. Where noise is independent from pixel to pixel, that is the mean of the noisy
values, so the clip-aware inversion is applied to the output.

Source: A. Krull et al., Noise2Void, CVPR 2019.
"""

import numpy as np
import torch
from torch.nn.functional import mse_loss

from recipes.noise2noise import SETTINGS as SETTINGS
from recipes.noise2noise import Noise2Noise
from recipes.supervised import flipped

DATA = "clean"  # to draw the exposures from
USES: list[str] = []
ESTIMATES = "mean noisy value"
HIDDEN = 1 / 32  # share of the pixels that a step hides
NEIGHBOURS = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0)]


class Noise2Void(Noise2Noise):
    """The exposure, shape (N, 1, H, W), is drawn once, as if one film had been taken."""

    EXPOSURES = 1

    def losses(self, step: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        rng = self.draw("step", step)
        target = flipped(self.images["exposures"][self.chosen(step), 0], rng)
        hidden, mask = with_hidden_pixels(target, rng)
        output = self.processor.output(self.network, self.processor.batch(hidden))
        shown = self.processor.batch(mask) > 0
        loss = mse_loss(output[shown], self.processor.batch(target)[shown])
        return loss, loss.detach(), len(target)


def with_hidden_pixels(
    images: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return images with some pixels replaced by a random neighbour, and which ones.

    Args:
        images: Shape (N, H, W).
        rng: Draws the pixels and their neighbours, at most two pixels away in each direction.
    """
    drawn = rng.random(images.shape)
    # At least one in each image, however small it is.
    mask = (drawn < HIDDEN) | (drawn == drawn.min(axis=(1, 2), keepdims=True))
    n, y, x = np.nonzero(mask)
    dy, dx = np.array(NEIGHBOURS)[rng.integers(0, len(NEIGHBOURS), len(n))].T
    height, width = images.shape[1:]
    replaced = images.copy()
    # Mirrored at the borders, where a pixel might be its own neighbour otherwise.
    inside = [np.where((p + d < 0) | (p + d >= size), p - d, p + d)
              for p, d, size in ((y, dy, height), (x, dx, width))]  # fmt: skip
    replaced[n, y, x] = images[n, inside[0], inside[1]]
    return replaced, mask
