"""Training without clean images, on two noisy exposures of each subject, by the noise's likelihood.

In the two stages of `blind_spot`, but nothing is hidden: the first network sees one exposure, and
is judged by the other one.
"""

import numpy as np
import torch
from torch import Tensor

from recipes.blind_spot import DATA, SETTINGS, USES, BlindSpot  # noqa: F401
from recipes.noise2noise import exposures
from recipes.supervised import flipped


class Noise2NoiseLikelihood(BlindSpot):
    """The two exposures are drawn once, as if two films had been taken."""

    def exposed(self) -> dict[str, np.ndarray]:
        one, other = np.moveaxis(exposures(self, 2), 1, 0)
        return {"exposures": one, "other exposures": other}

    def shown(self) -> tuple[Tensor, ...]:
        pairs = [self.images[name][self.indices] for name in ("exposures", "other exposures")]
        pairs = flipped(torch.stack(pairs, 1), self.rng)
        swapped = self.rng.random((len(pairs), 1, 1, 1)) < 0.5
        pairs = torch.where(swapped, pairs.flip(1), pairs)
        seen, other = (self.processor.batch(pairs[:, number]) for number in range(2))
        return seen, seen, other

    def answer(self, part: slice) -> Tensor:
        """Return the mean of what is made of each exposure with the other one."""
        first = self.network.first
        pair = [self.part_of(name, part) for name in ("exposures", "other exposures")]
        found = (self.processor.evaluated(first, *order) for order in (pair, pair[::-1]))
        return sum(found) / 2
