"""DnCNN: a plain chain of convolutions that finds the noise.

Source: K. Zhang et al., Beyond a Gaussian denoiser, IEEE Transactions on Image Processing 26(7),
2017. The network is theirs; it is trained like the U-Net, so that the two can be compared.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from noise.models import Noise

RECIPE = "supervised"
USES: list[str] = []
SETTINGS = {
    "depth": {"type": "integer", "minimum": 3, "description": "convolutions"},
    "width": {"type": "integer", "minimum": 1, "description": "channels"},
}


def build_network(settings: Mapping[str, Any], noise: Noise) -> nn.Module:
    """Return the untrained network; (17, 64) is the published depth and width."""
    return DnCNN(settings["depth"], settings["width"])


class DnCNN(nn.Module):
    """Takes and returns images of shape (N, 1, H, W); subtracts the noise that it finds."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers.append(nn.Conv2d(width, width, 3, padding=1, bias=False))
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.noise = nn.Sequential(*layers, nn.Conv2d(width, 1, 3, padding=1))
        for layer in self.noise:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        clean = noisy - self.noise(noisy)
        return clean if self.training else clean.clamp(0, 1)
