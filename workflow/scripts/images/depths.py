"""What the levels of a set of images mean: which one is white.

A file of 16 bits may hold 12. Read as 16, its images are nearly black, noise is larger than all of
their contrast, and a network that answers the same dark picture always has a good score.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from engine.messages import InputError

DARK = 0.25  # of what files could hold: darker sets hold fewer bits, or are no radiographs
# Where files say which level is white.
DECLARED = "MaxSampleValue of TIFF, sBIT of PNG, maximum of PGM, BitsStored of DICOM"
NEAR = 0.99  # of what fewer bits hold: so bright a set ends there


@dataclass(frozen=True)
class Depth:
    """What a file says of its levels, and of its pixels.

    Attributes:
        stored: The greatest level that it could hold.
        white: The level of white: as given, as the file declares it, or else what it could hold.
        is_declared: Whether it is given or declared.
        brightest: The greatest level that it holds.
        black: The level of black, the least that it could hold.
        darkest: The least level that it holds, of those with a sign, and else the level of black.
        is_inverted: Whether white is stored as black, and black as white.
        spacings: Distances of the pixels' rows and columns in mm, as text, by what they are.
    """

    stored: float
    white: float
    is_declared: bool = False
    brightest: float = 0
    black: float = 0
    darkest: float = 0
    is_inverted: bool = False
    spacings: Mapping[str, str] = field(default_factory=dict)

    def scaled(self, levels: np.ndarray) -> np.ndarray:
        """Return levels scaled so that black is 0 and white is 1."""
        return (levels - self.black) / (self.white - self.black)


def depth_of(
    stored: float, given: float | None, declared: float | None = None, black: float = 0
) -> Depth:
    """Return the depth of a file by what it could hold; what is given counts before its own."""
    if given and not black < given <= stored:
        span = f"from {black:g} to {stored:g}" if black else f"up to {stored:g}"
        raise InputError(f"holds levels {span}, so white can't be {given:g}")
    white = given or declared
    return Depth(stored, white or stored, white is not None, black=black, darkest=black)


def white_given(setting: str) -> float | None:
    """Return the level of white by the setting `white`; None for `auto`, as the files say."""
    return None if setting == "auto" else float(setting)


def check_brightest(brightest: float, white: float) -> None:
    """Refuse levels above that of white."""
    if brightest > white:
        raise InputError(
            f"has levels up to {brightest:g}, above that of white ({white:g}): correct `white`, or "
            "what the file declares"
        )


def check_depths(depths: Mapping[str, Depth], dataset: str) -> None:
    """Refuse images of several depths, and such as have another white than their files could hold.

    Args:
        depths: Those of all images of a data set, by file name.
        dataset: Its name, for messages.

    Raises:
        InputError: Naming files, the likely depth, and how to say which level is white.
    """
    by_ends: dict[tuple[float, float], list[str]] = {}
    for name, depth in depths.items():
        by_ends.setdefault((depth.white, depth.black), []).append(name)
    if len(by_ends) > 1:
        found = (
            f"{len(names)} with white at {white:g}{f' and black at {black:g}' if black else ''}, "
            f"first: {names[0]}"
            for (white, black), names in by_ends.items()
        )
        raise InputError(
            f"the images of {dataset} have different depths ({'; '.join(found)}): save all in one "
            "depth, or make a data set of each"
        )
    if all(depth.is_declared for depth in depths.values()):
        return
    name, brightest = max(depths.items(), key=lambda item: item[1].brightest)
    darkest = min(depth.darkest for depth in depths.values())
    level, held, bits = likely_bits(brightest, darkest)
    if not bits:
        return
    if brightest.black:
        raise InputError(
            f"the levels of all {len(depths)} images of {dataset} lie {level} apart and could lie "
            f"{held:g} apart ({name} is the brightest), so they likely hold {bits} bits. Export "
            "them with the number of bits that they hold (BitsStored), or set `window: true` if "
            "each has a window"
        )
    raise InputError(
        f"the brightest level of all {len(depths)} images of {dataset} is {level} of {held:g} "
        f"({name}), so they likely hold {bits} bits. Say which level is white: --config "
        f"'datasets={{{dataset}: {{white: {2**bits - 1}}}}}', or white: {held:g} if they are "
        f"that dark; or declare it in the files ({DECLARED})"
    )


def likely_bits(brightest: Depth, darkest: float) -> tuple[int, float, int]:
    """Return how many bits levels seem to hold that fill so little of what their files could hold.

    Args:
        brightest: The depth of the brightest file.
        darkest: The least level of all.

    Returns:
        The span of the levels, that which the file could hold, and the bits; 0 bits if there is no
        doubt: they seem to hold what the file could.
    """
    level, held = int(brightest.brightest - darkest), brightest.stored - brightest.black
    bits = max(1, math.ceil(math.log2(level + 1)))
    likely = 2**bits - 1
    ends = 255 < likely < held and level >= NEAR * (likely + 1)
    return level, held, 0 if level >= DARK * (held + 1) and not ends else bits


def check_depth(depth: Depth) -> None:
    """Refuse an image by itself that likely holds fewer bits than its file could.

    Raises:
        InputError: Its likely depth, and how to say which level is white; without the file's name.
    """
    if depth.is_declared:
        return
    level, held, bits = likely_bits(depth, depth.darkest)
    if bits:
        raise InputError(
            f"has levels over a span of {level} only, and could have {held:g}, so it likely holds "
            f"{bits} bits: say which level is white (WHITE={2**bits - 1} of `make denoise`), or "
            f"declare it in the file ({DECLARED})"
        )
