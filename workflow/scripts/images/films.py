"""Telling which film an image shows, by a fingerprint that survives encodings."""

from pathlib import Path

import numpy as np
import scipy.fft

from images.resizing import read_resized

# Fingerprints of one film differ in at most 2 of 256 bits (JPEG of quality 50 to 95, PNG, BMP, grey
# or RGB, +-2 grey levels, half size; 26 films), those of two different films in 29 or more (all
# pairs of the 400). Films copied at another exposure lie between (1 to 16 bits), but their means
# differ by 27 grey levels or more, and by at most 2 within one film.
MOST_BITS = 10
MOST_LEVELS = 5


def fingerprint(path: str | Path) -> str:
    """Return 66 hexadecimal digits that tell which film an image shows, in whatever encoding.

    They hold the signs of the 16 x 16 lowest frequencies of the image at 128 x 128, and its mean
    grey level (0 to 255); see `same_film`. Raises InputError as `read_grey` does.
    """
    thumbnail = read_resized(path, 128)
    signs = scipy.fft.dctn(thumbnail)[:16, :16] > 0
    return np.packbits(signs).tobytes().hex() + f"{round(255 * thumbnail.mean()):02x}"


def same_film(first: str, second: str) -> bool:
    """Whether two fingerprints are of the same film at the same exposure."""
    (bits, level), (others, other) = (divmod(int(digits, 16), 256) for digits in (first, second))
    return (bits ^ others).bit_count() <= MOST_BITS and abs(level - other) <= MOST_LEVELS
