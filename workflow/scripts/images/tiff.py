"""Reading the page of a TIFF: all of its grey levels, or those of some rows."""

import math
from dataclasses import replace

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC

from engine.messages import InputError
from images.depths import Depth, check_brightest, depth_of
from images.greys import check_opaque, grey

ORIENTATION, MOST_LEVEL = 274, 281  # tags of TIFF: Orientation, MaxSampleValue
GREY = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK)
MOST_IN_SEGMENT = 2**25  # pixels of a strip or a tile that is decoded for a few rows


def only_page(tiff: tifffile.TiffFile) -> tifffile.TiffPage:
    """Return the page of a TIFF that has no other."""
    if len(tiff.pages) > 1:
        raise InputError(f"has {len(tiff.pages)} pages: save each as an image")
    return tiff.pages.first


def check_page(page: tifffile.TiffPage) -> None:
    """Refuse a page of unknown levels, or of which parts are missing.

    Raises:
        InputError: For the former.
        ValueError: For the latter.
    """
    if not _colours(page):
        raise InputError(
            f"has no known levels ({page.samplesperpixel} x {page.bitspersample} bits, "
            f"{page.dtype}, photometric {page.photometric}, compression {page.compression}): "
            "save it as 8- or 16-bit grey, or as RGB"
        )
    # What is missing would be black, and the rest of a cut JPEG grey.
    spans = zip(page.dataoffsets, page.databytecounts, strict=True)
    ends = [start and count and start + count for start, count in spans]
    if len(ends) < math.prod(page.chunked) or 0 in ends or max(ends) > page.parent.filehandle.size:
        raise ValueError("parts of it are missing")


def depth_of_page(page: tifffile.TiffPage, given: float | None) -> Depth:
    """Return what a page says of its levels, `brightest` aside.

    Args:
        page: One that `check_page` lets pass.
        given: The level of white, if it is known from elsewhere.
    """
    declared = page.tags.valueof(MOST_LEVEL, default=None)
    depth = depth_of(2.0**page.bitspersample - 1, given, np.max(declared) if declared else None)
    if page.bitspersample not in (8, 16):  # nobody says so by mistake
        depth = replace(depth, is_declared=True)
    if page.photometric == PHOTOMETRIC.PALETTE:
        depth = Depth(255, 255)
    if page.dtype.kind == "f":
        depth = Depth(1, 1, is_declared=True)
    return replace(depth, is_inverted=page.photometric == PHOTOMETRIC.MINISWHITE)


def levels_of_page(
    page: tifffile.TiffPage, given: float | None = None, only_grey: bool = False
) -> tuple[np.ndarray, Depth]:
    """Return the upright grey levels (height, width) of a page, and what it says of them.

    Args:
        page: One that `check_page` lets pass.
        given: The level of white, if it is known from elsewhere.
        only_grey: Refuse a page whose colours differ.

    Returns:
        The levels as they are stored; those of an inverted depth have yet to be turned round.
    """
    samples = page.asarray(maxworkers=1).reshape(page.shaped)
    depth = depth_of_page(page, given)
    if samples.dtype.kind == "f":
        samples = samples.astype(np.float64)
    channels = list(np.moveaxis(samples, 4, 1).reshape(-1, *samples.shape[2:4]))
    colours = _colours(page)
    channels, extra = channels[:colours], channels[colours:]
    # Only those that are said to be no alpha are left out.
    alphas = [a for n, a in enumerate(extra) if page.extrasamples[n : n + 1] != (0,)]
    check_opaque(alphas, 2.0**page.bitspersample - 1 if samples.dtype.kind != "f" else 1)
    if page.photometric == PHOTOMETRIC.PALETTE:
        palette = (page.colormap >> 8).astype(np.uint8)
        channels = list(np.take(palette, channels[0], axis=1))
    levels = grey(channels, depth.white, only_grey)
    check_span(float(levels.min()), float(levels.max()), depth.white)
    orientation = page.tags.valueof(ORIENTATION, default=1)
    turned = levels.transpose() if orientation in (5, 6, 7, 8) else levels
    turned = turned[:: -1 if orientation in (3, 4, 7, 8) else 1]
    turned = turned[:, :: -1 if orientation in (2, 3, 6, 7) else 1]
    return np.ascontiguousarray(turned), depth


