"""What was taken from a film, compared with the noise that was said to be in it."""

import numpy as np

from noise.clipping import LEVELS, moments


class Residual:
    """Sums over the residual, noisy minus denoised, of a film that comes in bands of rows.

    From it the mean of clipped noise at each denoised grey level is subtracted, which is 0 but
    where levels are near 0 or 1.

    Args:
        gain, deviation: The noise's variance is `gain * x + deviation^2` at the clean level x.
    """

    def __init__(self, gain: float, deviation: float) -> None:
        self.moments = moments(gain, deviation)
        self.square = self.expected = self.right = self.down = 0.0
        self.last: np.ndarray | None = None  # the row above the next band

    def add(self, noisy: np.ndarray, denoised: np.ndarray) -> None:
        """Count the next band of rows, both of shape (rows, width), values in [0, 1]."""
        rest = noisy - np.interp(denoised, LEVELS, self.moments.mean)
        self.expected += float(np.interp(denoised, LEVELS, self.moments.variance).sum())
        self.square += float(np.square(rest).sum())
        self.right += float((rest[:, 1:] * rest[:, :-1]).sum())
        rows = rest if self.last is None else np.vstack([self.last, rest])
        self.down += float((rows[1:] * rows[:-1]).sum())
        self.last = rest[-1:]

    @property
    def deviation(self) -> float:
        """The standard deviation relative to that of the noise; 1 if just the noise was taken."""
        return float(np.sqrt(self.square / self.expected))

    @property
    def correlation(self) -> float:
        """The larger of the correlations of neighbours in a row and in a column; 0 of white noise.

        The one farther from 0 counts, with its sign.
        """
        if not self.square:
            return 0.0
        return max(self.right / self.square, self.down / self.square, key=abs)
