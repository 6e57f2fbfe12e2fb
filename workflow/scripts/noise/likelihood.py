"""Likelihoods of clipped noisy values: what the distributions' `log_likelihood` are made of.

A noisy value is clipped to [0, 1]. So at 0 and at 1 it has a probability, and between them a
density; both are called likelihood here. Likelihoods of one noisy value can be compared over clean
values, and multiplied with a density of these.

Some noise has no density: it moves a pixel by whole steps, or not at all. There a noisy value says
exactly which clean values it can come from, and the levels of a grid would hardly ever be among
them. So each clean value given here stands for those around it: their density falls in a straight
line to nothing at a distance `spread`. Over the levels of a grid that are `spread` apart these
densities add up to a straight line from level to level.
"""

import importlib
from collections.abc import Mapping

import numpy as np
from scipy.special import gammaln, log_ndtr, xlogy

from engine.messages import InputError

LOG_ROOT = 0.5 * np.log(2 * np.pi)


def log_likelihood(
    noise: Mapping[str, float | str], observed: np.ndarray, clean: np.ndarray, spread: float
) -> np.ndarray:
    """Return the logarithm of the likelihood of noisy values under a noise setting.

    Args:
        noise: A noise setting of the configuration: `distribution` and its own settings.
        observed: Noisy values in [0, 1], after clipping.
        clean: Clean values in [0, 1], of a shape that fits.
        spread: How far around each clean value lie those that it stands for, grey levels; more
            than 0, and as good as nothing where the noise has a density and this is far less than
            its standard deviation.

    Returns:
        Float64, of the common shape; -inf where it can't be.

    Raises:
        InputError: When the distribution's file says no likelihood.
    """
    settings = dict(noise)
    name = settings.pop("distribution")
    found = getattr(importlib.import_module(f"distributions.{name}"), "log_likelihood", None)
    if found is None:
        fault = f"the method needs the likelihood of the noise, which {name} does not say"
        remedy = f"write log_likelihood in workflow/scripts/distributions/{name}.py, or name the"
        raise InputError(f"{fault}; {remedy} noise settings that the method is for with `only`")
    observed, clean = (np.asarray(each, np.float64) for each in (observed, clean))
    with np.errstate(divide="ignore", under="ignore"):  # the logarithm of nothing
        return found(observed, clean, spread, **settings)


def by_place(
    observed: np.ndarray,
    black: np.ndarray | float,
    between: np.ndarray | float,
    white: np.ndarray | float,
) -> np.ndarray:
    """Return `black` where a noisy value is 0, `white` where it is 1, `between` elsewhere."""
    return np.where(observed <= 0, black, np.where(observed >= 1, white, between))


def log_normal(observed: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return the logarithm of the likelihood of clip(y, 0, 1), y normal.

    Args:
        observed: Clipped values in [0, 1].
        mean, deviation: Of y; the deviation is more than 0.
    """
    between = -0.5 * ((observed - mean) / deviation) ** 2 - np.log(deviation) - LOG_ROOT
    black, white = log_ndtr(-mean / deviation), log_ndtr((mean - 1) / deviation)
    return by_place(observed, black, between, white)


def widened(deviation: np.ndarray | float, spread: float) -> np.ndarray:
    """Return the standard deviation of normal noise and of what a clean value stands for."""
    return np.hypot(deviation, spread / np.sqrt(6))


def near(observed: np.ndarray, centre: np.ndarray, spread: float) -> np.ndarray:
    """Return the likelihood of clip(y, 0, 1), y spread around `centre`, see above.

    Args:
        observed: Clipped values in [0, 1].
        centre: Where the density of y is highest.
        spread: Half the width of its density, a triangle.
    """
    between = np.maximum(1 - np.abs(observed - centre) / spread, 0) / spread
    return by_place(observed, below(-centre / spread), between, below((centre - 1) / spread))


def below(place: np.ndarray) -> np.ndarray:
    """Return the share of a triangle from -1 to 1 that is below a place."""
    place = np.clip(place, -1, 1)
    return np.where(place < 0, (1 + place) ** 2 / 2, 1 - (1 - place) ** 2 / 2)


def log_poisson(count: np.ndarray | float, expected: np.ndarray | float) -> np.ndarray:
    """Return the logarithm of the probability of a count of the Poisson distribution."""
    return xlogy(count, expected) - expected - gammaln(np.add(count, 1.0))
