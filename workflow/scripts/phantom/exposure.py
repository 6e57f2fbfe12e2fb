"""From thicknesses to the grey of a film: Beer-Lambert, scatter, point spread, film."""

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.transform import resize

from phantom.rays import ATTENUATION, BEAM, FILM, Array, Rays
from phantom.subject import Subject, rotated

VEIL = 0.010  # scatter that reaches the whole film, as a share of the unattenuated beam
GLOW = 0.04  # scatter from nearby, as a share of the primary beam around a place
GLOW_RADIUS = 25.0  # mm, standard deviation of that neighbourhood
SPEED = 3.20  # logarithm of the attenuation at which the characteristic curve bends
TOE = 0.5  # below 1 the dense end of the characteristic curve is longer than its clear end


def transmission(path: dict[str, Array]) -> Array:
    """Return the share of the beam that passes (Beer-Lambert), for thicknesses `path` in cm."""
    shares = [
        share * np.exp(-sum(ATTENUATION[m][energy] * t for m, t in path.items()))
        for energy, share in enumerate(BEAM)
    ]
    return np.sum(shares, axis=0)


def film_frame(rays: Rays, subject: Subject) -> Array:
    """Return how much of the beam reaches each pixel: none on the frame and its notches."""
    x, y = np.broadcast_arrays(rays.x, rays.y)
    turned = rotated(np.stack([x.ravel(), y.ravel()], 1), FILM / 2, subject.film_tilt)
    x, y = (turned - subject.film_shift).T.reshape(2, *x.shape)

    def step(value: Array) -> Array:
        return np.clip(value / rays.pixel.max() + 0.5, 0, 1)

    inside = step(x - 1.6) * step(FILM[0] + 1 - x) * step(y - 2.8) * step(FILM[1] + 0.6 - y)
    rim = 1 - step(y - 9.5) * step(FILM[1] - 4.6 - y)
    for left in (46.5, 92.5, 138.5):
        inside = inside * (1 - step(x - left) * step(left + 12.5 - x) * rim)
    # The stamp of the film number lets light through the frame, letter by letter.
    letters = step(x - 2) * step(26 - x) * step(y - 0.6) * step(4.2 - y)
    return np.maximum(inside, 0.55 * letters * (np.sin(2.1 * x) > -0.2))


def expose(rays: Rays, subject: Subject) -> Array:
    """Return the film's grey in [0, 1] for traced rays: scatter, point spread, film, display."""
    primary = transmission(rays.path)
    frame = film_frame(rays, subject)
    coarse = max(1, len(primary) // 64)
    blocks = primary[::coarse, ::coarse]  # the glow is so wide that a coarse grid holds it
    glow = gaussian_filter(blocks, GLOW_RADIUS / (coarse * rays.pixel[::-1]))
    scatter = VEIL + GLOW * resize(glow, primary.shape)
    beam = gaussian_filter((primary + scatter) * frame, subject.blur / rays.pixel[::-1])
    # Characteristic curve: density saturates where much light falls and vanishes where none does.
    exposure = beam * np.exp(SPEED + subject.exposure)
    density = 1 - (1 + exposure**subject.gamma) ** -TOE
    return np.clip(1 - (1 - subject.fog) * density, 0, 1)
