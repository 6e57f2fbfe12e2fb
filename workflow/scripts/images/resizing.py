"""Resizing images as scikit-image does, by one matrix product an axis."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.sparse
from skimage.transform import resize as skimage_resize

from images.reading import Depth, read_levels


def read_resized(path: str | Path, size: int) -> np.ndarray:
    """Read an image as `read_grey` does and return it resized to float64 (size, size) in [0, 1]."""
    return read_film(path, size)[0]


def read_film(
    path: str | Path, size: int, white: float | None = None, window: bool = False
) -> tuple[np.ndarray, Depth]:
    """Return what `read_resized` does, and the depth; see `read_levels` for the arguments."""
    levels, depth = read_levels(Path(path), size, white, window)
    return depth.scaled(resize(levels, size)), depth


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Return what `skimage.transform.resize(image, (size, size))` gives for floats, to 1e-12.

    Args:
        image: Array (height, width) of any real type; the result keeps its range.
        size: Width and height of the result, in pixels.

    Returns:
        float64 array (size, size).
    """
    height, width = image.shape
    rows, columns = resize_matrix(height, size), resize_matrix(width, size)
    narrowed = np.empty((size, width))
    # Blocks of columns stay in the processor's cache while they are converted and summed.
    for start in range(0, width, 256):
        block = slice(start, start + 256)
        narrowed[:, block] = rows @ image[:, block].astype(np.float64)
    resized = np.ascontiguousarray((columns @ narrowed.T).T)
    # Weights that add up to 1 but for rounding can leave the image's range by 1e-15.
    return np.clip(resized, image.min(), image.max(), out=resized)


@lru_cache(maxsize=64)
def resize_matrix(length: int, size: int) -> scipy.sparse.csr_array:
    """Return the matrix (size, length) by which scikit-image resizes one axis of an image.

    The resize is linear and works on each axis by itself, so resizing an identity gives all of it.
    It is sparse (75 values a row for 2400 -> 128), which makes the product cheaper than BLAS does.
    """
    parts = []
    for start in range(0, length, 512):  # whole, the identity of a long side would fill the memory
        identity = np.eye(length, min(512, length - start), -start)
        resized = skimage_resize(identity, (size, identity.shape[1]))
        parts.append(scipy.sparse.csc_array(resized))
    return scipy.sparse.csr_array(scipy.sparse.hstack(parts))
