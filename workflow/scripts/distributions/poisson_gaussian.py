"""The noise of a linear X-ray detector: quantum noise, which depends on the signal, and electronic.

Source: A. Foi et al., Practical Poissonian-Gaussian noise modeling and fitting for single-image
raw-data, IEEE Transactions on Image Processing 17(10), 2008.
"""

import numpy as np

SETTINGS = {
    # Quanta that a pixel of value 1 counts.
    "dose": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000000000},
    "electronic": {"type": "number", "minimum": 0},  # standard deviation, grey levels of [0, 1]
}


def draw(
    image: np.ndarray, rng: np.random.Generator, *, dose: float, electronic: float
) -> np.ndarray:
    """Return Poisson counts of mean `dose * image` over the dose, plus normal electronic noise.

    The variance is image / dose + electronic^2. The grey level stands for the detector's linear
    signal, before any curve for display.
    """
    return rng.poisson(dose * image) / dose + rng.normal(0, electronic, image.shape)
