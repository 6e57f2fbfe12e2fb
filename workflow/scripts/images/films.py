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
# At whatever exposure: prepared images of 128 x 128 of one film differ in at most 16 bits, those of
# two films in 29 or more (all pairs of the 320 training images), of two phantoms in 24 or more.
MOST_BITS_OF_TWINS = 22


def fingerprint(path: str | Path) -> str:
    """Return 66 hexadecimal digits that tell which film an image shows, in whatever encoding.

    They hold the signs of the 16 x 16 lowest frequencies of the image at 128 x 128, and its mean
    grey level (0 to 255); see `same_film`. Raises InputError as `read_grey` does.
    """
    thumbnail = read_resized(path, 128)
    return np.packbits(signs(thumbnail)).tobytes().hex() + f"{round(255 * thumbnail.mean()):02x}"


def signs(image: np.ndarray) -> np.ndarray:
    """Return the signs of the 16 x 16 lowest frequencies of an image, shape (256,)."""
    return (scipy.fft.dctn(image)[:16, :16] > 0).ravel()


def same_film(first: str, second: str) -> bool:
    """Whether two fingerprints are of the same film at the same exposure."""
    (bits, level), (others, other) = (divmod(int(digits, 16), 256) for digits in (first, second))
    return (bits ^ others).bit_count() <= MOST_BITS and abs(level - other) <= MOST_LEVELS


def twins(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which images show a film that is among the others, at whatever exposure.

    Args:
        images: Shape (N, size, size), `size` 16 or more.
        others: Shape (M, size, size).

    Returns:
        Truth values, shape (N,).
    """
    known = np.array([signs(image) for image in others], bool).reshape(-1, 256)
    differ = (np.count_nonzero(known ^ signs(image), axis=1) for image in images)
    return np.array([(bits <= MOST_BITS_OF_TWINS).any() for bits in differ], bool)
