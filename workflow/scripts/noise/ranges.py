"""The strengths of noise that a training covers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

Ranges = tuple[tuple[float, float], tuple[float, float]]


def ranges_in(training: Mapping[str, Any]) -> Ranges:
    """Return from and to of gain and deviation in a training; without limits where it has none."""
    gain, deviation = (tuple(training.get(key, (0, np.inf))) for key in ("gain", "deviation"))
    return gain, deviation
