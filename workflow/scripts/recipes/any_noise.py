"""Training for noise of any strength in a range, which the network is told: fresh noise each step.

Poisson-Gaussian noise; gain and deviation are drawn for each image. The network sees patches, at
several times the images' resolution, at their own, at half of it, and so on, since it is to be used
on images of any size. Texture can be added to them, if the images have less of it than those that
it is for. Loss and optimizer are those of `supervised`.
"""

import math

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, mse_loss

from distributions import poisson_gaussian
from engine.messages import InputError
from noise.device_random import DeviceGenerator
from noise.models import gain_and_deviation
from recipes.supervised import BUDGET, Supervised, flipped
from training.augmentation import deformed, sampled, textured

POWER = 0.5  # of the standard deviation, which is drawn evenly for whole images
DATA = "clean"
USES = ["clean images", "noise model"]
SETTINGS = BUDGET | {
    "augmentation": {"enum": ["flips", "deformations"], "default": "flips"},
    "patch": {"type": "integer", "minimum": 16, "description": "height and width, pixels"},
    # The highest resolution of patches, relative to that of the images.
    "magnification": {"enum": [2, 4], "default": 2},
    # Added at that resolution: the greatest standard deviation of an octave, grey levels.
    "texture": {"type": "number", "minimum": 0, "maximum": 0.1, "default": 0},
    # From and to: variance at value 1: 1 / dose.
    "gain": {
        "type": "array",
        "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "minItems": 2,
        "maxItems": 2,
    },
    # From and to: standard deviation of the read-out noise, grey levels.
    "deviation": {
        "type": "array",
        "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "minItems": 2,
        "maxItems": 2,
    },
}


class AnyNoise(Supervised):
    """The network takes a noisy image, the gain and the deviation of its noise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sides = self.images["clean"].shape[-2:]
        if min(sides) < self.settings["patch"]:
            fault = f"patch: {self.settings['patch']} is more than the images' {min(sides)} pixels"
            raise InputError(f"{fault}; set a smaller one in the method's training")
        for key, value in zip(("gain", "deviation"), gain_and_deviation(self.noise), strict=True):
            low, high = self.settings[key]
            if low > high:
                raise InputError(f"{key}: from {low} to {high} is no range; give the smaller first")
            if value > high:
                fault = f"{key}: the noise setting {dict(self.noise)} has {value:.3g}"
                remedy = "train up to that, or name the noise settings it is for with `only`"
                raise InputError(f"{fault}, more than {high}, the greatest in training; {remedy}")

    def losses(self) -> tuple[torch.Tensor, torch.Tensor]:
        images = flipped(self.batch_of("clean"), self.rng)
        side, *shown = (self.settings[key] for key in ("patch", "magnification", "texture"))
        found, whole = patches(images, side, self.rng, self.deforms(), *shown)
        clean, whole = self.processor.batch(found.squeeze(1)), whole.view(-1, 1, 1, 1)
        gain = self.strength(*(each**0.5 for each in self.settings["gain"]), whole) ** 2
        deviation = self.strength(*self.settings["deviation"], whole)
        return losses_told(self, self.network, clean, gain, deviation)

    def strength(self, low: float, high: float, whole: torch.Tensor) -> torch.Tensor:
        """Return a number for each image of a step, shape (batch, 1, 1, 1).

        Log-uniform for parts of images. Whole images, at the lowest resolution, are the ones from
        which there is most to learn with strong noise: it is drawn more often there.
        """
        share = self.rng.random(whole.shape)
        even = (low**POWER + share * (high**POWER - low**POWER)) ** (1 / POWER)
        return torch.where(whole, even, low * (high / low) ** share)


def losses_told(
    recipe: Supervised,
    network: nn.Module,
    clean: torch.Tensor,
    gain: torch.Tensor,
    deviation: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a recipe's losses for a network that is told the noise, which is drawn here.

    Args:
        recipe: Draws the noise, and has the loss.
        network: Takes noisy images, gain and deviation.
        clean: Shape (N, 1, H, W).
        gain, deviation: Of the noise of each image, shape (N, 1, 1, 1).
    """
    noise = {"dose": 1 / gain, "electronic": deviation}
    noisy = poisson_gaussian.draw(clean, recipe.rng, **noise).clamp(0, 1)
    output = recipe.processor.output(network, noisy, gain, deviation)
    return recipe.loss(output, clean), mse_loss(output.detach(), clean)


def patches(
    images: torch.Tensor,
    side: int,
    rng: DeviceGenerator,
    deforms: bool,
    magnification: int = 2,
    texture: float = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a patch of each image, in half of the cases of the image at its lowest resolution.

    The resolutions are `magnification` times the image's (interpolated), half of that, and so on,
    as long as a patch fits into the image; those but the lowest have even chances.

    Args:
        images: Shape (N, 1, H, W), at least as large as a patch.
        side: Height and width of a patch, pixels.
        rng: Draws where, and at which resolution.
        deforms: Whether the images are deformed, each in its own way.
        magnification: 2 or 4.
        texture: Greatest standard deviation of an octave at the highest resolution, see `textured`.

    Returns:
        The patches, shape (N, 1, side, side), and which are of the lowest resolution, shape (N,).
    """

    def patch(of: torch.Tensor, spacing: float) -> torch.Tensor:
        places = windows(of, side, spacing, rng)
        return deformed(of, rng, places) if deforms else sampled(of, places)

    count, found = len(images), []
    while magnification > 1:
        found.append(patch(images, 1 / magnification))
        magnification //= 2
    while min(images.shape[-2:]) >= side:
        found.append(patch(images, 1.0))
        images = avg_pool2d(images, 2)
    higher = rng.integers(0, len(found) - 1, (count,))
    whole = rng.random((count,)) < 0.5
    chosen = torch.where(whole, len(found) - 1, higher)
    shown = torch.stack(found, 1)[torch.arange(count, device=images.device), chosen]
    return textured(shown, texture, 2.0**chosen, rng) if texture else shown, whole


def windows(images: torch.Tensor, side: int, spacing: float, rng: DeviceGenerator) -> torch.Tensor:
    """Return the places of a patch of each image, shape (N, side, side, 2), as for `sampled`.

    The patch's pixels are `spacing` pixels of the image apart.
    """
    within = (torch.arange(side, device=images.device) + 0.5) * spacing
    down, right = (
        rng.integers(0, length - math.ceil(side * spacing) + 1, (len(images), 1)) + within
        for length in images.shape[-2:]
    )
    down, right = (2 * at / n - 1 for at, n in zip((down, right), images.shape[-2:], strict=True))
    sizes = (-1, side, side)
    return torch.stack((right[:, None].expand(sizes), down[:, :, None].expand(sizes)), -1)
