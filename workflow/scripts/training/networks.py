"""Trained networks, and what they make of images of any size."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.messages import InputError, log
from files.tensors import load_tensors
from noise.models import Noise
from noise.ranges import Ranges, ranges_in
from training.processor import EVALUATED, Processor


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network, and what it was made of.

    Attributes:
        network: In evaluation mode; its weights want no gradients.
        plugin: Name of its file in `workflow/scripts/methods/`.
        settings: The plug-in's settings.
        noise: The noise setting that it was trained for.
        cost: What its training cost: `parameters`, `training_images`, `training_seconds`.
        multiple: What the height and the width of its images must be multiples of.
        conditioned: Whether it is told the gain and the deviation of the noise as well.
        ranges: From and to of the gain and of the deviation in its training, if it is conditioned.
        learned_from: The data set whose images trained it, if the file says so.
        warnings: What it has warned of, which is said once.
    """

    network: nn.Module
    plugin: str
    settings: Mapping[str, Any]
    noise: Noise
    cost: Mapping[str, float]
    multiple: int
    conditioned: bool
    ranges: Ranges
    learned_from: str | None
    warnings: set[str] = field(default_factory=set, init=False)

    def require(self, plugin: str, learned_from: str, noise: Noise) -> None:
        """Refuse a network that is not what a method's entry says of its `model`.

        Raises:
            InputError: When it is one of another plug-in, learned from other images, or was trained
                for another noise than this one.
        """
        if plugin != self.plugin:
            fault = f"the method's model is a network of {self.plugin}, not of {plugin}"
            raise InputError(f"{fault}: set `plugin: {self.plugin}`")
        if self.learned_from not in (None, learned_from):
            fault = f"the method's model learned from {self.learned_from}, not from {learned_from}"
            raise InputError(f"{fault}: set `trained_on: {self.learned_from}`")
        if not self.conditioned and noise != self.noise:
            fault = f"the method's model was trained for the noise {dict(self.noise)}"
            raise InputError(f"{fault}, not for {dict(noise)}: name its noise settings with `only`")

    def estimates(
        self, processor: Processor, images: np.ndarray, noise: tuple[float, float] | None = None
    ) -> np.ndarray:
        """Return what the network estimates of images of any height and width.

        Images are reflected at the bottom and on the right up to the next multiple. Where there is
        nothing to add, the network sees the images as they are.

        Args:
            processor: Where the network runs.
            images: Shape (N, H, W), values in [0, 1].
            noise: Gain and deviation, for a conditioned network: the noise of a clean value x has
                the variance `gain * x + deviation**2`. Without, they are estimated of each image.

        Returns:
            Images of the same shape, in single precision.

        Raises:
            InputError: When the noise is stronger than in its training.
        """
        if self.conditioned and noise is None:
            noises = (self.nearest(*estimated(image)) for image in images)
            found = [
                self.estimates(processor, image[None], each)
                for image, each in zip(images, noises, strict=True)
            ]
            return np.concatenate(found)
        if noise is not None:
            self.require_range(*noise)
        network = self.network if noise is None else Informed(self.network, *noise)
        height, width = images.shape[1:]
        added = (0, 0), (0, -height % self.multiple), (0, -width % self.multiple)
        padded = np.pad(images, added, mode="reflect")
        if len(padded) == 1 and 2 * padded.size <= EVALUATED[processor.device.type]:
            # The last digits of a small image differ when it is alone, since PyTorch then computes
            # it in another way. So there are always two, as where the workflow has many.
            padded = padded.repeat(2, axis=0)
        found = processor.evaluated(network, padded)
        return found[: len(images), :height, :width].cpu().numpy()

    def require_range(self, gain: float, deviation: float) -> None:
        """Refuse noise stronger than in the training; warn of noise weaker than there.

        Raises:
            InputError: When gain or deviation is greater than all in the training.
        """
        (least_gain, most_gain), (least_deviation, most_deviation) = self.ranges
        fault = f"the noise has a gain of {gain:.3g} and a deviation of {deviation:.3g}"
        known = f"gains from {least_gain:.3g} to {most_gain:.3g} and "
        known += f"deviations from {least_deviation:.3g} to {most_deviation:.3g}"
        if gain > most_gain or deviation > most_deviation:
            raise InputError(f"{fault}; the network was trained for {known}: take another one")
        if gain < least_gain and deviation < least_deviation:
            warning = f"{fault}, weaker than in the network's training ({known})"
            if warning not in self.warnings:  # else for each batch, or each tile of a film
                self.warnings.add(warning)
                log.warning("%s", warning)

    @property
    def strongest(self) -> tuple[float, float]:
        """The greatest gain and deviation of the training, of [0, 1]; for trials."""
        return min(self.ranges[0][1], 1.0), min(self.ranges[1][1], 1.0)

    def nearest(self, gain: float, deviation: float) -> tuple[float, float]:
        """Return an estimate of the noise, or the strongest noise of the training if it is more."""
        most = self.ranges[0][1], self.ranges[1][1]
        if gain > most[0] or deviation > most[1]:
            seems = f"gain {gain:.3g}, deviation {deviation:.3g}"
            log.warning("the noise of an image seems stronger than in training (%s)", seems)
        return min(gain, most[0]), min(deviation, most[1])


