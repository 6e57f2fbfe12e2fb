"""Reading a film by rows, so that a large one takes little memory."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile

from engine.messages import InputError
from images.depths import Depth, check_depth
from images.dicom import read_header, stored_levels
from images.reading import check_size, fault, kind_of, read_levels
from images.tiff import check_page, check_span, depth_of_page, has_rows, only_page, rows_of_page

MOST_PIXELS, LONGEST_SIDE = 2_500_000_000, 50_000  # of a film that is read by rows
BAND, WIDE_BAND = 2**21, 2**24  # pixels that are looked at together, and at most
# Of a larger film noise is estimated from windows of 256 x 256 pixels, side by side. As many as
# here make `noise.blocks` take blocks 16 pixels apart, none of which then lies in two windows; and
# windows from multiples of 8 keep the grid of JPEG one grid.
MOST_SAMPLED, WINDOW, WINDOWS, GRID = 5000**2, 256, 240, 8


@dataclass(frozen=True, eq=False)
class Film:
    """A film whose rows are read when they are asked for.

    Attributes:
        path: Its file.
        shape: Height and width of the upright film, in pixels.
        bits: How many its grey levels have, 2 to 16, or 32 for floats.
        depth: What its grey levels mean.
        levels: Returns the levels of the rows from one number to before another, as `read_levels`
            has them, (rows, width).
    """

    path: Path
    shape: tuple[int, int]
    bits: int
    depth: Depth
    levels: Callable[[int, int], np.ndarray]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return rows from `start` to before `stop`, float32 (stop - start, width) in [0, 1]."""
        return self._scaled(start, stop, np.float32)

    def exact_rows(self, start: int, stop: int) -> np.ndarray:
        """Return what `rows` does, as float64: the very numbers that `read_grey` returns."""
        return self._scaled(start, stop, np.float64)

    def _scaled(self, start: int, stop: int, kind: type) -> np.ndarray:
        levels = self.levels(start, stop)
        rows = np.empty(levels.shape, kind)
        for first, last in bands(len(levels), levels.shape[1]):  # since they become float64
            rows[first:last] = self.depth.scaled(levels[first:last])
        return rows


def open_film(path: Path, white: float | None = None, like: Film | None = None) -> Film:
    """Open a film: a grey image as `images.reading` reads it, but by rows where that is possible.

    Grey TIFFs of 8 or 16 bits or of floats, in strips or tiles, are read by rows, others whole.

    Args:
        path: The file.
        white: The level of white, if it is known from elsewhere.
        like: The film that this one was made from. Then its levels mean what those mean, and
            nothing is refused that only an original has to be.

    Raises:
        InputError: The film can't be used: it is missing, damaged, too large, of a kind that is
            refused, coloured, of one level everywhere, of unclear depth, or what is made of it
            could not be stored. The message names it and the remedy.
    """
    path = Path(path)
    try:
        film, span = _opened_by_rows(path, white) or _opened_whole(path, white)
        if like is not None:
            return replace(film, depth=replace(like.depth, brightest=film.depth.brightest))
        if span == 0:
            raise InputError("has the same level everywhere, so it shows nothing: leave it out")
        if film.bits == 1:
            raise InputError("is black and white without greys between: scan it as grey")
        check_depth(film.depth)
        return film
    except Exception as error:  # decoders of damaged files raise nearly anything
        is_named = isinstance(error, InputError) and str(error).startswith(str(path))
        raise InputError(str(error) if is_named else f"{path} {fault(error)}") from error


