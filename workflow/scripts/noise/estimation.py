"""Noise estimation from one image: gain and read-out noise of a Poisson-Gaussian model.

The model is that of `distributions/poisson_gaussian.py`: noisy = clip(gain * n + e, 0, 1), n
Poisson of mean clean / gain, e normal. The variance before clipping is gain * clean + deviation^2.

Method: blocks are chosen by the middle frequencies of their cosine transform, where structure
shows, and measured by their high ones, which for white noise are independent of the choice; as in
N. N. Ponomarenko et al., An automatic approach to lossy compression of AVIRIS images, IGARSS 2007.
Their variances over grey level are fitted with the moments of clipped noise, as in A. Foi,
Clipped noisy images: heteroskedastic modeling and practical denoising, Signal Processing 89(12),
2009; but those moments are exact for Poisson counts here.
"""

from dataclasses import dataclass

import numpy as np

from engine.messages import InputError
from noise.blocks import Blocks, blocks
from noise.clipping import Moments, moments
from noise.misfit import Misfit, measure, reasons

SMALLEST = 64  # pixels a side
ROUNDING = 1e-6  # by which filters may leave [0, 1]
# Of the middle band, relative to the noise: most blocks without structure lie below.
MOST_STRUCTURE = 1.2
LEAST_SHARE = 0.05  # of the usable blocks is chosen anyhow
LEAST_BLOCKS = 50
ROUNDS, STEPS, CLOSE = 12, 30, 1e-4
BINS, FIRST_BINS, FIRST_SHARE, FIRST_LEAST = 64, 16, 0.1, 10
TOLERATED = 0.3  # by how much of the variance a bin may lie above the first fit with full weight


@dataclass(frozen=True)
class NoiseEstimate:
    """The noise of an image.

    `gain` is the variance per grey level, 1 / dose, and `deviation` the standard deviation of the
    read-out noise, in grey levels of [0, 1]. `fits` says whether the model explains the noise;
    `reasons` says in sentences why not. `levels` are the least and the greatest grey at which
    noise was measured: what is said of other greys is extrapolated. `misfit` has the numbers behind
    the reasons.
    """

    gain: float
    deviation: float
    fits: bool
    reasons: tuple[str, ...]
    levels: tuple[float, float]
    misfit: Misfit

    def deviation_at(self, grey: np.ndarray | float) -> np.ndarray:
        """Return the standard deviation before clipping at clean grey levels, of their shape."""
        return np.sqrt(self.gain * np.asarray(grey, np.float64) + self.deviation**2)


def estimate_noise(image: np.ndarray) -> NoiseEstimate:
    """Estimate the noise of an image, and whether it is Poisson-Gaussian noise at all.

    The same image always gives the same estimate.

    Args:
        image: Noisy image (H, W) in [0, 1], at least 64 x 64.

    Raises:
        InputError: The image cannot be judged: it is too small, constant, or nearly all black or
            white, or has values that are no grey levels. The message says what to do.
    """
    image = checked(image)
    parts = blocks(image)
    gain, deviation = first_guess(parts)
    for _ in range(ROUNDS):
        before = gain, deviation
        chosen = without_structure(parts, moments(gain, deviation))
        gain, deviation = fit(*binned(parts, chosen), gain, deviation)
        if is_close(before, (gain, deviation)):
            break
    model = moments(gain, deviation)
    chosen = without_structure(parts, model)
    misfit = measure(image, parts, chosen, model, MOST_STRUCTURE)
    low, high = map(float, model.at(np.quantile(parts.mean[chosen], [0.01, 0.99]), "level"))
    # Rounding to grey levels adds noise of its own.
    square = max(0.0, deviation**2 - misfit.grey_step**2 / 12)
    why = reasons(misfit, finest=float(np.sqrt(gain * low + square)))
    return NoiseEstimate(
        gain=float(gain),
        deviation=float(np.sqrt(square)),
        fits=not why,
        reasons=why,
        levels=(low, high),
        misfit=misfit,
    )


