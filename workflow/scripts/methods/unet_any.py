"""The U-Net for noise of any strength, which it is told: one network for all of a range.

Poisson-Gaussian noise of variance `gain * x + deviation^2`, x the clean value, then clipped to
[0, 1]. Told for each image, as two more channels; with `conditioning: scales` also as scales of the
channels in each block. Which strengths it has seen in training, its recipe says. Sources of the
ideas: K. Zhang et al., FFDNet, IEEE Transactions on Image Processing 27(9), 2018; without biases a
network serves more strengths of noise: S. Mohan et al., Robust and interpretable blind image
denoising via bias-free convolutional neural networks, ICLR 2020.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from methods.unet import IMAGE_SIZE_MULTIPLE, SymmetricUNet, UNet  # noqa: F401
from methods.unet import SETTINGS as OF_UNET
from noise.models import Noise, gain_and_deviation

RECIPE = "any_noise"
USES = ["noise model"]
SETTINGS = OF_UNET | {
    # How noise is told: as two more channels, or also by scales of all blocks' channels, in a
    # network without biases.
    "conditioning": {"enum": ["maps", "scales"], "default": "maps"},
}
CONDITIONED = True  # on the noise: its network takes gain and deviation besides the image
PRIOR = 1 / 12  # variance of clean values, as if they were uniform in [0, 1]
SCALE = 5.0  # brings standard deviations of up to .2 to the range of an image
LEVELS = 0.1, 0.9  # grey levels: the noise there makes the vector
LENGTH = 64  # of the vector
LEAST = 0.001  # standard deviation that the vector can say
# Mean and spread of the logarithm of standard deviations from .005 to .25.
MEAN, SPREAD = -3.3, 1.2


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
        length = LENGTH if settings.get("conditioning") == "scales" else 0
        sizes = settings["widths"], settings["blocks"]
        self.network = UNet(self.INPUTS, self.OUTPUTS, *sizes, told=length)
        self.vector = layers(len(LEVELS), length) if length else None

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
        variance = gain / 2 + deviation**2
        slope = PRIOR / (PRIOR + variance)
        maps = (SCALE * gain.sqrt(), SCALE * deviation)
        image, *ends = self.inputs(noisy).split(1, 1)
        vector = None
        if self.vector:
            # Of the strength of the noise, and around 0, for layers without biases.
            image, ends = image - 0.5, [SCALE * variance.sqrt() * each for each in ends]
            vector = self.vector(strength(gain, deviation))
        seen = torch.cat([image, *ends, *(each.expand_as(noisy) for each in maps)], 1)
        return slope * noisy + (1 - slope) / 2 + self.network(seen, vector)


def strength(gain: Tensor, deviation: Tensor) -> Tensor:
    """Return the noise at two grey levels, (N, 2), of gains and deviations (N, 1, 1, 1).

    The logarithm of the standard deviation, so that small gains beside a large deviation count for
    nothing; about -1.7 to 1.7.
    """
    variances = torch.cat([gain * level + deviation**2 for level in LEVELS], 1).flatten(1)
    return (variances.clamp(min=LEAST**2).log() / 2 - MEAN) / SPREAD


def layers(inputs: int, length: int) -> nn.Module:
    """Return what makes a vector (N, length) of numbers (N, inputs)."""
    return nn.Sequential(nn.Linear(inputs, length), nn.SiLU(), nn.Linear(length, length), nn.SiLU())
