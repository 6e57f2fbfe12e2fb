"""Images in `.npy` files, read and written a few at a time.

Mapping a file would seem to do as well, but the pages of a mapping count as memory of the process
for as long as it lives: a whole file, once all of it was touched.
"""

import math
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from engine.messages import InputError
from files.atomic import replacing


class StoredImages:
    """The images of a file that `write_images` wrote, read whenever they are iterated over.

    Attributes:
        shape: (N, H, W).
        dtype: Type of the values.

    Raises:
        InputError: When the file is no `.npy` file, or shorter than it says.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        header = load_images(self._path, mmap_mode="r")  # reads no image
        self.shape, self.dtype, self._offset = header.shape, header.dtype, header.offset

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield one image, shape (H, W), after the other."""
        for batch in self.batches(1):
            yield batch[0]

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Yield arrays of shape (`size`, H, W) in order; the last may hold fewer images."""
        for start in range(0, len(self), size):
            yield self.read(start, size)

    def read(self, start: int, size: int) -> np.ndarray:
        """Return at most `size` images from the place `start` on."""
        shape = (min(size, len(self) - start), *self.shape[1:])
        values = math.prod(self.shape[1:])
        offset = self._offset + start * values * self.dtype.itemsize
        return np.fromfile(self._path, self.dtype, shape[0] * values, offset=offset).reshape(shape)


def load_images(path: str | Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """Return the array of an `.npy` file, whole or mapped.

    Raises:
        InputError: When the file is damaged, or would run code.
    """
    try:
        array = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
        if isinstance(array, np.ndarray):
            return array
        raise ValueError("it holds several arrays")
    except (ValueError, EOFError, zipfile.BadZipFile) as error:  # NumPy's own formats are archives
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path} can't be read ({reason}): delete it and run the same command again"
        ) from error


def write_images(
    path: str | Path, shape: tuple[int, ...], dtype: DTypeLike, images: Iterable[np.ndarray]
) -> None:
    """Write images one after the other, as the file that `numpy.save` writes for all of them.

    It takes the place of `path` when it is complete; if `images` raises, `path` is left as it was.

    Args:
        path: The `.npy` file.
        shape: (N, H, W).
        dtype: Type of the values; those of the images are converted to it.
        images: N arrays of shape (H, W).

    Raises:
        ValueError: When there are more or fewer images, or one has another shape.
    """
    dtype, written = np.dtype(dtype), 0
    header = {"descr": dtype.str, "fortran_order": False, "shape": tuple(shape)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for image in images:
            if image.shape != shape[1:]:
                raise ValueError(f"an image has shape {image.shape}, not {shape[1:]}")
            file.write(np.ascontiguousarray(image, dtype))
            written += 1
        if written != shape[0]:
            raise ValueError(f"{written} images, not {shape[0]}")
