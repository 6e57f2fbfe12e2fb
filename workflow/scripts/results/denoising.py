"""Denoises the test images with a method, and notes what that costs."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from files.arrays import StoredImages, write_images
from files.pools import each
from files.tables import write_table
from noise.models import Noise, clip_inversion

PIXELS = 128 * 128**2  # that are denoised at a time
TRAINING = ("parameters", "training_images", "training_seconds")  # costs of a trained method
Denoise = Callable[[np.ndarray], np.ndarray]


def denoised(denoise: Denoise, noisy: str, size: int, start: int) -> tuple[float, np.ndarray]:
    """Return what a denoiser makes of `size` images, from the place `start` on, and the seconds."""
    images = StoredImages(noisy).read(start, size)
    started = time.perf_counter()
    result = denoise(images)
    return time.perf_counter() - started, result


def denoise_test_images(
    denoise: Denoise,
    noisy: str,
    images: str,
    inverted: Noise | None = None,
    processes: int = 1,
) -> float:
    """Write what a denoiser makes of noisy images, and return its time in milliseconds an image.

    Args:
        denoise: Takes and returns images of shape (N, H, W), each by itself.
        noisy: `.npy` file of the noisy images, values in [0, 1].
        images: `.npy` file to write, float64 of the same shape.
        inverted: The noise setting whose clip-aware inversion is applied, if it is.
        processes: That share the work.
    """
    shape = StoredImages(noisy).shape
    size = max(1, PIXELS // math.prod(shape[1:]))
    denoised(denoise, noisy, 1, 0)  # what is only done once is not counted
    seconds = []

    def batches() -> Iterator[np.ndarray]:
        work, starts = partial(denoised, denoise, noisy, size), range(0, shape[0], size)
        for took, batch in each(work, starts, processes):
            seconds.append(took)
            yield batch

    inverse = clip_inversion(inverted) if inverted else np.asarray
    found = itertools.chain.from_iterable(map(inverse, batches()))
    write_images(images, shape, np.float64, found)
    return 1000 * sum(seconds) / shape[0]


def write_cost(
    path: str, noise: str, method: str, milliseconds: float, training: Mapping[str, Any]
) -> None:
    """Write the line of a method in the table of costs.

    Its `training` has the costs `TRAINING` of a trained method, and nothing of a classical one.
    """
    costs = dict.fromkeys(TRAINING) | dict(training)
    line = {"noise": noise, "method": method} | costs | {"milliseconds": milliseconds}
    write_table(path, [line])
