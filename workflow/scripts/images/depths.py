"""What the levels of a set of images mean: which one is white.

A file of 16 bits may hold 12. Read as 16, its images are nearly black, noise is larger than all of
their contrast, and a network that answers the same dark picture always has a good score.
"""

import math
from collections.abc import Mapping

from engine.messages import InputError
from images.reading import Depth

DARK = 0.25  # of what files could hold: darker sets hold fewer bits, or are no radiographs
NEAR = 0.99  # of what fewer bits hold: so bright a set ends there


def check_depths(depths: Mapping[str, Depth], dataset: str) -> None:
    """Refuse images of several depths, and such as have another white than their files could hold.

    Args:
        depths: Those of all images of a data set, by file name.
        dataset: Its name, for messages.

    Raises:
        InputError: Naming files, the likely depth, and how to say which level is white.
    """
    by_white: dict[float, list[str]] = {}
    for name, depth in depths.items():
        by_white.setdefault(depth.white, []).append(name)
    if len(by_white) > 1:
        found = (
            f"{len(n)} with white at {white:g}, first: {n[0]}" for white, n in by_white.items()
        )
        raise InputError(
            f"the images of {dataset} have different depths ({'; '.join(found)}): save all in one "
            "depth, or make a data set of each"
        )
    if all(depth.is_declared for depth in depths.values()):
        return
    name, brightest = max(depths.items(), key=lambda item: item[1].brightest)
    level, stored = int(brightest.brightest), brightest.stored
    bits = max(1, math.ceil(math.log2(level + 1)))
    likely = 2**bits - 1
    ends = 255 < likely < stored and level >= NEAR * (likely + 1)
    if level < DARK * (stored + 1) or ends:
        raise InputError(
            f"the brightest level of all {len(depths)} images of {dataset} is {level} of "
            f"{stored:g} ({name}), so they likely hold {bits} bits. Say which level is white: "
            f"--config 'datasets={{{dataset}: {{white: {likely}}}}}', or white: {stored:g} if they "
            "are that dark; or declare it in the files (MaxSampleValue of TIFF, sBIT of PNG)"
        )
