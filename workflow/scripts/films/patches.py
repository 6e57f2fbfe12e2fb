"""What is learned from: patches from anywhere in films, few of them empty."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.messages import InputError, Progress
from films.strips import Film, open_film
from films.wording import Record
from noise.seeds import generator
from recipes.blind_spot_estimated import LEAST

SIDE, GRID = 128, 16  # pixels of a patch; of a smaller one, if all films are smaller
MOST = 1024  # patches, of all films together: 67 MB
REPEATED = 4  # so many patches at most may show the same pixel, on average
FEWEST = 250_000  # pixels to learn from
SWEEPS, CANDIDATES = 2, 3  # times that a film is read; patches to choose each one from
BLOCK = 8  # pixels: over so many squared, noise hardly counts
NEAR_END = 0.02  # grey levels that count as black or white
EMPTY, SELDOM = 0.9, 0.1  # share of a patch that makes it empty; its chance beside that of others


def patches_of(folder: Path, records: Sequence[Record], seed: int) -> dict[str, np.ndarray]:
    """Return patches from all over the films, and the noise of each.

    Args:
        folder: That of the films.
        records: Of each film: `path`, `height`, `width`, `white`, `gain` and `deviation`.
        seed: Of places.

    Returns:
        `exposures`, float32 (N, side, side) in [0, 1], N at most `MOST` and side at most `SIDE`,
        `gain` and `deviation`, float32 (N,). Films smaller than that side are left out, if there
        are others.

    Raises:
        InputError: When the films have too few pixels, or one can't be read.
    """
    side, chosen = sidelength(records), large_ones(records)
    areas = np.array(list(map(area, chosen)))
    if areas.sum() < FEWEST:
        raise InputError(
            f"the films have {areas.sum():,} pixels together, too few to learn from (at least "
            f"{FEWEST:,} are needed): add films of the same kind, or take a network that is "
            "trained, METHOD=unet_any"
        )
    total = min(MOST, REPEATED * areas.sum() // side**2)
    counts = np.diff(np.rint(total * np.cumsum(areas) / areas.sum()).astype(int), prepend=0)
    exposures = np.empty((total, side, side), np.float32)
    noises, done = np.empty((2, total), np.float32), 0
    progress = Progress("reading films to learn from", len(chosen))
    for record, count in zip(chosen, counts.tolist(), strict=True):
        part = slice(done, done := done + count)
        noises[:, part] = np.reshape(noise_of(record), (2, 1))
        if count:
            film = open_film(folder / record["path"], record["white"])
            rng = generator(seed, "patch", record["path"])
            exposures[part] = drawn(film, noise_of(record), count, side, rng)
        progress.advance()
    return {"exposures": exposures, "gain": noises[0], "deviation": noises[1]}


def noise_of(record: Record) -> tuple[float, float]:
    """Return gain and deviation of a film's noise, as the likelihoods can have them."""
    gain, deviation = (max(record[k], e) for k, e in zip(("gain", "deviation"), LEAST, strict=True))
    return gain, deviation


def area(record: Record) -> int:
    """Return a film's pixels."""
    return record["height"] * record["width"]


def shortest(record: Record) -> int:
    """Return a film's shorter side."""
    return min(record["height"], record["width"])


def sidelength(records: Sequence[Record]) -> int:
    """Return the side of patches: `SIDE`, or less if no film is so large."""
    return min(SIDE, max(map(shortest, records)) // GRID * GRID)


def large_ones(records: Sequence[Record]) -> list[Record]:
    """Return the films that are as large as a patch."""
    return [record for record in records if shortest(record) >= sidelength(records)]


def drawn(
    film: Film, noise: tuple[float, float], count: int, side: int, rng: np.random.Generator
) -> np.ndarray:
    """Return patches from anywhere in a film, float32 (count, side, side); few of them are empty.

    It is read in bands that are as high as a patch, from top to bottom, `SWEEPS` times.
    """
    height, width = film.shape
    each = math.ceil(CANDIDATES * count / (SWEEPS * (height // side)))
    kept, keys = np.empty((0, side, side), np.float32), np.empty(0)
    for _ in range(SWEEPS):
        for top in range(rng.integers(height % side + 1), height - side + 1, side):
            rows = film.rows(top, top + side)
            lefts = rng.integers(width - side + 1, size=each)
            kept = np.concatenate([kept, [rows[:, left : left + side] for left in lefts]])
            # Of the greatest keys, since these are as if one was drawn after the other, each time
            # by the chances of those that are left (Efraimidis and Spirakis, 2006).
            chances = np.where(is_empty(kept[len(keys) :], *noise), SELDOM, 1.0)
            keys = np.concatenate([keys, np.log(rng.random(each)) / chances])
            best = np.argsort(-keys)[:count]
            kept, keys = kept[best], keys[best]
    return kept


def is_empty(patches: np.ndarray, gain: float, deviation: float) -> np.ndarray:
    """Say which patches (N, side, side) are black or white nearly everywhere, shape (N,)."""
    count, side, _ = patches.shape
    blocks = patches[:, : side // BLOCK * BLOCK, : side // BLOCK * BLOCK]
    means = blocks.reshape(count, side // BLOCK, BLOCK, -1, BLOCK).mean(axis=(2, 4))
    # The mean of clipped noise is 0.4 deviations away from the end.
    black = means < NEAR_END + 0.4 * deviation
    white = means > 1 - NEAR_END - 0.4 * math.sqrt(gain + deviation**2)
    return (black | white).mean(axis=(1, 2)) > EMPTY
