"""Writing a film in the format and the depth in which it came."""

import math
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine.messages import InputError
from files.atomic import replacing
from films.derived import write_dicom
from films.strips import Film, bands
from images.depths import Depth
from images.reading import SUFFIXES, kind_of, significant_bits
from images.tiff import GREY, MOST_LEVEL, ORIENTATION

# Formats that are written, and the suffixes by which a file says so, the usual one first.
WRITTEN = {
    "DICOM": (".dcm", ".dicom", ".dic"),
    "TIFF": (".tif", ".tiff"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "PPM": (".pgm", ".pnm"),
}
LOSSY = {"JPEG": "JPEG", "MPO": "JPEG"}
NAMES = {"JPEG2000": "JPEG 2000", "WEBP": "WebP"}
RESOLUTION, UNIT = (282, 283), 296  # tags of TIFF: XResolution and YResolution, ResolutionUnit
STRIP = 2**20  # bytes, about


def output_name(path: Path) -> tuple[str, str | None]:
    """Return under what name a film is written, and a note if that is in another format.

    The name is that of the film. If its suffix is not one of the format in which it is written,
    the right one is added to it, so that `1.jpg` and `1.png` become two files.

    Args:
        path: The film. One that can't be read keeps its name.
    """
    try:
        kind, note = written_as(path)
    except Exception:  # decoders of damaged files raise nearly anything
        return path.name, None
    suffix = path.suffix.lower()
    if suffix in WRITTEN[kind] or (kind == "DICOM" and suffix not in SUFFIXES):
        return path.name, note
    name = path.name + WRITTEN[kind][0]
    while path.with_name(name).exists():  # that is another film
        name += WRITTEN[kind][0]
    return name, note


def written_as(path: Path) -> tuple[str, str | None]:
    """Return the format in which a film is written, a key of `WRITTEN`, and a note if it changes.

    Raises:
        Exception: The file can't be read as an image.
    """
    kind = kind_of(path)
    if kind == "DICOM":
        return kind, None
    if kind == "TIFF":
        with tifffile.TiffFile(path) as tiff:
            is_grey = tiff.pages.first.photometric in GREY
    else:
        with Image.open(path) as image:
            kind, is_grey = image.format, image.mode.split(";")[0] in ("L", "LA", "I")
    if kind in LOSSY:
        return "PNG", f"{LOSSY[kind]} loses detail: written as PNG"
    if kind not in WRITTEN:
        return "PNG", f"{NAMES.get(kind, kind)} is not written: written as PNG"
    if not is_grey:
        return "PNG", "it has colour channels or a palette: written as grey PNG"
    return kind, None


def write_film(
    original: Path, film: Film, rows: Iterable[np.ndarray], target: Path, said: str
) -> None:
    """Write a film in the format of its original, or as `written_as` says, whole or not at all.

    Args:
        original: The file of the film.
        film: The film that is opened from it.
        rows: What is to be written: arrays (n, width) in [0, 1], together as high as the film.
        target: The file to write, in whatever folder.
        said: What was done, in words; a DICOM is given them.

    Raises:
        InputError: The target is the original, or levels can't be stored.
        ValueError: There are fewer or more rows than the film has, or of another width.
    """
    if target.exists() and target.samefile(original):
        raise InputError(f"{target} is the original film: choose another folder for what is made")
    kind, _ = written_as(original)
    levels = levels_of(rows, film)
    with replacing(target) as new:
        if kind == "TIFF":
            write_tiff(original, film, levels, new)
        elif kind == "DICOM":
            write_dicom(original, levels, new, said)
        else:
            bits = np.uint16 if film.depth.stored > 255 else np.uint8
            write_other(original, film.depth, whole(levels, film.shape, bits), new, kind)
        for _ in levels:  # there are none left, or they are too many
            pass


def levels_of(rows: Iterable[np.ndarray], film: Film) -> Iterator[np.ndarray]:
    """Yield the grey levels that a film's file has for bands in [0, 1], float64, not rounded.

    Raises:
        ValueError: When bands are not as wide as the film, or together not as high.
    """
    depth, height = film.depth, 0
    for band in rows:
        height += len(band)
        if band.shape[1:] != film.shape[1:] or height > film.shape[0]:
            break
        for first, last in bands(*band.shape):
            levels = depth.black + band[first:last].astype(np.float64) * (depth.white - depth.black)
            yield depth.white + depth.black - levels if depth.is_inverted else levels
    if height != film.shape[0] or band.shape[1:] != film.shape[1:]:
        raise ValueError(f"rows to write are not {film.shape[0]} x {film.shape[1]}")


def rounded(levels: np.ndarray, kind: type) -> np.ndarray:
    """Return levels in the type of a file; there they fit in."""
    return levels.astype(kind) if np.dtype(kind).kind == "f" else np.rint(levels).astype(kind)


def whole(rows: Iterator[np.ndarray], shape: tuple[int, int], kind: type) -> np.ndarray:
    """Return bands of levels as one array of this type."""
    levels, start = np.empty(shape, kind), 0
    for band in rows:
        levels[start : start + len(band)] = rounded(band, kind)
        start += len(band)
    return levels


def write_tiff(original: Path, film: Film, rows: Iterator[np.ndarray], new: Path) -> None:
    """Write a grey TIFF by strips, compressed without loss, with the resolution of the original.

    Levels of fewer bits than a whole byte are stored in whole bytes, and which is white is said.
    """
    with tifffile.TiffFile(original) as tiff:
        page = tiff.pages.first
        kind = np.dtype(page.dtype if page.dtype.kind == "f" else f"u{page.dtype.itemsize}")
        options: dict[str, Any] = {"photometric": page.photometric, "iccprofile": page.iccprofile}
        resolution = [page.tags.valueof(tag, default=None) for tag in RESOLUTION]
        if page.tags.valueof(ORIENTATION, default=1) in (5, 6, 7, 8):
            resolution.reverse()
        if all(value and value[1] for value in resolution):
            options["resolutionunit"] = page.tags.valueof(UNIT, default=2)
            options["resolution"] = tuple(map(tuple, resolution))
    if kind.kind != "f" and film.depth.white < np.iinfo(kind).max:
        options["extratags"] = [(MOST_LEVEL, "H", 1, round(film.depth.white), True)]
    height, width = film.shape
    each = max(1, STRIP // (width * kind.itemsize))
    is_big = height * width * kind.itemsize > 4e9  # if nothing can be compressed
    with tifffile.TiffWriter(new, bigtiff=is_big, byteorder="<") as tiff:
        tiff.write(
            encoded(rows, film.shape, kind, each),
            **options,
            **{"shape": film.shape, "dtype": kind, "rowsperstrip": each, "metadata": None},
            **{"compression": "zlib", "predictor": kind.kind != "f", "software": False},
        )


def encoded(
    rows: Iterator[np.ndarray], shape: tuple[int, int], kind: np.dtype, each: int
) -> Iterator[bytes]:
    """Yield the strips of a TIFF, of `each` rows, compressed; bands of levels come in."""
    kept, left = np.empty((0, shape[1]), kind), shape[0]
    for band in rows:
        kept = np.concatenate([kept, rounded(band, kind)])
        left -= len(band)
        ready = len(kept) // each * each if left else len(kept)
        for start in range(0, ready, each):
            strip = kept[start : min(ready, start + each)].astype(kind.newbyteorder("<"))
            if kind.kind != "f":
                strip = imagecodecs.delta_encode(strip, axis=-1)
            yield imagecodecs.zlib_encode(strip)
        kept = kept[ready:]


def write_other(original: Path, depth: Depth, levels: np.ndarray, new: Path, kind: str) -> None:
    """Write levels (height, width) as PNG, BMP or PGM, with the resolution of the original."""
    if kind == "PPM" and depth.stored > 255:  # Pillow would say that 65535 is white
        height, width = levels.shape
        head = f"P5\n{width} {height}\n{round(depth.white)}\n"
        new.write_bytes(head.encode() + levels.astype(">u2").tobytes())
        return
    options: dict[str, Any] = {"pnginfo": PngInfo()} if kind == "PNG" else {}
    if kind_of(original) == "other":
        with Image.open(original) as image:
            is_turned = image.getexif().get(ORIENTATION) in (5, 6, 7, 8)
            if dpi := image.info.get("dpi"):
                options["dpi"] = dpi[::-1] if is_turned else dpi
            if image.mode[0] in "LI" and "icc_profile" in image.info:
                options["icc_profile"] = image.info["icc_profile"]
            if kind == "PNG" and "gamma" in image.info:
                gamma = struct.pack(">I", round(1e5 * image.info["gamma"]))
                options["pnginfo"].add(b"gAMA", gamma)
    declared = significant_bits(original)
    bits, white = declared or round(math.log2(depth.white + 1)), depth.white
    # Levels are spread over all that the file can hold, or the greatest of these bits is white.
    is_spread = declared and levels.max() >= 2**declared
    is_white = white == 2**bits - 1 and (declared or white < depth.stored)
    if kind == "PNG" and (is_spread or is_white):
        options["pnginfo"].add(b"sBIT", bytes([bits]))
    Image.fromarray(levels).save(new, kind, **options)
