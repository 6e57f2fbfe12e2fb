"""Two U-Nets, trained without clean images on one noisy exposure of each subject: `blind_spot`.

The first one does not see the pixels that it is asked for, and answers with a density over their
grey levels. Bayes' rule with the exact likelihood of the pixel under the noise model gives its
clean value. The second is the network of `unet`, trained on these answers as if they were clean.

Sources: S. Laine et al., High-quality self-supervised deep image denoising, NeurIPS 2019, for the
density and Bayes' rule; J. Batson, L. Royer, Noise2Self, ICML 2019, for hiding a partition.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pixel_shuffle, pixel_unshuffle

from methods.unet import IMAGE_SIZE_MULTIPLE, SymmetricUNet, UNet  # noqa: F401
from methods.unet import SETTINGS as OF_UNET
from noise.models import Noise, linear_estimate
from training.posterior import Likelihoods, log_evidence, posterior_mean

RECIPE = "blind_spot"
USES = ["noise model"]
OF_STAGES = OF_UNET | {  # of both networks
    # 1: the first network answers, and there is no second one.
    "stages": {"enum": [1, 2], "default": 2},
}
SETTINGS = OF_STAGES | {
    # How often the first network denoises an image, each time with other pixels hidden together.
    "partitions": {"type": "integer", "minimum": 1, "default": 4},
}
LEVELS = 64  # grey levels of a density
BLOCK = 4  # pixels: 2 x 2
UNTRAINED = (0.05, 0.2)  # deviations of the two normal densities, which makes them differ
NARROWEST = 0.25  # deviation, distances of levels


def build_network(settings: Mapping[str, Any], noise: Noise) -> nn.Module:
    """Return the untrained networks for one noise setting.

    Raises:
        InputError: When the noise says nothing of the clean value, or its file no likelihood.
    """
    return two_stages(BlindUNet, settings, noise)


def two_stages(kind: type["DensityUNet"], settings: Mapping[str, Any], noise: Noise) -> "TwoStages":
    """Return both untrained networks, the first one of this kind; see `build_network`."""
    guess = linear_estimate(noise)
    first = kind(settings, guess, Likelihoods(noise, LEVELS))
    return TwoStages(first, SymmetricUNet(settings, guess) if settings["stages"] > 1 else None)


class TwoStages(nn.Module):
    """Both networks. Takes and returns images of shape (N, 1, H, W), values in [0, 1].

    Attributes:
        first: A `DensityUNet`.
        second: A network as of `unet`, which then answers, or None.
    """

    def __init__(self, first: "DensityUNet", second: nn.Module | None) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, noisy: Tensor) -> Tensor:
        return (self.second or self.first)(noisy)


class DensityUNet(nn.Module):
    """A U-Net that answers with densities over grey levels, and what follows by Bayes' rule.

    It answers for all pixels, or for one of each block of 2 x 2. Which, is said by a tensor of ones
    and zeros with the four pixels of the blocks as channels, shape (N or 1, 4, H / 2, W / 2).

    Args:
        settings: Of the method.
        guess: Slope and offset of a guess of the clean value, from which the U-Net starts.
        likelihoods: A module that gives the likelihoods of noisy values at its `levels`.
    """

    INPUTS, OUTPUTS = 3, 5  # channels of the U-Net

    def __init__(
        self, settings: Mapping[str, Any], guess: tuple[float, float], likelihoods: nn.Module
    ) -> None:
        super().__init__()
        self.slope, self.offset = guess
        self.network = UNet(self.INPUTS, self.OUTPUTS, settings["widths"], settings["blocks"])
        self.likelihoods = likelihoods

    def inputs(self, noisy: Tensor, chosen: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what the U-Net sees, shape (N, C, H, W), and the image to guess from."""
        raise NotImplementedError

    def density(self, noisy: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Return what the chosen pixels are, or all of them: a density over grey levels for each.

        Its shape is (N, H / 2, W / 2, 5), or (N, H, W, 5), as `log_evidence` takes it.
        """

        def pick(images: Tensor) -> Tensor:
            return images.squeeze(1) if chosen is None else picked(images, chosen)

        seen, known = self.inputs(noisy, chosen)
        found = self.network(seen).float()
        share, *rest = (pick(part) for part in found.split(1, dim=1))
        guess = self.slope * pick(known) + self.offset
        means = [guess + each for each in rest[:2]]
        # Not beyond all bounds while it learns.
        factors = [each.clamp(max=4).exp() for each in rest[2:]]
        least = NARROWEST / (LEVELS - 1)
        deviations = [least + s * factor for s, factor in zip(UNTRAINED, factors, strict=True)]
        return torch.stack([share, *means, *deviations], -1)

    def likely(self, *observed: Tensor) -> Tensor:
        """Return logarithms of the likelihood of noisy values at all levels, shape (N, ..., count).

        Args:
            observed: The noisy values, shape (N, ...), and what the likelihoods need besides.
        """
        return self.likelihoods(*observed)

    def log_evidence(self, density: Tensor, *observed: Tensor) -> Tensor:
        """Return how likely noisy values are by what `density` returned, as a logarithm."""
        return log_evidence(density, self.likelihoods.levels, self.likely(*observed))

    def means(self, density: Tensor, *observed: Tensor) -> Tensor:
        """Return clean values by what `density` returned and by noisy values, shape (N, ...)."""
        # Image by image, since all levels of many images fill more than the caches.
        parts = zip(*(each.split(1) for each in (density, *observed)), strict=True)
        levels = self.likelihoods.levels
        return torch.cat([posterior_mean(one, levels, self.likely(*seen)) for one, *seen in parts])


class BlindUNet(DensityUNet):
    """Does not see the pixels that it answers for."""

    INPUTS = 4

    def __init__(
        self, settings: Mapping[str, Any], guess: tuple[float, float], likelihoods: nn.Module
    ) -> None:
        super().__init__(settings, guess, likelihoods)
        self.partitions = settings["partitions"]

    def inputs(self, noisy: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the U-Net sees, shape (N, 4, H, W), and its first channel.

        That is the image, hidden pixels filled with the mean of the visible ones beside them; the
        others say which visible ones are white or black, and which are hidden.
        """
        mask = pixel_shuffle(chosen, 2).expand_as(noisy)
        visible = 1 - mask
        summed, count = (avg_pool2d(each, 3, 1, 1) for each in (noisy * visible, visible))
        filled = torch.where(mask > 0, summed / count, noisy)
        ends = (visible * (noisy >= 1), visible * (noisy <= 0))
        return torch.cat([filled, *ends, mask], 1), filled

    def forward(self, noisy: Tensor, *told: Tensor) -> Tensor:
        """Return the mean of what all partitions say, half of them of the mirror image.

        Args:
            noisy: Shape (N, 1, H, W).
            told: What the likelihoods need besides, of each image.
        """
        found = torch.zeros_like(noisy)
        for number in range(self.partitions):
            if number % 2:
                found += self.posterior_mean(noisy.flip(-1), number, *told).flip(-1)
            else:
                found += self.posterior_mean(noisy, number, *told)
        return found / self.partitions

    def posterior_mean(self, noisy: Tensor, number: int, *told: Tensor) -> Tensor:
        """Return the mean clean value of each pixel, by the others and by itself.

        Args:
            noisy: Shape (N, 1, H, W).
            number: Which pixels are hidden together.
            told: What the likelihoods need besides, of each image.
        """
        blocks = 0
        for chosen in partition(*noisy.shape[-2:], number).to(noisy):
            observed = picked(noisy, chosen)
            means = self.means(self.density(noisy, chosen), observed, *told)
            blocks = blocks + chosen * means.unsqueeze(1)
        return pixel_shuffle(blocks, 2)


def picked(images: Tensor, chosen: Tensor) -> Tensor:
    """Return the chosen pixels of images of shape (N, 1, H, W), shape (N, H / 2, W / 2)."""
    return (pixel_unshuffle(images, 2) * chosen).sum(1)


def chosen_at(place: Tensor) -> Tensor:
    """Return which pixels are chosen, from the place 0 to 3 in each block, shape (N, h, w)."""
    places = torch.arange(BLOCK, device=place.device).view(-1, 1, 1)
    return (place.unsqueeze(1) == places).float()


def partition(height: int, width: int, number: int) -> Tensor:
    """Return four sets of chosen pixels, in which each pixel is once, shape (4, 1, 4, h, w).

    They are drawn, and the same for the same number and size.
    """
    rng = torch.Generator().manual_seed(number)
    order = torch.rand((height // 2, width // 2, BLOCK), generator=rng).argsort(-1)
    return torch.stack([chosen_at(order[None, ..., each]) for each in range(BLOCK)])
