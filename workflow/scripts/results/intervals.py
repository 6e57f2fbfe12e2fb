"""How sure a mean is."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95


def half_width(values: Sequence[float]) -> float:
    """Return half the width of the 95 % confidence interval of a mean, by Student's t.

    It is NaN where nothing tells: of one value, of values that are all the same, or if a value is
    not a finite number.
    """
    array = np.asarray(values, np.float64)
    if len(array) < 2 or not np.isfinite(array).all() or np.ptp(array) == 0:
        return math.nan
    quantile = stdtrit(len(array) - 1, (1 + LEVEL) / 2)
    return float(quantile * array.std(ddof=1) / math.sqrt(len(array)))
