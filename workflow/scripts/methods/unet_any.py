"""The U-Net for noise of any strength, which it is told: one network for all of a range.

Poisson-Gaussian noise of variance `gain * x + deviation^2`, x the clean value, then clipped to
[0, 1]. It is told for each image, as two more channels. Or `conditioning: stabilised`: the
generalised Anscombe transform makes all noise one of constant variance, whose strength scales the
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
    # How noise is told: as two more channels; or of images whose noise the Anscombe transform has
    # stabilised, and also by scales of all blocks' channels, in a network without biases.
    "conditioning": {"enum": ["maps", "stabilised"], "default": "maps"},
}
CONDITIONED = True  # on the noise: its network takes gain and deviation besides the image
PRIOR = 1 / 12  # variance of clean values, as if they were uniform in [0, 1]
SCALE = 5.0  # brings standard deviations of up to .2 to the range of an image
LENGTH = 64  # of the vector
LEAST = 0.001  # standard deviation of stabilised noise
# Mean and spread of the logarithm of standard deviations from .005 to .25.
MEAN, SPREAD = -3.3, 1.2


def build_network(settings: Mapping[str, Any], noise: Noise) -> nn.Module:
    """Return the untrained network; once trained it can be told other noise than this one.

    Raises:
        InputError: When the noise has no gain and deviation.
    """
    kind = StabilisedUNet if settings.get("conditioning") == "stabilised" else AnyNoiseUNet
    return kind(settings, *gain_and_deviation(noise))


class AnyNoiseUNet(SymmetricUNet):
    """Takes noisy images (N, 1, H, W), and their noise as a number or as a tensor (N, 1, 1, 1).

    Attributes:
        gain, deviation: The noise of images of which nothing is said. The variance of the noise is
            `gain * x + deviation^2` at the clean value x, before clipping.
    """

    INPUTS, TOLD = 5, 0  # channels of the U-Net, and length of the vector that it is told

    def __init__(self, settings: Mapping[str, Any], gain: float, deviation: float) -> None:
        nn.Module.__init__(self)
        self.gain, self.deviation = gain, deviation
        sizes = settings["widths"], settings["blocks"]
        self.network = UNet(self.INPUTS, self.OUTPUTS, *sizes, told=self.TOLD)

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
        maps = (SCALE * each.expand_as(noisy) for each in (gain.sqrt(), deviation))
        seen = torch.cat([self.inputs(noisy), *maps], 1)
        return linear(noisy, gain / 2 + deviation**2) + self.network(seen)


class StabilisedUNet(AnyNoiseUNet):
    """Finds the stabilised image, in which noise has one strength and the image another film curve.

    What it sees is around 0, or of the strength of the noise, for layers without biases.
    """

    TOLD = LENGTH

    def __init__(self, settings: Mapping[str, Any], gain: float, deviation: float) -> None:
        super().__init__(settings, gain, deviation)
        self.vector = nn.Sequential(
            nn.Linear(2, LENGTH), nn.SiLU(), nn.Linear(LENGTH, LENGTH), nn.SiLU()
        )

    def estimate(self, noisy: Tensor, gain: Tensor, deviation: Tensor) -> Tensor:
        transform = Anscombe(gain, deviation)
        image, strength = transform.forward(noisy), SCALE * transform.sigma
        ends = strength * self.inputs(noisy)[:, 1:]
        maps = (each.expand_as(noisy) for each in (strength, strength * transform.curve))
        seen, vector = torch.cat([image - 0.5, ends, *maps], 1), self.vector(transform.told())
        return transform.inverse(linear(image, transform.sigma**2) + self.network(seen, vector))


class Anscombe:
    """The generalised Anscombe transform of images (N, 1, H, W), which leaves 0 and 1 as they are.

    Noise of variance `gain * x + deviation^2` gets about the same standard deviation at all x. With
    a gain of 0 it changes nothing. Source: F. Murtagh et al., Astronomy and Astrophysics Supplement
    112, 1995; written so that small gains lose no digits. `films.anscombe` is that of arrays, with
    an unbiased way back.

    Args:
        gain, deviation: Shape (N, 1, 1, 1).

    Attributes:
        sigma: The noise's standard deviation in transformed images.
        curve: How far the transform is from none, 0 to 1.
    """

    def __init__(self, gain: Tensor, deviation: Tensor) -> None:
        self.gain = gain
        self.offset = (deviation**2 + 3 / 8 * gain**2).clamp(min=LEAST**2)
        self.black = self.offset.sqrt()
        self.span = (gain + self.offset).sqrt() + self.black
        self.sigma, self.curve = self.span / 2, gain / self.span**2

    def forward(self, noisy: Tensor) -> Tensor:
        return noisy * self.span / ((self.gain * noisy + self.offset).sqrt() + self.black)

    def inverse(self, found: Tensor) -> Tensor:
        """Return the images of transformed ones; a network learns to mend the bias of this."""
        found = torch.maximum(found, -self.black)  # far below it, darker would become brighter
        return found * (2 * self.black / self.span + found * self.curve)

    def told(self) -> Tensor:
        """Return sigma and curve, brought to about -1.7 to 1.7, shape (N, 2)."""
        strength = (self.sigma.log() - MEAN) / SPREAD
        return torch.cat([strength, 2 * self.curve - 1], 1).flatten(1)


def linear(noisy: Tensor, variance: Tensor) -> Tensor:
    """Return the best linear guess of clean values, if nothing were clipped."""
    slope = PRIOR / (PRIOR + variance)
    return slope * noisy + (1 - slope) / 2