def check_span(least: float, greatest: float, white: float) -> None:
    """Refuse levels beyond black and white; a comparison with NaN is false, so those too."""
    if white > 1:
        check_brightest(greatest, white)
    if not (least >= 0 and greatest <= white):
        raise InputError("has levels outside [0, 1] or undefined ones: scale it to [0, 1]")


def has_rows(page: tifffile.TiffPage) -> bool:
    """Whether `rows_of_page` can read some rows of a page and hardly anything else.

    Args:
        page: One that `check_page` lets pass.
    """
    is_plain = page.photometric in GREY and page.samplesperpixel == 1
    is_whole = page.dtype.kind == "f" or page.bitspersample in (8, 16)
    is_upright = page.tags.valueof(ORIENTATION, default=1) not in range(2, 9)
    length, width = page.chunks[:2]
    is_divided = _is_raw(page) or min(length, page.imagelength) * width <= MOST_IN_SEGMENT
    return is_plain and is_whole and is_upright and is_divided


def rows_of_page(page: tifffile.TiffPage, start: int, stop: int) -> np.ndarray:
    """Return the levels (stop - start, width) of some rows, as `levels_of_page` does of all.

    Args:
        page: One of which `has_rows` is true; its file is open.
        start, stop: The first row, and the one after the last.
    """
    width, file = page.imagewidth, page.parent.filehandle
    kind = page.dtype.newbyteorder(page.parent.byteorder)
    if _is_raw(page):
        file.seek(page.dataoffsets[0] + start * width * kind.itemsize)
        levels = file.read_array(kind, (stop - start) * width).reshape(-1, width)
        return levels.astype(np.float64 if kind.kind == "f" else kind.newbyteorder("="), copy=False)
    levels = np.empty((stop - start, width), np.float64 if kind.kind == "f" else page.dtype)
    length, across = page.chunks[0], page.chunked[-1] if page.is_tiled else 1
    tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
    decode = page.decode  # made at the first call, which may read elsewhere in the file
    for index in range(start // length * across, -(-stop // length) * across):
        file.seek(page.dataoffsets[index])
        part, place, shape = decode(file.read(page.databytecounts[index]), index, **tables)
        top, left = place[2:4]
        first, last = max(start, top), min(stop, top + shape[1])
        found = part[0, first - top : last - top, : width - left, 0]  # tiles may reach beyond
        levels[first - start : last - start, left : left + shape[2]] = found
    return levels


def _is_raw(page: tifffile.TiffPage) -> bool:
    """Whether the levels lie in the file row after row, as they are, in however many strips."""
    return page.is_contiguous and page.fillorder == 1 and page.predictor == 1


def _colours(page: tifffile.TiffPage) -> int:
    """Return how many channels hold a TIFF's picture, or 0 if its levels are not certain."""
    kind, bits, samples = page.photometric, page.bitspersample, page.samplesperpixel
    is_jpeg = page.compression in (COMPRESSION.JPEG, COMPRESSION.OJPEG)
    if kind == PHOTOMETRIC.RGB or (kind == PHOTOMETRIC.YCBCR and is_jpeg):  # decoded to RGB
        colours = 3
    else:
        colours = int(kind in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.PALETTE))
    if page.dtype is None or page.imagedepth != 1 or not 0 <= samples - colours <= 3:
        return 0
    if page.dtype.kind == "f":
        return colours if samples == 1 else 0
    # Some programs say 12 bits and store 16: only the number of bytes tells.
    packed = math.ceil(page.imagewidth * samples * bits / 8) * page.imagelength
    is_packed = page.compression == COMPRESSION.NONE and sum(page.databytecounts) == packed
    is_whole = page.dtype.kind in "ub" and (bits in (1, 2, 4, 8, 16) or (bits < 16 and is_packed))
    return colours if is_whole else 0
