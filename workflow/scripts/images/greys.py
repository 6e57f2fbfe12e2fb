"""How colours become grey."""

import numpy as np

from engine.messages import InputError

# scikit-image's weights of red, green and blue (`skimage.color.rgb2gray`).
LUMA = (0.2125, 0.7154, 0.0721)
# JPEG, and a scanner, leave small differences between the channels of a grey film; and a film may
# have a coloured mark.
NEARLY_EQUAL = 1 / 32  # of white
MOST_COLOURED = 1 / 1000  # of the pixels


def grey(channels: list[np.ndarray], white: float, only: bool = False) -> np.ndarray:
    """Weigh the colours of an image; equal ones, or a single one, are returned as they are.

    Args:
        channels: One array (height, width), or three: red, green and blue.
        white: Their level of white.
        only: Refuse an image whose channels differ.

    Raises:
        InputError: When they do.
    """
    if all(np.array_equal(channels[0], other) for other in channels[1:]):
        return channels[0]
    if only:
        spread = np.maximum.reduce(channels) - np.minimum.reduce(channels)
        if np.mean(spread > NEARLY_EQUAL * white) > MOST_COLOURED:
            raise InputError(
                "is a colour photograph and not a radiograph, since its channels differ: leave it "
                "out, or save it as grey if it is a radiograph"
            )
    weighed = sum(weight * channel for weight, channel in zip(LUMA, channels, strict=True))
    return np.minimum(weighed, white, out=weighed)  # white rounds up to 255 + 3e-14


def check_opaque(alphas: list[np.ndarray], white: float) -> None:
    """Refuse an image that is transparent anywhere: alpha channels (height, width) below white."""
    if any(alpha.min() < white for alpha in alphas):
        raise InputError("is partly transparent: save it without its alpha channel")
