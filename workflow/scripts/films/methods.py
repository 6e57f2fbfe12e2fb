"""A method that is told the noise of a film, as a function of an image, or of several at once."""

import importlib
from collections.abc import Callable
from functools import partial

import numpy as np

from films.anscombe import Anscombe

Denoise = Callable[[np.ndarray], np.ndarray]


def denoiser_of(
    plugin: str, model: str | None, gain: float, deviation: float, device: str = "cpu"
) -> Denoise:
    """Return a function that takes and returns images (H, W) or (N, H, W), float, in [0, 1].

    Args:
        plugin: Name of a file in `workflow/scripts/methods/`.
        model: The file of its network; None of a classical plug-in, which gets an image whose noise
            has been made the same everywhere, see `films.anscombe`.
        gain, deviation: The noise's variance is `gain * x + deviation^2` at the clean level x.
        device: Where a network runs: `cpu`, `cuda` or `auto`.

    Raises:
        InputError: When the model can't be used, or the noise is beyond its training.
    """
    return told_of(plugin, model, gain, deviation, device)(1)


def told_of(
    plugin: str, model: str | None, gain: float, deviation: float, device: str = "cpu"
) -> Callable[[float], Denoise]:
    """Return a method that has yet to be told how strong this noise is; see `denoiser_of`.

    It takes how many times the noise's standard deviation that is. A network is loaded only once.
    """
    if model is None:
        return partial(classical, plugin, gain, deviation)
    # By its name, as torch takes seconds to import, and the classical methods don't need it.
    network = importlib.import_module("training.inference").load(model, device)
    answers = partial(network.trained.estimates, network.processor)

    def told(strength: float) -> Denoise:
        noise = gain * strength**2, deviation * strength
        return lambda images: answers(stacked(images), noise).clip(0, 1).reshape(images.shape)

    return told


def stacked(images: np.ndarray) -> np.ndarray:
    """Return images (H, W) or (N, H, W) as (N, H, W)."""
    return images.reshape(-1, *images.shape[-2:])


def classical(plugin: str, gain: float, deviation: float, strength: float = 1) -> Denoise:
    """Return a classical plug-in that has `settings_for`, told the noise; see `denoiser_of`."""
    module, transform = importlib.import_module(f"methods.{plugin}"), Anscombe(gain, deviation)
    noise = {"distribution": "gaussian", "factor": transform.sigma, "mean": 0, "std": 1}
    settings = module.settings_for(strength * transform.sigma)

    def denoise(images: np.ndarray) -> np.ndarray:
        found = module.denoise(transform.forward(stacked(images)), noise, settings)
        return np.float32(transform.inverse(found)).reshape(images.shape)

    return denoise
