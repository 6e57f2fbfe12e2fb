"""`blind_spot` told nothing of the noise but its kind: Poisson-Gaussian, clipped to [0, 1].

Gain and deviation are estimated of the exposures, see `noise.estimation`, and corrected by what
the first network makes of them: its likelihood has both as parameters. The second network is that
of `unet_any`, told what was found.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from methods.blind_spot import (  # noqa: F401
    IMAGE_SIZE_MULTIPLE,
    LEVELS,
    SETTINGS,
    BlindUNet,
    TwoStages,
)
from methods.unet_any import AnyNoiseUNet
from noise.models import Noise, gain_and_deviation
from training.posterior import NormalLikelihoods

RECIPE = "blind_spot_estimated"
USES: list[str] = []


def build_network(settings: Mapping[str, Any], noise: Noise) -> nn.Module:
    """Return the untrained networks, which are told nothing of the noise.

    Raises:
        InputError: When the noise is of another kind.
    """
    gain_and_deviation(noise)
    likelihoods = NormalLikelihoods(LEVELS)
    first = BlindUNet(settings, (1, 0), likelihoods)
    return EstimatingStages(first, AnyNoiseUNet(settings, 0, 0) if settings["stages"] > 1 else None)


class EstimatingStages(TwoStages):
    """Both networks, and the noise that was estimated.

    Attributes:
        estimated: Gain and deviation, before what the first network learned of them.
    """

    def __init__(self, first: BlindUNet, second: AnyNoiseUNet | None) -> None:
        super().__init__(first, second)
        self.register_buffer("estimated", torch.zeros(2))

    def forward(self, noisy: Tensor) -> Tensor:
        told = self.estimated.expand(noisy.shape[0], 2).unbind(1)
        if self.second is None:
            return self.first(noisy, *told)
        told = self.first.likelihoods.corrected(*told)
        return self.second(noisy, *(each.view(-1, 1, 1, 1) for each in told))
