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
    path: str | Path,
    size: int,
    white: float | None = None,
    window: bool = False,
    fit: str = "squash",
) -> tuple[np.ndarray, Depth]:
    """Return what `read_resized` does, and the depth; see `read_levels` and `fitted`."""
    levels, depth = read_levels(Path(path), size, white, window)
    return depth.scaled(fitted(levels, size, fit, depth.black)), depth


def fitted(image: np.ndarray, size: int, fit: str, black: float = 0) -> np.ndarray:
    """Return an image as a square (size, size), float64, in one of three ways.

    `squash` scales each axis by itself. `crop` takes the square in the middle, and `pad` scales the
    longer side to `size` and fills the rest, half on each side, with `black`: so are the corners of
    the rotated training images, and it is the same in all films, which the level of a film's
    border is not.
    """
    height, width = image.shape
    if fit == "crop":
        side = min(image.shape)
        top, left = (height - side) // 2, (width - side) // 2
        return resize(image[top : top + side, left : left + side], size, size)
    if fit == "pad":
        rows, columns = (max(1, round(size * n / max(image.shape))) for n in image.shape)
        whole = np.full((size, size), black, np.float64)
        top, left = (size - rows) // 2, (size - columns) // 2
        whole[top : top + rows, left : left + columns] = resize(image, rows, columns)
        return whole
    return resize(image, size, size)


def resize(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return what `skimage.transform.resize(image, (rows, columns))` gives for floats, to 1e-12.

    Args:
        image: Array (height, width) of any real type; the result keeps its range.
        rows: Height of the result, in pixels.
        columns: Width of the result, in pixels.

    Returns:
        float64 array (rows, columns).
    """
    height, width = image.shape
    down, across = resize_matrix(height, rows), resize_matrix(width, columns)
    narrowed = np.empty((rows, width))
    # Blocks of columns stay in the processor's cache while they are converted and summed.
    for start in range(0, width, 256):
        block = slice(start, start + 256)
        narrowed[:, block] = down @ image[:, block].astype(np.float64)
    resized = np.ascontiguousarray((across @ narrowed.T).T)
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
