"""Densities over clean grey levels, as tensors: what a network answers, and what noise says."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, logsigmoid
from torch.special import log_ndtr

from noise.likelihood import LOG_ROOT, log_likelihood
from noise.models import Noise

PLACES = 4096  # between black and white, at which a table knows likelihoods
FINER = 4  # the levels of a table are made of levels so much denser
LEAST = -1000.0  # logarithm of the least likelihood beside the greatest of the same noisy value


class Likelihoods(nn.Module):
    """The likelihood of any noisy value at evenly spread clean levels, exact but for rounding.

    They are looked up in a table, in which there is one entry for black, one for white, and between
    them the logarithm goes in straight lines. A level stands for the clean values around it, see
    `noise.likelihood`.

    Attributes:
        levels: From 0 to 1, shape (count,).
        table: Logarithms of likelihoods, shape (PLACES + 3, count).
    """

    def __init__(self, noise: Noise, count: int) -> None:
        super().__init__()
        # Not saved: they follow from the noise.
        self.register_buffer("levels", torch.linspace(0, 1, count), persistent=False)
        table = torch.from_numpy(tabulated(noise, count)).float()
        self.register_buffer("table", table, persistent=False)

    def forward(self, observed: Tensor) -> Tensor:
        """Return logarithms for noisy values in [0, 1] of any shape, shape (..., count)."""
        place = PLACES * observed.clamp(0, 1)
        below = place.floor().clamp(max=PLACES - 1)
        share = (place - below).unsqueeze(-1)
        first, black, white = below.long(), observed <= 0, observed >= 1
        second = torch.where(black, PLACES + 1, torch.where(white, PLACES + 2, first + 1))
        first = torch.where(black | white, second, first)
        return torch.lerp(embedding(first, self.table), embedding(second, self.table), share)


class NormalLikelihoods(nn.Module):
    """The same for noise that is told by its gain and its deviation, taken as normal.

    Corrections of both, for all images together, can be learned with a network.

    Attributes:
        levels: From 0 to 1, shape (count,).
        corrections: Natural logarithms of factors, of the gain and of the deviation.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("levels", torch.linspace(0, 1, count), persistent=False)
        self.corrections = nn.Parameter(torch.zeros(2))

    def corrected(self, gain: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """Return gain and deviation of any shape as they were found to be."""
        factors = self.corrections.exp()
        return factors[0] * gain, factors[1] * deviation

    def forward(self, observed: Tensor, gain: Tensor, deviation: Tensor) -> Tensor:
        """Return logarithms for noisy values in [0, 1], shape (N, ..., count).

        Args:
            observed: Shape (N, ...).
            gain, deviation: Shape (N,); `gain * x + deviation^2` is the variance at the level x.
        """
        gain, deviation = (
            each.view(-1, *[1] * observed.ndim) for each in self.corrected(gain, deviation)
        )
        spread = 1 / (len(self.levels) - 1)  # of what a level stands for, as in `widened`
        root = (gain * self.levels + deviation**2 + spread**2 / 6).sqrt()
        off, value = (observed.unsqueeze(-1) - self.levels) / root, observed.unsqueeze(-1)
        between = -0.5 * off**2 - root.log() - LOG_ROOT
        black, white = log_ndtr(-self.levels / root), log_ndtr((self.levels - 1) / root)
        return torch.where(value <= 0, black, torch.where(value >= 1, white, between))


def tabulated(noise: Noise, count: int) -> np.ndarray:
    """Return the table of `Likelihoods`, float64, shape (PLACES + 3, count).

    Raises:
        InputError: When the distribution of the noise says no likelihood.
    """
    between = np.linspace(0, 1, PLACES + 1).clip(1e-9, 1 - 1e-9)
    observed = np.concatenate([between, [0, 1]])
    finer = np.linspace(0, 1, FINER * (count - 1) + 1)
    logarithm = log_likelihood(noise, observed[:, None], finer, finer[1])
    greatest = logarithm.max(1, keepdims=True)
    # What a level would stand for beyond black and white is black and white.
    likely = np.pad(np.exp(logarithm - greatest), ((0, 0), (FINER - 1,) * 2), mode="edge")
    weights = (FINER - np.abs(np.arange(1 - FINER, FINER))) / FINER**2
    stop = FINER * (count - 1) + 1
    parts = (w * likely[:, start : start + stop : FINER] for start, w in enumerate(weights))
    with np.errstate(divide="ignore"):
        found = np.log(sum(parts))
    return greatest + np.maximum(found, found.max(1, keepdims=True) + LEAST)


def log_evidence(found: Tensor, levels: Tensor, likelihoods: Tensor) -> Tensor:
    """Return the logarithm of the sum over levels of density times likelihood, shape (...).

    Args:
        found: A density of two normal ones that add up to 1, shape (..., 5): the first one's share
            is the logistic function of the first number; two means and two deviations follow, in
            grey levels, the deviations more than 0.
        levels: Shape (count,).
        likelihoods: Logarithms, shape (..., count).
    """
    return _products(found, levels, likelihoods)[1].logsumexp(-1)


@torch.no_grad()
def posterior_mean(found: Tensor, levels: Tensor, likelihoods: Tensor) -> Tensor:
    """Return the mean level by density times likelihood, shape (...); see `log_evidence`."""
    product, sums = _products(found, levels, likelihoods)
    return (sums.softmax(-1) * (product.softmax(-1) * levels).sum(-1)).sum(-1)


def _products(found: Tensor, levels: Tensor, likelihoods: Tensor) -> tuple[Tensor, Tensor]:
    """Return logarithms for both normal densities, times likelihood: of each level, and the sum.

    Those of the levels, shape (..., 2, count), are each up to a constant; the sums are not.
    """
    mean, scale = found[..., 1:3].unsqueeze(-1), 0.5**0.5 / found[..., 3:5].unsqueeze(-1)
    off = torch.addcmul(-mean * scale, scale, levels)  # few passes over all levels: this takes long
    density = torch.addcmul(levels.new_zeros(()), off, off, value=-1)
    product = torch.addcmul(likelihoods.unsqueeze(-2), off, off, value=-1)
    shares = logsigmoid(torch.stack((found[..., 0], -found[..., 0]), -1))
    return product, shares + product.logsumexp(-1) - density.logsumexp(-1)
