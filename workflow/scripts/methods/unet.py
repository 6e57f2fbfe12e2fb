"""A small residual U-Net, trained on clean images with fresh noise in each step.

Uses the noise model (to draw noise, and for a first guess of each pixel) and clean images.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, relu

from noise.models import Noise, linear_estimate

RECIPE = "supervised"
USES = ["noise model"]
SETTINGS = {
    "widths": {  # channels at 1/2, 1/4, 1/8 ... of the image's resolution
        "type": "array",
        "items": {"type": "integer", "minimum": 1},
        "minItems": 1,
        "maxItems": 4,
    },
    # Residual blocks at each resolution, on the way down and on the way up.
    "blocks": {"type": "integer", "minimum": 1},
}
IMAGE_SIZE_MULTIPLE = 16


def build_network(settings: Mapping[str, Any], noise: Noise) -> nn.Module:
    """Return the untrained network for one noise setting."""
    return SymmetricUNet(settings, linear_estimate(noise))


class SymmetricUNet(nn.Module):
    """Adds what a U-Net finds to a linear guess of each pixel.

    Takes and returns images of shape (N, 1, H, W), values in [0, 1]. The U-Net sees the noisy image
    and where it is saturated. Once trained, it answers with the mean of an image's answer and its
    mirror image's.

    Args:
        settings: Of the method.
        guess: Slope and offset of the guess; without, it is the noisy value.
    """

    INPUTS, OUTPUTS = 3, 1  # channels of the U-Net

    def __init__(self, settings: Mapping[str, Any], guess: tuple[float, float] = (1, 0)) -> None:
        super().__init__()
        self.slope, self.offset = guess
        self.network = UNet(self.INPUTS, self.OUTPUTS, settings["widths"], settings["blocks"])

    def forward(self, noisy: torch.Tensor, *told: torch.Tensor) -> torch.Tensor:
        """Return the answer; what a network is told besides an image, `estimate` is told too."""
        if self.training:
            return self.estimate(noisy, *told)
        mirrored = self.estimate(noisy.flip(-1), *told).flip(-1)
        return ((self.estimate(noisy, *told) + mirrored) / 2).clamp(0, 1)

    def estimate(self, noisy: torch.Tensor) -> torch.Tensor:
        return self.slope * noisy + self.offset + self.network(self.inputs(noisy))

    def inputs(self, noisy: torch.Tensor) -> torch.Tensor:
        """Return what the U-Net sees, shape (N, C, H, W)."""
        return with_ends(noisy)


def with_ends(noisy: torch.Tensor) -> torch.Tensor:
    """Return images (N, 1, H, W) and which of their pixels are white or black, (N, 3, H, W)."""
    return torch.cat([noisy, (noisy >= 1).to(noisy.dtype), (noisy <= 0).to(noisy.dtype)], 1)


class UNet(nn.Module):
    """Residual blocks at falling and then at rising resolution, with additions between the two.

    The image enters and leaves with 2 x 2 pixels as channels. The last convolution, and the last
    one of each block, start at zero, so that the untrained network returns zeros.

    Args:
        inputs, outputs: Channels.
        widths: Channels at each resolution, the finest (half the image's) first.
        blocks: Residual blocks at each resolution; at the coarsest, twice as many.
        told: Length of the vector that says what noise an image has. It scales the channels: within
            each block, of what is handed across, behind the first convolution and before the last
            one. And there are no biases: what is twice as strong has twice the answer, but for
            these scales. 0: nothing is said.
    """

    def __init__(
        self, inputs: int, outputs: int, widths: list[int], blocks: int, told: int = 0
    ) -> None:
        super().__init__()
        levels, bias = list(pairwise(widths)), not told

        def stage(width: int, count: int = blocks) -> nn.Module:
            return Stage(*(Block(width, told) for _ in range(count)))

        self.head = nn.Conv2d(4 * inputs, widths[0], 3, padding=1, bias=bias)
        self.scale_head, self.scale_tail = Scale(widths[0], told), Scale(widths[0], told)
        self.encoder = nn.ModuleList(stage(fine) for fine, _ in levels)
        self.down = nn.ModuleList(nn.Conv2d(f, c, 2, stride=2, bias=bias) for f, c in levels)
        self.scale_skips = nn.ModuleList(Scale(fine, told) for fine, _ in levels)
        self.bottom = stage(widths[-1], 2 * blocks)
        self.up = nn.ModuleList(nn.Conv2d(c, 4 * f, 1, bias=bias) for f, c in levels)
        self.decoder = nn.ModuleList(stage(fine) for fine, _ in levels)
        self.tail = zeros(nn.Conv2d(widths[0], 4 * outputs, 3, padding=1, bias=bias))

    def forward(self, x: torch.Tensor, told: torch.Tensor | None = None) -> torch.Tensor:
        x = self.scale_head(self.head(pixel_unshuffle(x, 2)), told)
        skipped = []
        for encode, scale, down in zip(self.encoder, self.scale_skips, self.down, strict=True):
            x = encode(x, told)
            skipped.append(scale(x, told))
            x = down(x)
        x = self.bottom(x, told)
        for up, decode in zip(reversed(self.up), reversed(self.decoder), strict=True):
            # In this order, since the sum takes the layout of the first, and on a GPU that of
            # pixel_shuffle is another one.
            x = decode(skipped.pop() + pixel_shuffle(up(x), 2), told)
        return pixel_shuffle(self.tail(self.scale_tail(x, told)), 2)


class Stage(nn.Sequential):
    """Blocks one after the other, which are all told the same."""

    def forward(self, x: torch.Tensor, told: torch.Tensor | None = None) -> torch.Tensor:
        for block in self:
            x = block(x, told)
        return x


class Block(nn.Module):
    """Adds to its input what two convolutions make of it, the channels between them scaled."""

    def __init__(self, width: int, told: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=not told)
        self.second = zeros(nn.Conv2d(width, width, 3, padding=1, bias=not told))
        self.scale = Scale(width, told)

    def forward(self, x: torch.Tensor, told: torch.Tensor | None = None) -> torch.Tensor:
        return x + self.second(self.scale(relu(self.first(relu(x)), inplace=True), told))


class Scale(nn.Module):
    """Scales channels by what a vector says, shape (N, told); where nothing is told, by nothing.

    Source of the idea: E. Perez et al., FiLM, AAAI 2018.
    """

    def __init__(self, width: int, told: int) -> None:
        super().__init__()
        self.change = zeros(nn.Linear(told, width)) if told else None

    def forward(self, x: torch.Tensor, told: torch.Tensor | None) -> torch.Tensor:
        return x if self.change is None else x * (1 + self.change(told))[:, :, None, None]


def zeros(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """Return the layer with weights and biases of zero."""
    for values in layer.parameters():
        nn.init.zeros_(values)
    return layer
