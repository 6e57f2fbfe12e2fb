"""Moments of Poisson-Gaussian noise after clipping to [0, 1]."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, ndtr

# Clean grey levels, denser near 0 and 1, where the clipped moments bend.
LEVELS = np.sin(np.linspace(0, np.pi / 2, 129)) ** 2
# Below this gain the counts are so many that a normal distribution stands for them.
NORMAL_GAIN = 0.002
LEAST_DEVIATION = 1e-5
MOST_CLIPPED = 0.45  # share of the pixels of a level; a variance says little beyond


@dataclass(frozen=True)
class Moments:
    """Moments of clip(y, 0, 1) for each clean level, arrays of the shape of `LEVELS`.

    `mean` rises with the level; `variance`, `third` and `fourth` are central; `clipped` is the
    share of the pixels that become 0 or 1; `whole` is the variance before clipping.
    """

    mean: np.ndarray
    variance: np.ndarray
    third: np.ndarray
    fourth: np.ndarray
    clipped: np.ndarray
    whole: np.ndarray

    def at(self, mean: np.ndarray, name: str) -> np.ndarray:
        """Return a moment, or `level`, where the clipped values have this mean, of its shape."""
        return np.interp(mean, self.mean, LEVELS if name == "level" else getattr(self, name))

    def usable(self, mean: np.ndarray) -> np.ndarray:
        """Whether at most `MOST_CLIPPED` of the pixels are clipped where this is their mean."""
        inside = self.mean[self.clipped <= MOST_CLIPPED]
        if not inside.size:
            return np.zeros(np.shape(mean), bool)
        return (mean >= inside.min()) & (mean <= inside.max())


def counts(gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the counts (n,) of a Poisson distribution of mean level / gain that may occur at all.

    And the probability of each at each of `LEVELS`, (levels, n).
    """
    count = np.arange(int(1 / gain + 9 / np.sqrt(gain) + 12))
    expected = np.maximum(LEVELS / gain, 1e-12)[:, None]
    return count, np.exp(count * np.log(expected) - expected - gammaln(count + 1))


def moments(gain: float, deviation: float) -> Moments:
    """Return the moments of clip(gain * n + e, 0, 1), n Poisson of mean level / gain, e normal.

    Exact but for gains below `NORMAL_GAIN`, where y is taken as normal: each count is a normal
    distribution, clipped; see the moments of the truncated normal distribution in N. L. Johnson et
    al., Continuous Univariate Distributions 1, 1994, chapter 13.

    Args:
        gain: Variance per grey level, 0 or more.
        deviation: Standard deviation of e, grey levels of [0, 1].
    """
    deviation = max(deviation, LEAST_DEVIATION)
    whole = gain * LEVELS + deviation**2
    if gain < NORMAL_GAIN:
        weight, centre, spread = np.ones((len(LEVELS), 1)), LEVELS[:, None], np.sqrt(whole)[:, None]
    else:
        count, weight = counts(gain)
        centre, spread = gain * count[None], np.full((1, 1), deviation)
    low, high = -centre / spread, (1 - centre) / spread
    black, white = ndtr(low), ndtr(-high)
    at_low, at_high = (np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) for z in (low, high))
    # Moments of the standard normal between both bounds.
    part = [1 - black - white, at_low - at_high]
    for power in (2, 3, 4):
        edge = low ** (power - 1) * at_low - high ** (power - 1) * at_high
        part.append((power - 1) * part[power - 2] + edge)
    raw = []
    for power in (1, 2, 3, 4):
        terms = [
            binomial * centre ** (power - k) * spread**k * part[k]
            for k, binomial in enumerate(BINOMIALS[power])
        ]
        raw.append((weight * (sum(terms) + white)).sum(axis=1))
    mean = np.maximum.accumulate(raw[0])
    variance = np.maximum(raw[1] - mean**2, LEAST_DEVIATION**2 / 4)
    third = raw[2] - 3 * mean * raw[1] + 2 * mean**3
    fourth = raw[3] - 4 * mean * raw[2] + 6 * mean**2 * raw[1] - 3 * mean**4
    clipped = (weight * (black + white)).sum(axis=1)
    return Moments(mean, variance, third, fourth, clipped, whole)


BINOMIALS = {1: (1, 1), 2: (1, 2, 1), 3: (1, 3, 3, 1), 4: (1, 4, 6, 4, 1)}
