"""The noise of a linear X-ray detector: quantum noise, which depends on the signal, and electronic.

Source: A. Foi et al., Practical Poissonian-Gaussian noise modeling and fitting for single-image
raw-data, IEEE Transactions on Image Processing 17(10), 2008.
"""

import numpy as np
from scipy.special import ndtr, pdtrc

from noise.likelihood import LOG_ROOT, by_place, log_normal, log_poisson, widened

SETTINGS = {
    # Quanta that a pixel of value 1 counts.
    "dose": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000000000},
    "electronic": {"type": "number", "minimum": 0},  # standard deviation, grey levels of [0, 1]
}
MANY = 500  # quanta: of more, a normal distribution stands for their counts


def draw(
    image: np.ndarray, rng: np.random.Generator, *, dose: float, electronic: float
) -> np.ndarray:
    """Return Poisson counts of mean `dose * image` over the dose, plus normal electronic noise.

    The variance is image / dose + electronic^2. The grey level stands for the detector's linear
    signal, before any curve for display.
    """
    return rng.poisson(dose * image) / dose + rng.normal(0, electronic, image.shape)


def gain_and_deviation(*, dose: float, electronic: float) -> tuple[float, float]:
    """Return the numbers of which the variance is `gain * x + deviation^2`."""
    return 1 / dose, electronic


def log_likelihood(
    observed: np.ndarray, clean: np.ndarray, spread: float, *, dose: float, electronic: float
) -> np.ndarray:
    """Return the logarithm of the likelihood of clipped values, see `noise.likelihood`.

    A sum over counts, which for a dose of more than `MANY` are taken as normal. Without electronic
    noise, values lie on the lattice of the counts: a value between 0 and 1 has a probability then,
    and one beside the lattice has that of the nearest point. The clean values that `clean` stands
    for are not spread, since a count comes from all of them.
    """
    if dose > MANY:
        deviation = np.sqrt(clean / dose + electronic**2)
        return log_normal(observed, clean, widened(deviation, spread))
    expected = dose * clean
    if not electronic:
        white = np.log(pdtrc(np.ceil(dose) - 1, expected))
        return by_place(
            observed,
            log_poisson(0, expected),
            log_poisson(np.rint(dose * observed), expected),
            white,
        )
    # Taken out of the sum, so that far from all counts it does not vanish.
    nearest = 0.5 * ((observed - np.rint(dose * observed) / dose) / electronic) ** 2
    found = np.zeros(())
    for count in range(int(dose + 9 * np.sqrt(dose) + 12)):
        off, top = (observed - count / dose) / electronic, (1 - count / dose) / electronic
        density = np.exp(nearest - 0.5 * off**2 - LOG_ROOT) / electronic
        seen = by_place(observed, ndtr(-count / dose / electronic), density, ndtr(-top))
        found = found + seen * np.exp(log_poisson(count, expected))
    return np.log(found) - by_place(observed, 0, nearest, 0)
