"""Trained networks without the workflow: a model's file becomes a function of an image."""

from numbers import Real
from pathlib import Path

import numpy as np

from engine.messages import InputError
from files.models import load_model
from training.devices import torch_device
from training.networks import Trained, network_of
from training.processor import Processor

DEVICES = ("cpu", "cuda", "auto")


def load(path: str | Path, device: str = "cpu") -> "Denoiser":
    """Return the trained network in a file, as a function of an image.

    Args:
        path: A model that a run saved, `results/<run>/models/<noise>/<method>.pt`, or a
            `.safetensors` file that `workflow/tools/release.py` made. No code in the file is run.
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one.

    Raises:
        InputError: When the file holds no model, or there is no such device.
    """
    if device not in DEVICES:
        raise InputError(f"device: {device!r} is not allowed; allowed: {', '.join(DEVICES)}")
    return Denoiser(network_of(load_model(path), str(path)), Processor(torch_device(device)))


class Denoiser:
    """A trained network, called with a noisy image: `clean = denoise(noisy)`.

    It computes in single precision what the workflow computes, in the same code. Images of any size
    keep it.

    Attributes:
        plugin: Name of the network's file in `workflow/scripts/methods/`.
        settings: The plug-in's settings.
        noise: The noise setting that the network was trained for.
        conditioned: Whether it can be told the gain and the deviation of the noise.
        trained: The network itself, and what its training cost.
    """

    def __init__(self, trained: Trained, processor: Processor) -> None:
        self.trained, self.processor = trained, processor
        self.plugin, self.settings, self.noise = trained.plugin, trained.settings, trained.noise
        self.conditioned = trained.conditioned

    def __call__(
        self, noisy: np.ndarray, *, gain: float | None = None, deviation: float | None = None
    ) -> np.ndarray:
        """Return an image without its noise.

        Args:
            noisy: Shape (H, W), of any floating-point type, values in [0, 1].
            gain: For a conditioned network: the noise of a clean value x has the variance
                `gain * x + deviation**2`. Without both they are estimated of the image, and a
                warning is logged if its noise is not of this kind.
            deviation: See `gain`; grey levels of [0, 1].

        Returns:
            Shape (H, W), float64, values in [0, 1].

        Raises:
            InputError: When this is no such image, or the network takes no gain and deviation.
        """
        image, noise = checked(noisy), self._told(gain, deviation)
        found = self.trained.estimates(self.processor, image[None], noise)[0]
        return np.clip(found, 0, 1).astype(np.float64)

    def _told(self, gain: float | None, deviation: float | None) -> tuple[float, float] | None:
        """Return the noise that the caller gave, if it did."""
        given = {"gain": gain, "deviation": deviation}
        if all(value is None for value in given.values()):
            return None
        if not self.conditioned:
            raise InputError(
                f"a network of {self.plugin} takes no gain and no deviation: it was trained for "
                f"one noise, {dict(self.noise)}; leave them out"
            )
        for name, value in given.items():
            if not isinstance(value, Real) or not 0 <= value < np.inf:
                allowed = "give a number of 0 or more for both, or leave both out"
                raise InputError(f"{name}: {value!r} is not allowed; {allowed}")
        return float(gain), float(deviation)


def checked(noisy: np.ndarray) -> np.ndarray:
    """Return an image of shape (H, W) with values in [0, 1], as it is.

    Raises:
        InputError: When it is none; the message says what to do.
    """
    image = np.asarray(noisy)
    if image.ndim != 2:
        fault = f"the image has the shape {image.shape}"
        if image.ndim == 3 and image.shape[-1] in (3, 4):
            raise InputError(f"{fault}, as colours have: convert it to grey")
        raise InputError(f"{fault}, not (height, width): give one grey image at a time")
    if not image.size:
        raise InputError(f"the image has the shape {image.shape}: it has no pixels")
    if not np.issubdtype(image.dtype, np.floating):
        fault = f"the image has values of type {image.dtype}, not numbers in [0, 1]"
        raise InputError(f"{fault}: divide it by its level of white, such as 255 for 8 bits")
    if not np.isfinite(image).all():
        count = np.count_nonzero(~np.isfinite(image))
        raise InputError(f"{count} of the image's values are NaN or infinite: replace them")
    least, greatest = image.min(), image.max()
    if least < 0 or greatest > 1:
        fault = f"the image has values from {least:.9g} to {greatest:.9g}, not in [0, 1]"
        raise InputError(f"{fault}: divide it by its level of white, and clip what is beyond")
    return image
