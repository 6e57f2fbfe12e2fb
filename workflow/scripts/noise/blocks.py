"""Blocks of an image, whose cosine transform parts noise from structure."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import dct

SIDE = 8
MOST_BLOCKS = 60_000  # about; more of a large image would tell nothing new
BASIS = dct(np.eye(SIDE), norm="ortho", axis=0)
TRANSFORM = np.kron(BASIS, BASIS)  # of a block as a vector
ORDER = np.add.outer(np.arange(SIDE), np.arange(SIDE)).ravel()  # of each coefficient, 0 to 14
# Structure is weak in the high band and shows in the middle one. White noise is the same in both,
# and independent: so blocks chosen by their middle band have the noise of all blocks in the high.
HIGH = ORDER >= SIDE
MIDDLE = (ORDER >= SIDE // 2) & ~HIGH


@dataclass(frozen=True)
class Blocks:
    """Blocks of `SIDE` x `SIDE` pixels, which overlap in a small image.

    `pixels` has the shape (rows, columns, SIDE, SIDE) and takes no memory; the others have a value
    for each of N = rows * columns blocks: `mean`; `high` and `middle`, the mean squares of the
    coefficients in a band; `energy` (N, coefficients in the high band), their squares. `step` is
    the distance of two blocks, in pixels.
    """

    pixels: np.ndarray
    mean: np.ndarray
    high: np.ndarray
    middle: np.ndarray
    energy: np.ndarray
    step: int

    def chosen(self, is_chosen: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Return places (n,) of up to about `most` chosen blocks, and pixels (n, SIDE, SIDE)."""
        places = np.flatnonzero(is_chosen)
        places = places[:: max(1, -(-len(places) // most))]
        rows, columns = np.divmod(places, self.pixels.shape[1])
        return places, self.pixels[rows, columns]


def blocks(image: np.ndarray) -> Blocks:
    """Return the blocks of an image (H, W), at least 8 x 8, float."""
    step = max(1, int(np.sqrt(image.size / MOST_BLOCKS)))
    pixels = sliding_window_view(image, (SIDE, SIDE))[::step, ::step]
    mean, energy = [], []
    for row in pixels:
        flat = row.reshape(len(row), SIDE**2)
        mean.append(flat.mean(axis=1))
        energy.append(((flat @ TRANSFORM.T) ** 2).astype(np.float32))
    energy = np.concatenate(energy)
    high, middle = (energy[:, band].mean(axis=1, dtype=np.float64) for band in (HIGH, MIDDLE))
    return Blocks(pixels, np.concatenate(mean), high, middle, energy[:, HIGH], step)
