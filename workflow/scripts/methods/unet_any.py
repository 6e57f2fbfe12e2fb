"""The U-Net for noise of any strength, which it is told: one network for all of a range.

Poisson-Gaussian noise of variance `gain * x + deviation^2`, x the clean value, then clipped to
[0, 1]. Told for each image, as two more channels. Which strengths it has seen in training, its
recipe says. Source of the idea: K. Zhang et al., FFDNet, IEEE Transactions on Image Processing
27(9), 2018.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from methods.unet import IMAGE_SIZE_MULTIPLE, SETTINGS, SymmetricUNet, UNet  # noqa: F401
from noise.models import Noise, gain_and_deviation

RECIPE = "any_noise"
USES = ["noise model"]
CONDITIONED = True  # on the noise: its network takes gain and deviation besides the image
PRIOR = 1 / 12  # variance of clean values, as if they were uniform in [0, 1]
SCALE = 5.0  # brings standard deviations of up to .2 to the range of an image


def build_network(settings: Mapping[str, Any], noise: Noise) -> nn.Module:
    """Return the untrained network; once trained it can be told other noise than this one.

    Raises:
        InputError: When the noise has no gain and deviation.
    """
    return AnyNoiseUNet(settings, *gain_and_deviation(noise))


class AnyNoiseUNet(SymmetricUNet):
    """Takes noisy images (N, 1, H, W), and their noise as a number or as a tensor (N, 1, 1, 1).

    Attributes:
        gain, deviation: The noise of images of which nothing is said. The variance of the noise is
            `gain * x + deviation^2` at the clean value x, before clipping.
    """

    INPUTS = 5

    def __init__(self, settings: Mapping[str, Any], gain: float, deviation: float) -> None:
        nn.Module.__init__(self)
        self.gain, self.deviation = gain, deviation
        self.network = UNet(self.INPUTS, self.OUTPUTS, settings["widths"], settings["blocks"])

    def forward(
        self, noisy: Tensor, gain: Tensor | None = None, deviation: Tensor | None = None
    ) -> Tensor:
        gain, deviation = (
            torch.as_tensor(default if given is None else given, device=noisy.device)
            .to(noisy.dtype)
            .expand(noisy.shape[0], 1, 1, 1)  # not len(), which an export to ONNX would fix
            for given, default in ((gain, self.gain), (deviation, self.deviation))
        )
        return super().forward(noisy, gain, deviation)

    def estimate(self, noisy: Tensor, gain: Tensor, deviation: Tensor) -> Tensor:
        # The best linear guess for the mean variance of the noise, if nothing were clipped.
        slope = PRIOR / (PRIOR + gain / 2 + deviation**2)
        maps = (SCALE * gain.sqrt(), SCALE * deviation)
        seen = torch.cat([self.inputs(noisy), *(each.expand_as(noisy) for each in maps)], 1)
        return slope * noisy + (1 - slope) / 2 + self.network(seen)
