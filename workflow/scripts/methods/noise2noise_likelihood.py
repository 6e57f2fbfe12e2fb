"""`noise2noise` by the exact likelihood of the noise in place of squared error and inversion.

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
from training.posterior import weighed

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

    def weighed(self, density: Tensor, seen: Tensor, *other: Tensor) -> tuple[Tensor, Tensor]:
        """Return how likely the other exposure is, as a logarithm, and clean values by all.

        So the network need not say itself what the noise makes of the value that it sees, which may
        be many thin peaks.

        Args:
            density: What `density` returned, shape (N, ..., 5).
            seen: The values of the exposure that is seen, shape (N, ...), as are the results.
            other: Those of another one. Without, the first result is how likely the seen ones are.
        """
        levels, likely = self.likelihoods.levels, self.likelihoods(seen)
        alone, means = weighed(density, levels, likely)
        if not other:
            return alone, means
        both, means = weighed(density, levels, likely + self.likelihoods(*other))
        return both - alone, means

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
