"""The U-Net trained without clean images, on two noisy exposures of each subject (Noise2Noise).

As published: it is told nothing of the noise, and answers with what it learned, the mean of noisy
values. That is not the clean value where noise is clipped, or has another mean than 0.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from methods.unet import IMAGE_SIZE_MULTIPLE, SETTINGS, SymmetricUNet  # noqa: F401
from noise.models import Noise

RECIPE = "noise2noise"
USES: list[str] = []


def build_network(settings: Mapping[str, Any], noise: Noise) -> nn.Module:
    """Return the untrained network; the noise setting is not looked at."""
    return SymmetricUNet(settings)
