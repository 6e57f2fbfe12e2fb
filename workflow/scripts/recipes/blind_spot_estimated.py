"""Training in the stages of `blind_spot` with noise that nobody told.

Gain and deviation are estimated of the exposures. The likelihood of the first stage takes the
noise as normal, and has corrections of both as parameters. Noise of what was found is drawn for
the second stage.
"""

import numpy as np
import torch
from torch import Tensor

from engine.messages import log
from noise.estimation import SMALLEST, estimate_noise
from recipes.any_noise import losses_told
from recipes.blind_spot import DATA, SETTINGS, BlindSpot  # noqa: F401

USES: list[str] = []
LEAST = 1e-5, 1e-3  # gain and deviation that a likelihood can have
# Weight of the squared logarithms of the corrections. Without, noise is taken for what the network
# is not sure of: the likelihood hardly tells one from the other. Estimates are right to 5 %.
ANCHOR = 20.0


class BlindSpotEstimated(BlindSpot):
    """The exposures are those of `blind_spot`; all have the same noise.

    The arrays `gain` and `deviation`, shape (N,), say what was estimated.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        found = [self.arrays[name].mean() for name in ("gain", "deviation")]
        self.network.estimated.copy_(torch.tensor(found))

    def exposed(self) -> dict[str, np.ndarray]:
        found = super().exposed()
        images = found["exposures"]
        estimate = estimate_noise(mosaic(images))
        for reason in estimate.reasons:
            log.warning("the noise may be of another kind: %s", reason)
        noise = np.maximum((estimate.gain, estimate.deviation), LEAST)
        log.info("estimated of %d exposures: gain %.3g, deviation %.3g", len(images), *noise)
        arrays = (np.full(len(images), value, np.float32) for value in noise)
        return found | dict(zip(("gain", "deviation"), arrays, strict=True))

    def told(self) -> tuple[Tensor, ...]:
        return tuple(self.images[name][self.indices] for name in ("gain", "deviation"))

    def answer(self, part: slice) -> Tensor:
        exposures, *told = (self.part_of(n, part) for n in ("exposures", "gain", "deviation"))
        return self.processor.evaluated(self.network.first, exposures, *told)

    def begin_second(self) -> None:
        super().begin_second()
        factors = self.network.first.likelihoods.corrections.exp().tolist()
        log.info("the first stage found %.3g times the gain and %.3g times the deviation", *factors)

    def losses(self) -> tuple[Tensor, Tensor]:
        if self.stage == 1:
            loss, error = super().losses()
            corrections = self.network.first.likelihoods.corrections
            return loss + ANCHOR * corrections.square().sum(), error
        answer = self.augmented("answers")
        with torch.no_grad():
            found = self.network.first.likelihoods.corrected(*self.told())
        gain, deviation = (each.view(-1, 1, 1, 1) for each in found)
        return losses_told(self, self.network.second, answer, gain, deviation)


def mosaic(images: np.ndarray) -> np.ndarray:
    """Return images of shape (N, H, W) as one, of which what all have in common is estimated.

    It is as wide as few of them are that are `SMALLEST` pixels wide together; any rest is left out.
    """
    count, height, width = images.shape
    across = min(count, -(-SMALLEST // width))
    rows = images[: count // across * across].reshape(-1, across, height, width)
    return rows.swapaxes(1, 2).reshape(-1, across * width)
