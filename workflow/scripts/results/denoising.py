"""Denoises the test images with a method, and notes what that costs."""

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from files.arrays import StoredImages, write_images
from files.tables import write_table
from noise.models import Noise, clip_inversion

BATCH = 128  # images that are denoised at a time
TRAINING = ("parameters", "training_images", "training_seconds")  # costs of a trained method
Denoise = Callable[[np.ndarray], np.ndarray]


def denoise_test_images(denoise: Denoise, noisy: str, images: str, inverted: Noise | None) -> float:
    """Write what a denoiser makes of noisy images, and return its time in milliseconds an image.

    Args:
        denoise: Takes and returns images of shape (N, H, W).
        noisy: `.npy` file of the noisy images, values in [0, 1].
        images: `.npy` file to write, float64 of the same shape.
        inverted: The noise setting whose clip-aware inversion is applied, if it is.
    """
    stored = StoredImages(noisy)
    denoise(next(stored.batches(1)))  # what is only done once is not counted
    seconds = []

    def timed(batch: np.ndarray) -> np.ndarray:
        started = time.perf_counter()
        denoised = denoise(batch)
        seconds.append(time.perf_counter() - started)
        return denoised

    batches = map(timed, stored.batches(BATCH))
    if inverted:
        batches = map(clip_inversion(inverted), batches)
    write_images(images, stored.shape, np.float64, itertools.chain.from_iterable(batches))
    return 1000 * sum(seconds) / len(stored)


def write_cost(
    path: str, noise: str, method: str, milliseconds: float, training: Mapping[str, Any]
) -> None:
    """Write the line of a method in the table of costs.

    Its `training` has the costs `TRAINING` of a trained method, and nothing of a classical one.
    """
    costs = dict.fromkeys(TRAINING) | dict(training)
    line = {"noise": noise, "method": method} | costs | {"milliseconds": milliseconds}
    write_table(path, [line])
