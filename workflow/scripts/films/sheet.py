"""Draws the sheet of a film: before, after and what was removed, the whole and a part of it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import sobel, uniform_filter
from skimage.transform import resize_local_mean

from files.atomic import replacing
from films.strips import Film, reduced
from films.wording import REMOVED, Record, in_words, level, readable, size_in_words

# In pixels of the sheet. Six pictures of pure noise, of at most these sizes, stay below 1 MB.
MARGIN, GAP = 24, 16
CELL, TALLEST = 460, 540  # width of a column, height of a film in it
NARROWEST = 300  # a column has room for its heading
TOP, HEAD, FOOT, LINE = 64, 38, 34, 22  # title; above and below pictures; a line of text
WIDE = 2  # width over height of a film from which on its pictures lie below each other
ENLARGED = 2  # a film that is drawn at least this large needs no part of it enlarged

LEAST_SPAN = 0.02  # grey levels of [0, 1] between what is black and what is white on a sheet
DARKER = 0.001, 0.999  # shares of the pixels that are darker than black and than white
STRONG = 0.9, 0.05  # edges: share of the pixels below, and of the strongest
UNCHANGED = 128  # how it is drawn where nothing was removed
INK, FAINT, EDGE, PAPER = 20, 85, 205, 255
HEADINGS = "Before", "After", "Removed: before minus after"
ONE_STRETCH = (
    "Drawn about a middle grey, at the stretch of the other pictures: one grey level here is one "
    "grey level there."
)

Place = tuple[int, int]  # left and top, pixels


@dataclass(frozen=True)
class Layout:
    """The sizes of a sheet, which follow from the film's shape and from what is said of it.

    Attributes:
        whole: Width and height of each picture of the whole film, in pixels of the sheet.
        scale: How many pixels of the sheet a pixel of the film has there, in each direction.
        part: Side of the square part that is enlarged, in pixels of the film; 0 if there is none.
        zoom: How many pixels of the sheet each of these has, in both directions.
        column: Distance of the columns.
        is_wide: Whether the pictures of the whole film lie below each other.
        inside: Width between the margins.
        texts: Below the pictures, in three columns: headings, and lines of text.
    """

    whole: tuple[int, int]
    scale: float
    part: int
    zoom: int
    column: int
    is_wide: bool
    inside: int
    texts: Mapping[str, Sequence[str]]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        lines = max(map(len, self.texts.values()))
        return self.inside + 2 * MARGIN, self.foot + HEAD + LINE * lines + MARGIN

    @property
    def foot(self) -> int:
        """Where the texts begin."""
        if self.part:
            *_, (_, top) = self.enlarged()
            return top + self.part * self.zoom
        *_, (_, top) = self.places()
        return top + self.whole[1] + FOOT

    def places(self) -> Iterator[Place]:
        """Yield where the three pictures of the whole film are."""
        step = self.whole[1] + HEAD
        for number in range(3):
            across, down = (0, number * step) if self.is_wide else (number * self.column, 0)
            yield MARGIN + across, MARGIN + TOP + HEAD + down

    def enlarged(self) -> Iterator[Place]:
        """Yield where the three pictures of the part are."""
        *_, (_, top) = self.places()
        for number in range(3):
            yield MARGIN + number * self.column, top + self.whole[1] + FOOT + LINE + HEAD


def draw_sheet(target: Path, before: Film, after: Film, record: Record) -> None:
    """Write the sheet of a film: a grey PNG, below 1 MB, whole or not at all.

    Above is the whole film, averaged down or enlarged; below the part with most structure, with
    its own pixels. One of a few pixels has no part. A film's height takes no memory.

    Args:
        target: Where to write it.
        before: The film.
        after: What it became, of the same shape.
        record: Of the film: `path`, `height`, `width`, `gain`, `deviation`, `estimated`, `levels`;
            where what was removed has been measured, `residual_deviation` and
            `residual_correlation`; and the label of the `method`, if it is to be told.
    """
    plan = layout(record)
    whole = [fitted(reduced(film), plan.whole) for film in (before, after)]
    black, white = stretch(whole[0])
    sheet = Image.new("L", plan.size, PAPER)
    pen = ImageDraw.Draw(sheet)
    title = shortened(readable(record["path"]), plan.inside, font(21, bold=True))
    ends = f"black is grey level {level(black)} of 255, white is {level(white)}"
    size = size_in_words(*before.shape, before.bits)
    about = "; ".join(filter(None, [size, ends, record.get("method")]))
    about = shortened(about, plan.inside, font(15))
    pen.text((MARGIN, MARGIN), title, INK, font(21, bold=True))
    pen.text((MARGIN, MARGIN + 34), about, FAINT, font(15))
    places = list(plan.places())
    for picture, place, heading in zip(shown(whole, black, white), places, HEADINGS, strict=True):
        paste(sheet, picture, place, heading)
    below = places[-1][1] + plan.whole[1] + 8
    pen.text((MARGIN, below), scale_in_words(plan.scale), FAINT, font(15))
    if plan.part:
        corner = most_structure(whole[1], before.shape, plan.part)
        for place in places:
            frame(pen, place, corner, plan, before.shape)
        words = f"The part in the frame: {plan.part} x {plan.part} pixels of the film"
        words = f"{words}, each enlarged {plan.zoom} times"
        pen.text((MARGIN, below + FOOT), words, FAINT, font(15))
        parts = [pixels(film, corner, plan.part) for film in (before, after)]
        size = (plan.part * plan.zoom, plan.part * plan.zoom)
        for picture, place, heading in zip(
            shown(parts, black, white), plan.enlarged(), HEADINGS, strict=True
        ):
            paste(sheet, picture.resize(size, Image.Resampling.NEAREST), place, heading)
    for number, (heading, lines) in enumerate(plan.texts.items()):
        left = MARGIN + number * plan.column
        pen.text((left, plan.foot + 14), heading, INK, font(16, bold=True))
        for down, line in enumerate(lines):
            pen.text((left, plan.foot + HEAD + 4 + LINE * down), line, INK, font(15))
    with replacing(target) as temporary:
        sheet.save(temporary, compress_level=9)


def layout(record: Record) -> Layout:
    """Return the sizes of a film's sheet; see `draw_sheet` for the record."""
    height, width = record["height"], record["width"]
    is_wide = width >= WIDE * height
    most = (3 * CELL + 2 * GAP, TALLEST) if is_wide else (CELL, TALLEST)
    scale = min(most[0] / width, most[1] / height, math.sqrt(CELL * TALLEST / (height * width)))
    scale = math.floor(scale) if scale >= 1 else scale
    whole = max(1, round(width * scale)), max(1, round(height * scale))
    inside = max(whole[0], 3 * NARROWEST) if is_wide else 0
    cell = (inside - 2 * GAP) // 3 if is_wide else max(NARROWEST, whole[0])
    part = 0 if scale >= ENLARGED else min(cell // ENLARGED, height, width)
    inside = inside or 3 * cell + 2 * GAP
    texts = in_words(record)
    texts[REMOVED].append(ONE_STRETCH)
    return Layout(
        whole=whole,
        scale=scale,
        part=part,
        zoom=cell // part if part else 0,
        column=cell + GAP,
        is_wide=is_wide,
        inside=inside,
        texts={
            heading: [line for text in sentences for line in wrapped(text, cell, font(15))]
            for heading, sentences in texts.items()
        },
    )


def fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image averaged down to a width and height, or with its pixels enlarged to it."""
    shape = size[::-1]
    if shape[0] > image.shape[0] or shape[1] > image.shape[1]:
        rows, columns = (np.arange(n) * m // n for n, m in zip(shape, image.shape, strict=True))
        return image[np.ix_(rows, columns)]
    return resize_local_mean(image, shape) if shape != image.shape else image


def stretch(image: np.ndarray) -> tuple[float, float]:
    """Return which grey levels are black and white on the sheet of a film."""
    black, white = map(float, np.quantile(image, DARKER))
    missing = max(0.0, LEAST_SPAN - (white - black)) / 2
    return max(0.0, black - missing), min(1.0, white + missing)


def shown(pair: Sequence[np.ndarray], black: float, white: float) -> list[Image.Image]:
    """Return before, after and what was removed (each (h, w)) as pictures of one stretch."""
    before, after = (np.asarray(image, np.float64) for image in pair)
    slope = 255 / (white - black)
    levels = [slope * (before - black), slope * (after - black)]
    levels.append(UNCHANGED + slope * (before - after))
    return [Image.fromarray(each.round().clip(0, 255).astype(np.uint8)) for each in levels]


def most_structure(image: np.ndarray, shape: tuple[int, int], side: int) -> Place:
    """Return left and top of the square of a film that has most structure.

    That is edges on most of its area. How strong they are counts up to a limit alone, or it would
    be the letters at a film's edge in most cephalograms.

    Args:
        image: The film without noise and averaged down, (h, w).
        shape: Height and width of the film.
        side: Of the square, in pixels of the film.
    """
    edges = np.hypot(sobel(image, 0), sobel(image, 1))
    edges = np.minimum(edges, max(np.quantile(edges, STRONG[0]), STRONG[1] * edges.max()))
    scales = np.divide(image.shape, shape)
    size = np.maximum(1, np.round(side * scales)).astype(int)
    # The mean over a square, of which the middle is where `uniform_filter` has it.
    means = uniform_filter(edges, tuple(size))
    first, last = size // 2, np.array(image.shape) - (size - size // 2)
    inner = means[first[0] : last[0] + 1, first[1] : last[1] + 1]
    best = np.unravel_index(np.argmax(inner), inner.shape)
    top, left = (
        min(round(at / scale), whole - side)
        for at, scale, whole in zip(best, scales, shape, strict=True)
    )
    return left, top


def pixels(film: Film, corner: Place, side: int) -> np.ndarray:
    """Return a square part (side, side) of a film."""
    left, top = corner
    return film.rows(top, top + side)[:, left : left + side]


def frame(
    pen: ImageDraw.ImageDraw, place: Place, corner: Place, plan: Layout, shape: tuple[int, int]
) -> None:
    """Draw the frame of the part into a picture of the whole film, to be seen on any grey."""
    scales = plan.whole[0] / shape[1], plan.whole[1] / shape[0]
    start = [round(a + s * c) for a, s, c in zip(place, scales, corner, strict=True)]
    end = [round(a + s * (c + plan.part)) for a, s, c in zip(place, scales, corner, strict=True)]
    for inset, grey in ((-1, 0), (0, 255), (1, 0)):
        low = [max(a, value + inset) for a, value in zip(place, start, strict=True)]
        most = [a + n - 1 for a, n in zip(place, plan.whole, strict=True)]
        high = [min(m, value - 1 - inset) for m, value in zip(most, end, strict=True)]
        if low[0] <= high[0] and low[1] <= high[1]:
            pen.rectangle((*low, *high), outline=grey)


def scale_in_words(scale: float) -> str:
    if scale < 1:
        return f"The whole film: the mean of {1 / scale:.3g} x {1 / scale:.3g} pixels hides noise"
    return "The whole film" + (f", each pixel enlarged {scale} times" if scale > 1 else "")


def paste(sheet: Image.Image, picture: Image.Image, place: Place, heading: str) -> None:
    """Put a picture on the sheet, with a line around it: a white film would have no edge."""
    pen = ImageDraw.Draw(sheet)
    pen.text((place[0], place[1] - 28), heading, INK, font(16, bold=True))
    outline = place[0] - 1, place[1] - 1, place[0] + picture.width, place[1] + picture.height
    pen.rectangle(outline, outline=EDGE)
    sheet.paste(picture, place)


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font that comes with matplotlib, so that sheets are the same on each system."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf", name), size)


def wrapped(text: str, width: int, with_font: ImageFont.FreeTypeFont) -> Iterator[str]:
    """Yield the lines of a text that is to be no wider than so many pixels."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and with_font.getlength(longer) > width:
            yield line
            longer = word
        line = longer
    yield line


def shortened(name: str, width: int, with_font: ImageFont.FreeTypeFont) -> str:
    """Return a name without its middle if it would be wider than so many pixels."""
    kept, short = len(name), name
    while with_font.getlength(short) > width:
        kept -= 1
        short = f"{name[: kept // 2]}...{name[len(name) - (kept - kept // 2) :]}"
    return short