class Informed(nn.Module):
    """A conditioned network for one noise, which it is told with each image."""

    def __init__(self, network: nn.Module, gain: float, deviation: float) -> None:
        super().__init__()
        self.network, self.noise = network, (gain, deviation)

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        shape = (len(noisy), 1, 1, 1)
        return self.network(noisy, *(noisy.new_full(shape, value) for value in self.noise))


def estimated(image: np.ndarray) -> tuple[float, float]:
    """Return the gain and the deviation of the noise of an image of shape (H, W).

    Logs a warning when the noise is none that these two numbers describe.

    Raises:
        InputError: When nothing can be said of this image.
    """
    # By its name, as plug-ins are, so that no other network depends on this code.
    estimate_noise = importlib.import_module("noise.estimation").estimate_noise
    try:
        found = estimate_noise(image)
    except InputError as error:
        fault = f"the noise of an image can't be estimated ({error})"
        raise InputError(f"{fault}; give the network its gain and deviation") from error
    if not found.fits:
        log.warning("the noise of an image is of another kind: %s", "; ".join(found.reasons))
    return found.gain, found.deviation


def network_of(saved: Mapping[str, Any], path: str) -> Trained:
    """Return the trained network of what a model's file holds.

    Args:
        saved: `plugin`, `settings`, `noise`, `cost` and `weights`, as a training saves them.
        path: The file, for messages.

    Raises:
        InputError: When this is no model, or one that this code does not fit.
    """
    try:
        plugin = importlib.import_module(f"methods.{saved['plugin']}")
        network = plugin.build_network(saved["settings"], saved["noise"])
        network.load_state_dict(saved["weights"])
        if not all(bool(w.isfinite().all()) for w in network.state_dict().values()):
            raise ValueError("some of its weights are no numbers")
        return Trained(
            network=network.eval().requires_grad_(False),
            plugin=saved["plugin"],
            settings=saved["settings"],
            noise=saved["noise"],
            cost=saved["cost"],
            multiple=getattr(plugin, "IMAGE_SIZE_MULTIPLE", 1),
            conditioned=getattr(plugin, "CONDITIONED", False),
            ranges=ranges_in(saved.get("training", {})),
            learned_from=saved.get("learned_from"),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError, ImportError, RuntimeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise InputError(f"{path} holds no model of this workflow ({reason[:200]})") from error


def trained_network(model: str | Path, given: bool = False) -> Trained:
    """Return the network in the file `model`.

    Args:
        model: What a training of this workflow saved; a given one may be a `.safetensors` file.
        given: Whether a user named the file, and no rule makes it.

    Raises:
        InputError: When the file holds no model, or one that this code does not fit.
    """
    # By its name, so that networks which are trained here do not depend on this code.
    load = importlib.import_module("files.models").load_model if given else load_tensors
    try:
        return network_of(load(model), str(model))
    except InputError as error:
        remedy = "delete it and run the same command again: it is trained again"
        if given:
            remedy = "give a file of this workflow as the method's `model`"
        raise InputError(f"{error}; {remedy}") from error