def checked(image: np.ndarray) -> np.ndarray:
    """Return an image as floats, or say why its noise cannot be estimated."""
    image = np.asarray(image)
    if image.ndim != 2 or min(image.shape) < SMALLEST:
        size = " x ".join(map(str, image.shape))
        raise InputError(
            f"the image has {size} pixels: noise is estimated from one grey image of at least "
            f"{SMALLEST} x {SMALLEST}"
        )
    if image.dtype.kind not in "bfiu":
        raise InputError(f"the image has values of type {image.dtype}: give grey levels in [0, 1]")
    image = image.astype(np.float64)
    # A comparison with NaN is false, so this refuses NaN too.
    if not (image.min() >= -ROUNDING and image.max() <= 1 + ROUNDING):
        raise InputError(
            "the image has values outside [0, 1] or undefined ones: scale it to [0, 1]"
        )
    if image.min() == image.max():
        raise InputError("all pixels of the image are the same: it has no noise to estimate")
    return image.clip(0, 1)


def first_guess(parts: Blocks) -> tuple[float, float]:
    """Return gain and deviation by the blocks of each grey level that have least structure."""
    level = np.minimum((parts.mean * FIRST_BINS).astype(int), FIRST_BINS - 1)
    chosen = np.zeros(len(level), bool)
    for number in range(FIRST_BINS):
        places = np.flatnonzero(level == number)
        if len(places) < 3 * FIRST_LEAST:
            continue
        count = max(FIRST_LEAST, int(FIRST_SHARE * len(places)))
        chosen[places[np.argsort(parts.middle[places], kind="stable")[:count]]] = True
    means, variances, counts = binned(parts, chosen)
    start = float(np.sqrt(np.median(variances)))
    return fit(means, variances, counts, 0.0, start, tolerated=TOLERATED)


def without_structure(parts: Blocks, model: Moments) -> np.ndarray:
    """Return which blocks are unclipped enough and show no more structure than noise does, (N,)."""
    usable = model.usable(parts.mean)
    if usable.sum() < LEAST_BLOCKS:
        raise InputError(
            "nearly all pixels of the image are black or white: its noise cannot be estimated; "
            "give an image with grey levels between"
        )
    structure = parts.middle / model.at(parts.mean, "variance")
    most = max(MOST_STRUCTURE, float(np.quantile(structure[usable], LEAST_SHARE)))
    return usable & (structure <= most)


def binned(parts: Blocks, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean grey, variance and number of the chosen blocks in each bin of grey level."""
    level = np.minimum((parts.mean * BINS).astype(int), BINS - 1)[chosen]
    counts = np.bincount(level, minlength=BINS).astype(np.float64)
    sums = [np.bincount(level, values[chosen], BINS) for values in (parts.mean, parts.high)]
    filled = counts > 0
    means, variances = (total[filled] / counts[filled] for total in sums)
    return means, variances, counts[filled]


def fit(
    means: np.ndarray,
    variances: np.ndarray,
    counts: np.ndarray,
    gain: float,
    deviation: float,
    tolerated: float = np.inf,
) -> tuple[float, float]:
    """Return the gain and deviation that explain the variances of clipped noise best.

    Weighted least squares of the variances before clipping, again and again: their weights, and
    what clipping makes of them, follow from the fit before.

    Args:
        means: Mean of clipped values, for each of several bins.
        variances: Their variance.
        counts: How many blocks a bin has.
        gain: Where to start.
        deviation: Where to start.
        tolerated: Relative height above the fit at which a bin loses half of its weight.
    """
    for _ in range(STEPS):
        model = moments(gain, deviation)
        level, whole = model.at(means, "level"), model.at(means, "whole")
        unclipped = variances * whole / model.at(means, "variance")
        weights = counts / whole**2 * model.usable(means)
        weights /= 1 + (np.maximum(unclipped / whole - 1, 0) / tolerated) ** 2
        if not weights.any():
            break
        before = gain, deviation
        gain, square = line(level, unclipped, weights)
        deviation = float(np.sqrt(square))
        if is_close(before, (gain, deviation)):
            break
    return gain, deviation


def line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return slope and offset of the weighted least-squares line, neither of which is negative."""
    centre, height = np.average(x, weights=weights), np.average(y, weights=weights)
    spread = np.average((x - centre) ** 2, weights=weights)
    together = np.average((x - centre) * (y - height), weights=weights)
    slope = float(together / spread) if spread > 0 else 0.0
    if slope <= 0:
        return 0.0, float(height)
    if slope * centre >= height:
        return float(np.average(x * y, weights=weights) / np.average(x**2, weights=weights)), 0.0
    return slope, float(height - slope * centre)


def is_close(before: tuple[float, float], after: tuple[float, float]) -> bool:
    """Whether gain and deviation have settled."""
    return bool(np.allclose(before, after, rtol=CLOSE, atol=1e-8))
