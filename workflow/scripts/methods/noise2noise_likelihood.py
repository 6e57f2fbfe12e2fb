"""`noise2noise` by the exact likelihood of the noise in place of squared error and inversion.

The first network sees one exposure of a subject, and answers with a density over the grey levels of
each pixel, which is judged by the other exposure. Bayes' rule with that exposure's likelihood gives
clean values; from these the second network, that of `unet`, learns as if they were clean.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from methods.blind_spot import IMAGE_SIZE_MULTIPLE, DensityUNet, two_stages  # noqa: F401
from methods.blind_spot import OF_STAGES as SETTINGS  # noqa: F401
from methods.unet import with_ends
from noise.models import Noise

RECIPE = "noise2noise_likelihood"
USES = ["noise model"]


def build_network(settings: Mapping[str, Any], noise: Noise) -> nn.Module:
    """Return the untrained networks for one noise setting.

    Raises:
        InputError: When the noise says nothing of the clean value, or its file no likelihood.
    """
    return two_stages(SeeingUNet, settings, noise)


class SeeingUNet(DensityUNet):
    """Sees the pixels that it answers for, so they are weighed by what another exposure has."""

    def inputs(self, noisy: Tensor, chosen: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the image and which pixels are white or black, shape (N, 3, H, W); the image."""
        return with_ends(noisy), noisy

    def forward(self, noisy: Tensor, *other: Tensor) -> Tensor:
        """Return mean clean values; half of the answer is that of the mirror image.

        Args:
            noisy: Shape (N, 1, H, W).
            other: Another exposure of the same subjects, shape (N, H, W), if there is one.
        """
        means = self.means(self.density(noisy), *other)
        turned = (each.flip(-1) for each in other)
        mirrored = self.means(self.density(noisy.flip(-1)), *turned).flip(-1)
        return (means + mirrored).unsqueeze(1) / 2