def _opened_by_rows(path: Path, white: float | None) -> tuple[Film, float] | None:
    """Return a film of a TIFF and the span of its levels, or None if it has to be read whole."""
    if kind_of(path) != "TIFF":
        return None
    with tifffile.TiffFile(path) as tiff:
        page = only_page(tiff)
        check_size((page.imagewidth, page.imagelength), 1, MOST_PIXELS, LONGEST_SIDE)
        check_page(page)
        if not has_rows(page):
            return None
        shape, depth = (page.imagelength, page.imagewidth), depth_of_page(page, white)
        bits = 32 if page.dtype.kind == "f" else _bits(depth)
        ends = [np.inf, -np.inf]
        # Whole strips or tiles, so that each is decoded once.
        length = min(page.chunks[0], WIDE_BAND // page.imagewidth)
        for start, stop in bands(*shape, length):
            levels = rows_of_page(page, start, stop)
            ends = [min(ends[0], levels.min()), max(ends[1], levels.max())]
            check_span(levels.min(), levels.max(), depth.white)

    def levels_of(start: int, stop: int) -> np.ndarray:
        with tifffile.TiffFile(path) as tiff:
            levels = rows_of_page(tiff.pages.first, start, stop)
        return depth.white + depth.black - levels if depth.is_inverted else levels

    least, greatest = map(float, ends)
    depth = replace(depth, brightest=greatest)
    return Film(path, shape, bits, depth, levels_of), greatest - least


def _opened_whole(path: Path, white: float | None) -> tuple[Film, float]:
    """Return a film that stays in memory, and the span of its levels."""
    levels, depth = read_levels(path, 1, white, only_grey=True)
    bits = _bits(depth)
    if kind_of(path) == "DICOM":
        header = read_header(path)
        stored_levels(header, np.empty(0))  # says now what could not be stored later
        bits = header.BitsStored
    span = float(levels.max()) - float(levels.min())
    return Film(path, levels.shape, bits, depth, lambda start, stop: levels[start:stop]), span


def _bits(depth: Depth) -> int:
    """Return how many bits levels from black to white have."""
    return math.ceil(math.log2(depth.white - depth.black + 1))


def bands(height: int, width: int, unit: int = 1) -> Iterator[tuple[int, int]]:
    """Yield where bands of about `BAND` pixels begin and end, of a multiple of `unit` rows."""
    unit = max(1, unit)
    rows = max(1, BAND // width // unit) * unit
    for first in range(0, height, rows):
        yield first, min(height, first + rows)


def sampled(film: Film) -> np.ndarray:
    """Return the part of a film from which its noise is estimated, float64 (h, w) in [0, 1].

    That is all of it, or of a very large one windows from all over it, side by side on the grid
    of the blocks of `noise.blocks`.
    """
    height, width = film.shape
    if height * width <= MOST_SAMPLED:
        return film.exact_rows(0, height)
    few = round(math.sqrt(WINDOWS * min(film.shape) / max(film.shape)))
    few = max(1, min(few, min(film.shape) // WINDOW))
    counts = few, -(-WINDOWS // few)
    down, across = counts if height < width else counts[::-1]
    tops, lefts = (
        np.linspace(0, length - WINDOW, count).astype(int) // GRID * GRID
        for length, count in ((height, down), (width, across))
    )
    strips = []
    for top in tops:
        rows = film.exact_rows(top, top + WINDOW)
        strips.append(np.hstack([rows[:, left : left + WINDOW] for left in lefts]))
    return np.vstack(strips)


def reduced(film: Film, most: int = 1600) -> np.ndarray:
    """Return the means of squares of a film, as many that no side is longer than `most`.

    Returns:
        float32 array (h, w) in [0, 1]; squares at the lower and right edges may be smaller.
    """
    height, width = film.shape
    side = -(-max(film.shape) // most)
    down, across = (np.arange(0, length, side) for length in film.shape)
    group = max(1, WIDE_BAND // width // side)
    found = []
    for first in range(0, len(down), group):
        tops = down[first : first + group]
        rows = film.rows(tops[0], min(height, tops[-1] + side))
        sums = np.add.reduceat(rows, tops - tops[0], axis=0, dtype=np.float64)
        found.append(np.add.reduceat(sums, across, axis=1).astype(np.float32))
    pixels = np.multiply.outer(np.diff(down, append=height), np.diff(across, append=width))
    return np.vstack(found) / pixels.astype(np.float32)
