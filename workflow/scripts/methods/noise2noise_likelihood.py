"""`noise2noise` by the exact likelihood of the noise in place of the squared error.

The first network sees one exposure of a subject, and answers with a density over grey levels for
each pixel. Times the likelihood of that exposure, this says what the pixel was, and is judged by
the other exposure. Bayes' rule with both likelihoods gives clean values; from these the second
network, that of `unet`, learns as if they were clean.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from methods.blind_spot import IMAGE_SIZE_MULTIPLE, DensityUNet, two_stages  # noqa: F401
from methods.blind_spot import OF_STAGES as SETTINGS  # noqa: F401
from methods.unet import with_ends
from noise.models import Noise
from training.posterior import log_evidence

RECIPE = "noise2noise_likelihood"
USES = ["noise model"]


def build_network(settings: Mapping[str, Any], noise: Noise) -> nn.Module:
    """Return the untrained networks for one noise setting.

    Raises:
        InputError: When the noise says nothing of the clean value, or its file no likelihood.
    """
    return two_stages(SeeingUNet, settings, noise)


class SeeingUNet(DensityUNet):
    """Sees the pixels that it answers for, so each is also weighed by the value that is seen."""

    def inputs(self, noisy: Tensor, chosen: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the image and which pixels are white or black, shape (N, 3, H, W); the image."""
        return with_ends(noisy), noisy

    def likely(self, *observed: Tensor) -> Tensor:
        """Return logarithms for the values of some exposures together, shape (N, ..., count).

        That of the one that is seen is among them. So the network need not say itself what the
        noise makes of its values, which may be many thin peaks.
        """
        return sum(map(self.likelihoods, observed))

    def log_evidence(self, density: Tensor, seen: Tensor, other: Tensor) -> Tensor:
        """Return how likely the other exposure is by the one that is seen, as a logarithm."""
        levels, alone = self.likelihoods.levels, self.likelihoods(seen)
        both = alone + self.likelihoods(other)
        return log_evidence(density, levels, both) - log_evidence(density, levels, alone)

    def forward(self, noisy: Tensor, *other: Tensor) -> Tensor:
        """Return mean clean values; half of the answer is that of the mirror image.

        Args:
            noisy: Shape (N, 1, H, W).
            other: Another exposure of the same subjects, shape (N, H, W), if there is one.
        """
        means = self.means(self.density(noisy), noisy.squeeze(1), *other)
        turned, *others = (each.flip(-1) for each in (noisy, *other))
        mirrored = self.means(self.density(turned), turned.squeeze(1), *others).flip(-1)
        return (means + mirrored).unsqueeze(1) / 2
