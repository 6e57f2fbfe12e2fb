"""The published convolutional auto-encoder, trained on pairs of clean and noisy images."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from noise.models import Noise

# Channels of the convolutions between the decoder and the output.
SETTINGS = {"tail": {"type": "array", "items": {"type": "integer", "minimum": 1}}}
IMAGE_SIZE_MULTIPLE = 4
RECIPE = "published"
USES: list[str] = []


def build_network(settings: Mapping[str, Sequence[int]], noise: Noise) -> nn.Module:
    """Return the untrained network; `settings["tail"]` is (32, 16, 8) for most published rows."""
    return AutoEncoder(settings["tail"])


class AutoEncoder(nn.Module):
    """Two strided convolutions, two transposed ones and a tail of sigmoid convolutions.

    Computes what Keras computes for the published layers with "same" padding, the kernels stored
    in Keras' orientation. Keras pads a strided convolution below and on the right alone and crops
    a transposed one there; PyTorch pads and crops above and on the left as well. Seen in a mirror
    that swaps top with bottom and left with right, the two agree: so the images are flipped on the
    way in and on the way out, and the small kernels with them, which costs next to nothing.

    Takes and returns images of shape (N, 1, H, W), values in [0, 1], H and W multiples of 4.
    """

    def __init__(self, tail: Sequence[int]) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([nn.Conv2d(1, 64, 3), nn.Conv2d(64, 32, 3)])
        self.decoder = nn.ModuleList([nn.ConvTranspose2d(32, 32, 3), nn.ConvTranspose2d(32, 64, 3)])
        self.tail = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in pairwise([64, *tail, 1]))
        for layer in [*self.encoder, *self.decoder, *self.tail]:
            nn.init.xavier_uniform_(layer.weight)  # Keras' Glorot uniform
            nn.init.zeros_(layer.bias)

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        x = mirrored(noisy)
        for layer in self.encoder:
            x = functional.conv2d(x, mirrored(layer.weight), layer.bias, stride=2, padding=1)
            x = functional.relu(x, inplace=True)
        for layer in self.decoder:
            kernels = mirrored(layer.weight)
            x = functional.conv_transpose2d(x, kernels, stride=2, padding=1, output_padding=1)
            # Apart: on CPUs the gradient of a transposed convolution's own bias takes three times
            # as long as all its others.
            x = functional.relu(x.add_(layer.bias.to(x.dtype).view(-1, 1, 1)), inplace=True)
        for layer in self.tail:
            x = functional.conv2d(x, mirrored(layer.weight), layer.bias, padding=1).sigmoid()
        return mirrored(x)


def mirrored(x: torch.Tensor) -> torch.Tensor:
    """Return images or kernels flipped along their last two axes."""
    return x.flip(-2, -1)
