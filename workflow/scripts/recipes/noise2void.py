"""Training without clean images, on a single noisy exposure of each subject: a blind spot.

Some pixels of the input are replaced by a neighbour, and the network learns to tell from the
others what was there. Where noise is independent from pixel to pixel, that is the mean of the noisy
values.

Source: A. Krull et al., Noise2Void, CVPR 2019.
"""

import torch
from torch import Tensor

from noise.device_random import DeviceGenerator
from recipes.noise2noise import DATA, SETTINGS, USES, Noise2Noise  # noqa: F401
from recipes.supervised import flipped

HIDDEN = 1 / 32  # share of the pixels that a step hides


class Noise2Void(Noise2Noise):
    """The exposure, shape (N, 1, H, W), is drawn once, as if one film had been taken."""

    EXPOSURES = 1

    def losses(self) -> tuple[Tensor, Tensor]:
        target = flipped(self.images["exposures"][self.indices, 0], self.rng)
        hidden, mask = with_hidden_pixels(target, self.rng)
        output = self.processor.output(self.network, self.processor.batch(hidden)).squeeze(1)
        loss = ((output - target).square() * mask).sum() / mask.sum()
        return loss, loss


def with_hidden_pixels(images: Tensor, rng: DeviceGenerator) -> tuple[Tensor, Tensor]:
    """Return images of shape (N, H, W) with some pixels replaced by a neighbour, and which ones.

    Neighbours are drawn as well, at most two pixels away in each direction.
    """
    drawn = rng.random(images.shape)
    # At least one in each image, however small it is.
    mask = (drawn < HIDDEN) | (drawn == drawn.amin((1, 2), keepdim=True))
    # One is drawn for each pixel, needed or not, so that all shapes are known beforehand.
    place = rng.integers(0, 24, images.shape)  # of a square of 5 x 5 pixels, its centre left out
    place = place + (place >= 12)
    dy, dx = place // 5 - 2, place % 5 - 2
    _, height, width = images.shape
    axes = (torch.arange(length, device=images.device) for length in images.shape)
    n, y, x = torch.meshgrid(*axes, indexing="ij")
    # Mirrored at the borders, where a pixel might be its own neighbour otherwise.
    y = torch.where((y + dy < 0) | (y + dy >= height), y - dy, y + dy)
    x = torch.where((x + dx < 0) | (x + dx >= width), x - dx, x + dx)
    return torch.where(mask, images[n, y, x], images), mask
