"""The noise models: one function a distribution, found by its name in the configuration.

To add a distribution, add a function here and what it accepts to `workflow/schemas/noise.yaml`.
"""

from collections.abc import Callable, Mapping

import numpy as np


def gaussian(
    rng: np.random.Generator, shape: tuple[int, ...], *, mean: float, std: float
) -> np.ndarray:
    """Return independent draws of the normal distribution, in units of the noise factor."""
    return rng.normal(mean, std, shape)


def poisson(rng: np.random.Generator, shape: tuple[int, ...], **settings: float) -> np.ndarray:
    """Return independent draws of the Poisson distribution, in units of the noise factor.

    The draws do not depend on the signal, as in the published experiment: this is additive noise
    on the lattice 0, 1, 2, ..., not the quantum noise of a detector.
    """
    return rng.poisson(settings["lambda"], shape).astype(float)


DISTRIBUTIONS: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function for function in (gaussian, poisson)
}


def corrupt(
    image: np.ndarray, noise: Mapping[str, float | str], rng: np.random.Generator
) -> np.ndarray:
    """Return `clip(image + factor * n, 0, 1)`, `n` drawn from the noise model.

    Args:
        image: Clean image, any shape, values in [0, 1].
        noise: A noise setting of the configuration: `distribution`, `factor` and the
            distribution's own settings.
        rng: Where the draws come from.

    Returns:
        The noisy image, float64, of the same shape, values in [0, 1].
    """
    settings = dict(noise)
    distribution = DISTRIBUTIONS[str(settings.pop("distribution"))]
    factor = settings.pop("factor")
    return np.clip(image + factor * distribution(rng, image.shape, **settings), 0, 1)


def described(noise: Mapping[str, float | str]) -> str:
    """Return a noise setting but its factor in words, such as `Gaussian (mean 0, std 1)`."""
    settings = (f"{k} {v}" for k, v in noise.items() if k not in ("distribution", "factor"))
    return f"{str(noise['distribution']).capitalize()} ({', '.join(settings)})"
