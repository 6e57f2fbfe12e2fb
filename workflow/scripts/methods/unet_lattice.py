"""The U-Net with the lattice step: exploits how the published Poisson noise is made.

That noise adds whole multiples of a known factor. So a pixel y that is not saturated was y, or
y - factor, or y - 2 factor ... before, to the last digit; all that is left to find is which one.
Nothing like that holds for clinical noise: this says how far the published noise model can be
exploited, not how well radiographs can be denoised.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from engine.messages import InputError
from methods.unet import IMAGE_SIZE_MULTIPLE, SETTINGS, SymmetricUNet  # noqa: F401
from noise.models import Noise, linear_estimate

RECIPE = "supervised"
USES = ["noise model"]
DISTRIBUTIONS = ["poisson"]  # the only noise settings that it is for
CAVEAT = (
    "exploits the lattice of the published Poisson noise, which adds only whole multiples of its "
    "factor, whatever the signal. This works on that noise model, not on clinical noise."
)
FINEST = 0.01  # distance of lattice points, grey levels


def build_network(settings: Mapping[str, Any], noise: Noise) -> nn.Module:
    """Return the untrained network for one noise setting of the Poisson distribution.

    Raises:
        InputError: When the lattice is so fine that a pixel has more candidates than memory bears.
    """
    if noise["factor"] < FINEST:
        fault = f"takes a noise factor of {FINEST} or more, not {noise['factor']}"
        remedy = "name the noise settings that it is for with `only`"
        raise InputError(f"the lattice step {fault}; {remedy}")
    return LatticeUNet(settings, noise)


class LatticeUNet(SymmetricUNet):
    """Estimates each pixel and how sure that is; answers with the mean of the lattice's candidates.

    The U-Net also sees where a pixel lies between two lattice points (as sine and cosine), which
    noise leaves as it was.
    """

    INPUTS, OUTPUTS = 5, 2

    def __init__(self, settings: Mapping[str, Any], noise: Noise) -> None:
        super().__init__(settings, linear_estimate(noise))
        self.factor = float(noise["factor"])

    def inputs(self, noisy: Tensor) -> Tensor:
        phase = 2 * math.pi / self.factor * noisy
        return torch.cat([super().inputs(noisy), phase.sin(), phase.cos()], 1)

    def estimate(self, noisy: Tensor) -> Tensor:
        found, certainty = self.network(self.inputs(noisy)).float().split(1, dim=1)
        guess = self.slope * noisy + self.offset + found
        # 10 while the network is untrained: a standard deviation of .1.
        precision = softplus(certainty + math.log(math.expm1(10)))
        return lattice_mean(noisy, guess, precision, self.factor)


def lattice_mean(noisy: Tensor, guess: Tensor, precision: Tensor, factor: float) -> Tensor:
    """Return the mean of the clean values that a pixel can have had, weighted by a guess.

    They are those of noisy, noisy - factor, ... that are not negative, weighted by the normal
    density: the higher the `precision`, one over the guess's standard deviation, the more this is
    the candidate nearest to the guess. Where a pixel is saturated at 1, which says nothing about
    the lattice, the guess is returned. All images are of shape (N, 1, H, W), values in [0, 1].
    """
    count = math.floor(1 / factor) + 1
    steps = factor * torch.arange(count, dtype=noisy.dtype, device=noisy.device)
    candidates = noisy - steps.view(1, -1, 1, 1)
    weights = -0.5 * ((candidates - guess) * precision) ** 2
    weights = weights.masked_fill(candidates < -1e-3, -torch.inf).softmax(1)  # 0, but for rounding
    return torch.where(noisy >= 1, guess, (weights * candidates).sum(1, keepdim=True))
