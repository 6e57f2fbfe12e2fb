"""A method that is told the noise of a film, as a function of an image."""

import importlib
from collections.abc import Callable

import numpy as np

from films.anscombe import Anscombe

Denoise = Callable[[np.ndarray], np.ndarray]


def denoiser_of(
    plugin: str, model: str | None, gain: float, deviation: float, device: str = "cpu"
) -> Denoise:
    """Return a function that takes and returns an image (H, W), float, in [0, 1].

    Args:
        plugin: Name of a file in `workflow/scripts/methods/`.
        model: The file of its network; None of a classical plug-in, which gets an image whose noise
            has been made the same everywhere, see `films.anscombe`.
        gain, deviation: The noise's variance is `gain * x + deviation^2` at the clean level x.
        device: Where a network runs: `cpu`, `cuda` or `auto`.

    Raises:
        InputError: When the model can't be used, or the noise is beyond its training.
    """
    if model is None:
        return classical(plugin, gain, deviation)
    # By its name, as torch takes seconds to import, and the classical methods don't need it.
    network = importlib.import_module("training.inference").load(model, device)
    return lambda image: np.float32(network(image, gain=gain, deviation=deviation))


def classical(plugin: str, gain: float, deviation: float, strength: float = 1) -> Denoise:
    """Return a classical plug-in that has `settings_for`, told the noise; see `denoiser_of`.

    With a `strength` other than 1 it is told so many times the noise's standard deviation.
    """
    module, transform = importlib.import_module(f"methods.{plugin}"), Anscombe(gain, deviation)
    noise = {"distribution": "gaussian", "factor": transform.sigma, "mean": 0, "std": 1}
    settings = module.settings_for(strength * transform.sigma)

    def denoise(image: np.ndarray) -> np.ndarray:
        found = module.denoise(transform.forward(image)[None], noise, settings)[0]
        return np.float32(transform.inverse(found))

    return denoise
