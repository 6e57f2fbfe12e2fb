"""Random deformations of training images, so that a network learns less by heart what they show."""

import math

import torch
from torch.nn.functional import grid_sample

from noise.device_random import DeviceGenerator

TURN = math.radians(8)  # standard deviations: of the turn,
SCALE = 0.12  # of the logarithm of the scale,
ASPECT = 0.06  # of the logarithm of the ratio of width to height,
SHIFT = 0.03  # of the shift, in widths of the image,
TONE = 0.15  # and of the logarithm of both exponents of the tone curve
BENT = 4 / 128  # largest standard deviation of the displacement by bending, in widths of the image
EDGE = 1 / 8  # in widths of the image: within this distance of its edge less is moved
CELLS = 8  # points that are displaced across the image, and what is between them smoothly

# Texture: widths of its parts, an octave apart, standard deviations of a normal curve in pixels.
WIDTHS = (0.7, 1.4, 2.8, 5.6)


def deformed(
    images: torch.Tensor, rng: DeviceGenerator, places: torch.Tensor | None = None
) -> torch.Tensor:
    """Return images turned, scaled, shifted and bent, each in its own way, with other tones.

    The edge of an image stays where it is, since a film's frame does. Waits for nothing on a GPU.

    Args:
        images: Shape (N, 1, H, W), values in [0, 1].
        rng: Draws all that differs.
        places: The points of the deformed images that are wanted, shape (N, h, w, 2), as for
            `sampled`; default: all pixels.

    Returns:
        Shape (N, 1, h, w).
    """
    count = len(images)
    places = pixels(images) if places is None else places

    def drawn(deviation: float, *size: int) -> torch.Tensor:
        return rng.normal(0.0, deviation, (count, *(size or (1, 1))))

    x, y = places.unbind(-1)  # from -1 to 1, which is one width
    angle, aspect, smaller = drawn(TURN), drawn(ASPECT).exp(), (-drawn(SCALE)).exp()
    cos, sin = smaller * angle.cos(), smaller * angle.sin()
    turned = torch.stack((cos * x * aspect - sin * y, sin * x + cos * y / aspect), -1)
    move = turned - places + 2 * drawn(SHIFT, 1, 1, 2) + 2 * bends(places, rng)
    inside = ((1 - torch.maximum(x.abs(), y.abs())) / (2 * EDGE)).clamp(0, 1)
    moved = sampled(images, places + (inside**2 * (3 - 2 * inside))[..., None] * move)
    light, dark = (drawn(TONE, 1, 1, 1).exp() for _ in range(2))
    return 1 - (1 - moved**light) ** dark


def pixels(images: torch.Tensor) -> torch.Tensor:
    """Return the places (N, H, W, 2) of the pixels of images of shape (N, 1, H, W)."""
    down, right = (
        torch.linspace(1 / n - 1, 1 - 1 / n, n, device=images.device) for n in images.shape[-2:]
    )
    y, x = torch.meshgrid(down, right, indexing="ij")
    return torch.stack((x, y), -1).expand(len(images), -1, -1, -1)


def sampled(images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return images at some places, by bicubic interpolation, clipped to [0, 1].

    Args:
        images: Shape (N, 1, H, W), values in [0, 1].
        places: Right and down, shape (N, h, w, 2); the image's edges are at -1 and 1.

    Returns:
        Shape (N, 1, h, w).
    """
    return grid_sample(images, places, "bicubic", "reflection", align_corners=False).clamp(0, 1)


def bends(places: torch.Tensor, rng: DeviceGenerator) -> torch.Tensor:
    """Return smooth displacements at places of shape (N, H, W, 2), in widths of the image."""
    count = len(places)
    strength = BENT * rng.random((count, 1, 1, 1))
    points = strength * rng.normal(0.0, 1.0, (count, 2, CELLS + 1, CELLS + 1))
    bent = grid_sample(points, places, "bicubic", "border", align_corners=True)
    return bent.permute(0, 2, 3, 1)


def textured(
    images: torch.Tensor, deviation: float, pixel: torch.Tensor, rng: DeviceGenerator
) -> torch.Tensor:
    """Return images with texture, such as a film's grain, that belongs to them and is no noise.

    Normal noise of some octaves, each of another strength in each image; less where film is nearly
    black or white. A larger pixel averages it.

    Args:
        images: Shape (N, 1, H, W), values in [0, 1].
        deviation: The greatest standard deviation of an octave where a pixel has width 1, grey
            levels.
        pixel: Width of the pixels of each image, shape (N,).
        rng: Draws all that differs.
    """
    pixel, power = pixel.view(-1, 1, 1, 1), 0
    down, right = (torch.fft.fftfreq(n, device=images.device) for n in images.shape[-2:])
    frequency = (down[:, None] ** 2 + right**2).sqrt() / pixel
    for width in WIDTHS:
        strength = deviation * rng.random((len(images), 1, 1, 1))
        curve = (-((math.tau * width * frequency) ** 2)).exp()
        power = power + 4 * math.pi * (strength * width / pixel) ** 2 * curve
    white = torch.fft.fft2(rng.normal(0.0, 1.0, images.shape))
    texture = torch.fft.ifft2(white * power.sqrt()).real
    return (images + texture * (4 * images * (1 - images)).sqrt()).clamp(0, 1)
