"""The generalised Anscombe transform: makes Poisson-Gaussian noise one of a single strength.

F. Murtagh, J.-L. Starck and A. Bijaoui, Image restoration with noise suppression using a
multiresolution support, Astronomy and Astrophysics Supplement 112, 1995. The way back is the exact
unbiased inverse of M. Makitalo and A. Foi, Optimal inversion of the generalized Anscombe
transformation for Poisson-Gaussian noise, IEEE Transactions on Image Processing 22(1), 2013: an
estimate of the mean of transformed noisy values is taken to the clean value of which it is the
mean. Here these means are those of values that were clipped to [0, 1], as a file's are.
"""

from functools import cached_property

import numpy as np
from scipy.special import ndtri

from noise.clipping import LEAST_DEVIATION, LEVELS, NORMAL_GAIN, counts

NODES = 128  # of the normal distribution, each of the same probability


class Anscombe:
    """The transform for noise of variance `gain * x + deviation^2` at the clean grey level x.

    Transformed grey levels of [0, 1] are scaled to [0, 1] again, in which their noise has the
    standard deviation `sigma`, whatever the grey level, but for levels that are clipped or of few
    quanta.

    Args:
        gain: Variance per grey level, 0 or more.
        deviation: Standard deviation of the read-out noise, grey levels; not both 0.
    """

    def __init__(self, gain: float, deviation: float) -> None:
        self.gain, self.deviation = gain, max(deviation, LEAST_DEVIATION if not gain else 0.0)
        self.black = self._stable(np.float64(0))
        self.sigma = float(1 / (self._stable(np.float64(1)) - self.black))

    def _stable(self, grey: np.ndarray) -> np.ndarray:
        """Return values whose noise has a standard deviation of about 1."""
        if self.gain == 0:
            return grey / self.deviation
        square = self.gain * grey + 3 / 8 * self.gain**2 + self.deviation**2
        return 2 / self.gain * np.sqrt(np.maximum(square, 0))

    def forward(self, noisy: np.ndarray) -> np.ndarray:
        """Return grey levels of [0, 1] whose noise has the deviation `sigma`, float64."""
        return (self._stable(np.asarray(noisy, np.float64)) - self.black) * self.sigma

    def inverse(self, mean: np.ndarray) -> np.ndarray:
        """Return the clean grey levels in [0, 1] whose noisy ones have these transformed means."""
        means, first = np.unique(np.maximum.accumulate(self.means), return_index=True)
        return np.interp(mean, means, LEVELS[first])

    @cached_property
    def means(self) -> np.ndarray:
        """The mean of the transformed noisy values of each clean level, shape of `LEVELS`."""
        normal = ndtri((np.arange(NODES) + 0.5) / NODES)
        if self.gain < NORMAL_GAIN:  # so many quanta that a normal distribution stands for them
            spread = np.sqrt(self.gain * LEVELS + self.deviation**2)
            noisy = LEVELS[:, None] + spread[:, None] * normal
            return self.forward(noisy.clip(0, 1)).mean(axis=1)
        count, weight = counts(self.gain)
        noisy = self.gain * count[:, None] + self.deviation * normal
        return weight @ self.forward(noisy.clip(0, 1)).mean(axis=1)
