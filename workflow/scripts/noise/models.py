"""The noise models, and what follows from them without any image.

Each distribution is a file in `workflow/scripts/distributions/`, found by its name in the
configuration.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from engine.messages import InputError
from noise.seeds import generator

Noise = Mapping[str, float | str]
Image = TypeVar("Image")  # an array or a tensor


def corrupt(image: Image, noise: Noise, rng: Any) -> Image:  # noqa: ANN401
    """Return a noisy image: a draw of the noise model, clipped to [0, 1].

    Args:
        image: Clean image, any shape, values in [0, 1]. What is returned is float64 for an array,
            float32 for a tensor.
        noise: A noise setting of the configuration: `distribution` and its own settings.
        rng: NumPy's generator for an array, a `noise.device_random.DeviceGenerator` for a tensor.
    """
    settings = dict(noise)
    distribution = importlib.import_module(f"distributions.{settings.pop('distribution')}")
    return distribution.draw(image, rng, **settings).clip(0, 1)


def gain_and_deviation(noise: Noise) -> tuple[float, float]:
    """Return the numbers of Poisson-Gaussian noise: its variance is `gain * x + deviation^2`.

    At a clean value x, before clipping; `deviation` is a standard deviation in grey levels.

    Raises:
        InputError: When the noise is of another kind.
    """
    settings = dict(noise)
    distribution = importlib.import_module(f"distributions.{settings.pop('distribution')}")
    found = getattr(distribution, "gain_and_deviation", lambda **_: None)(**settings)
    if found is None:
        fault = f"the noise setting {dict(noise)} is not given by a gain and a deviation"
        remedy = "name the noise settings that the method is for with `only`"
        raise InputError(f"{fault}; {remedy}")
    return found


# Simulated once for each noise model: the noisy values of evenly spread clean ones.
LEVELS, DRAWS = 65, 2**17


def simulated(noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """Return clean values from 0 to 1, shape (65,), and clipped draws of each, (65, 131072).

    The draws are the same in each process.
    """
    levels = np.linspace(0, 1, LEVELS)
    draws = np.empty((LEVELS, DRAWS), np.float32)
    for level, row in zip(levels, draws, strict=True):
        # The same generator for each level, so that the means rise as smoothly as they do in truth.
        row[:] = corrupt(np.full(DRAWS, level), noise, generator(0, "simulated"))
    return levels, draws


def clipped_mean(noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """Return clean values x and the mean of clip(x + noise) for each, which never falls.

    The mean of a clipped or shifted noise is not x: a filter that averages noisy pixels
    estimates this instead. Accurate to about .001 (65 values of 131,072 draws each).
    """
    levels, draws = simulated(noise)
    return levels, np.maximum.accumulate(draws.mean(axis=1, dtype=np.float64))


def clip_inversion(noise: Noise) -> Callable[[np.ndarray], np.ndarray]:
    """Return the clip-aware inversion of a noise model.

    It takes estimates of the mean of clipped noisy values, as denoisers give that average such
    values, and returns the clean values in [0, 1] of which they are the mean, of the same shape.
    What no clean value has as its mean becomes 0 or 1.
    """
    levels, means = clipped_mean(noise)
    means, first = np.unique(means, return_index=True)  # where the mean rises, it can be inverted
    return lambda estimate: np.interp(estimate, means, levels[first])


def linear_estimate(noise: Noise) -> tuple[float, float]:
    """Return slope and offset of the best linear guess of a clean value from its noisy one.

    Least squares over clean values that are uniform in [0, 1]; so this uses no images.

    Raises:
        InputError: When the noisy value does not depend on the clean one.
    """
    levels, draws = simulated(noise)
    if draws.min() == draws.max():
        raise InputError(f"the noise setting {dict(noise)} makes all images the same")
    means = draws.mean(axis=1, dtype=np.float64)
    variance = means.var() + np.mean([row.var(dtype=np.float64) for row in draws])
    slope = float(np.mean((levels - levels.mean()) * means) / variance)
    return slope, float(levels.mean() - slope * means.mean())
