"""Impulse noise: some pixels become black or white."""

import numpy as np

# Of the pixels, half of which become 0 and half 1.
SETTINGS = {"share": {"type": "number", "minimum": 0, "maximum": 1}}


def draw(image: np.ndarray, rng: np.random.Generator, *, share: float) -> np.ndarray:
    """Return the image with each pixel replaced with probability `share`."""
    drawn = rng.random(image.shape)
    return image * (drawn >= share) + 1.0 * (drawn < share / 2)
