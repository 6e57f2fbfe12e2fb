"""Denoising a film in tiles, without a seam and in little memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from films.strips import Film

SIDE = 1024  # pixels of a tile, about, without its margins
# Where tiles begin and end: no network here has a coarser grid, so it is the same in all tiles.
GRID = 16
# What lies so near the end of a tile does not count, since its answer depends on the tile's end.
# By its layers, `methods.unet` with widths of four levels and one block sees 139 pixels in each
# direction. But that of `methods.unet_any`, trained, answers with at most 0.5 grey levels of 255
# more or less from 24 pixels on, and 0.01 from 32 on: the most of three strengths of noise up to
# the strongest of its training, on a film and on flat fields of 1024 x 1024 pixels.
LEFT_OUT = 32
# Two tiles are blended over twice so many pixels, which hides what other methods make of an end.
BLENDED = 32


@dataclass(frozen=True)
class Span:
    """A tile along one axis of a film.

    Attributes:
        seen: The pixels that the tile shows, (n,); beyond the film's edge, their mirror images.
        start, stop: The pixels to whose answer it adds.
        skipped: How many pixels of the tile lie before `start`.
        weights: How much its answer counts, float32 (stop - start,); of all tiles it adds up to 1.
    """

    seen: np.ndarray
    start: int
    stop: int
    skipped: int
    weights: np.ndarray


def spans(length: int) -> list[Span]:
    """Return the tiles along an axis of `length` pixels, in order."""
    count = max(1, round(length / SIDE))
    edges = [round(length * n / count / GRID) * GRID for n in range(count)]
    end = -(-length // GRID) * GRID
    # With mirrored pixels around, the film's edge has as many neighbours as its middle. Without,
    # the outermost pixels are half again as wrong; and they are less wrong if they are repeated
    # than if their neighbours are.
    mirrored = np.pad(np.arange(length), (LEFT_OUT, end - length + LEFT_OUT), mode="symmetric")
    found = []
    for first, last in zip(edges, [*edges[1:], end], strict=True):
        is_first, is_last = first == 0, last == end
        begin = -LEFT_OUT if is_first else first - BLENDED - LEFT_OUT
        finish = end + LEFT_OUT if is_last else last + BLENDED + LEFT_OUT
        start = 0 if is_first else first - BLENDED
        stop = length if is_last else last + BLENDED
        places = np.arange(start, stop) + 0.5
        weights = np.ones(len(places))
        if not is_first:
            weights = np.minimum(weights, (places - start) / (2 * BLENDED))
        if not is_last:
            weights = np.minimum(weights, (stop - places) / (2 * BLENDED))
        seen = mirrored[begin + LEFT_OUT : finish + LEFT_OUT]
        found.append(Span(seen, start, stop, start - begin, np.float32(weights)))
    return found


def denoised_rows(film: Film, denoise: Callable[[np.ndarray], np.ndarray]) -> Iterator[np.ndarray]:
    """Yield a film without its noise, in bands of rows from top to bottom.

    Args:
        film: Of any size.
        denoise: Takes an image, float32 (h, w) in [0, 1], and returns one of the same shape. `h`
            and `w` are multiples of 16, 80 or more.

    Yields:
        float32 arrays (rows, width) in [0, 1]; together as high as the film.
    """
    width = film.shape[1]
    across = spans(width)
    kept = np.empty((0, width), np.float32)  # rows to which the next tiles will add
    for span in spans(film.shape[0]):
        first, last = span.seen.min(), span.seen.max() + 1
        rows = film.rows(first, last)
        band = np.zeros((span.stop - span.start, width), np.float32)
        for tile in across:
            noisy = rows[np.ix_(span.seen - first, tile.seen)]
            clean = np.asarray(denoise(noisy))
            if clean.shape != noisy.shape or not np.isfinite(clean).all():
                raise ValueError("the method returned no image of the shape of the noisy one")
            clean = clean[span.skipped :, tile.skipped :][: len(band), : len(tile.weights)]
            band[:, tile.start : tile.stop] += tile.weights * clean
        del rows
        band *= span.weights[:, None]
        band[: len(kept)] += kept
        done = span.stop - (2 * BLENDED if span.stop < film.shape[0] else 0) - span.start
        kept = band[done:].copy()
        yield np.clip(band[:done], 0, 1, out=band[:done])
