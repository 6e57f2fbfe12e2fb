"""Reading one image as grey levels."""

import math
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import tifffile
from PIL import Image, ImageOps
from tifffile import COMPRESSION, PHOTOMETRIC

from engine.messages import InputError

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".bmp", ".tif", ".tiff"),
    *(".gif", ".webp", ".pbm", ".pgm", ".ppm", ".pnm"),
)
MOST_PIXELS = 200_000_000
LONGEST_SIDE = 20_000
# scikit-image's weights of red, green and blue (`skimage.color.rgb2gray`).
LUMA = (0.2125, 0.7154, 0.0721)
ORIENTATION, MOST_LEVEL = 274, 281  # tags of TIFF: Orientation, MaxSampleValue

# Pillow's own limit warns from 89 and stops at 179 megapixels; `_check_size` is exact instead.
Image.MAX_IMAGE_PIXELS = None


def holds_image(name: str, start: bytes) -> bool:
    """Whether a file is an image, by its name and its start.

    Args:
        name: Its name, or its path in an archive.
        start: Its first 132 bytes.
    """
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def image_id(name: str) -> str:
    """Return the name of an image without its suffix, if it has one of an image."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def read_grey(path: str | Path, smallest: int = 1) -> np.ndarray:
    """Read an image as `skimage.io.imread(path, as_gray=True)` does, scaled to [0, 1].

    Colours are weighted as in `skimage.color.rgb2gray`; unlike scikit-image, an orientation is
    applied, and what has no single meaning (transparency, CMYK, floats beyond [0, 1]) is refused.

    Args:
        path: A grey image of 1, 8 or 16 bits or of 8 bits a colour, or a TIFF of 1 to 16 bits a
            channel or of grey floats in [0, 1].
        smallest: The least width and height, in pixels.

    Returns:
        float64 array (height, width) in [0, 1].

    Raises:
        InputError: The file is missing, damaged, no image, too small, too large or of a kind that
            is refused. The message names it and the remedy.
    """
    levels, depth = read_levels(Path(path), smallest)
    return levels / depth.white


def read_levels(
    path: Path, smallest: int, white: float | None = None
) -> tuple[np.ndarray, "Depth"]:
    """Read an image as `read_grey` does, but without scaling it.

    Args:
        path: See `read_grey`.
        smallest: See `read_grey`.
        white: The level of white, if it is known from elsewhere.

    Returns:
        The grey levels (height, width), in the file's own type where it holds them, and what the
        file says of them.
    """
    try:
        with path.open("rb") as file:
            read = _read_tiff if file.read(2) in (b"II", b"MM") else _read_other
        levels, depth = read(path, smallest, white)
        depth = replace(depth, brightest=float(levels.max()))
        if depth.brightest > depth.white:
            raise InputError(
                f"has levels up to {depth.brightest:g}, above that of white ({depth.white:g}): "
                "correct `white`, or what the file declares"
            )
        return levels, depth
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise InputError(f"{path} {_fault(error)}") from error


@dataclass(frozen=True)
class Depth:
    """What a file says of its levels.

    Attributes:
        stored: The greatest level that it could hold.
        white: The level of white: as given, as the file declares it, or else what it could hold.
        is_declared: Whether it is given or declared.
        brightest: The greatest level that it holds.
    """

    stored: float
    white: float
    is_declared: bool = False
    brightest: float = 0


def _depth(stored: float, given: float | None, declared: float | None = None) -> Depth:
    """Return the depth of a file by what it could hold; what is given counts before its own."""
    if given and given > stored:
        raise InputError(f"holds levels up to {stored:g}, so white can't be {given:g}")
    white = given or declared
    return Depth(stored, white or stored, white is not None)


def _fault(error: Exception) -> str:
    """Return what is wrong with an image and the remedy; an InputError in this file says that."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "does not exist: check the name, or get the images again"
    if isinstance(error, PermissionError):
        return "may not be read: change its permissions"
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    what = f"cannot be read as an image ({reason}): it is damaged or of another kind"
    return f"{what}; get it again, or save it as PNG"


def _read_tiff(path: Path, smallest: int, given: float | None) -> tuple[np.ndarray, Depth]:
    with tifffile.TiffFile(path) as tiff:
        if len(tiff.pages) > 1:
            raise InputError(f"has {len(tiff.pages)} pages: save each as an image")
        page = tiff.pages.first
        _check_size((page.imagewidth, page.imagelength), smallest)
        colours = _colours(page)
        if not colours:
            raise InputError(
                f"has no known levels ({page.samplesperpixel} x {page.bitspersample} bits, "
                f"{page.dtype}, photometric {page.photometric}, compression {page.compression}): "
                "save it as 8- or 16-bit grey, or as RGB"
            )
        # What is missing would be black, and the rest of a cut JPEG grey.
        spans = zip(page.dataoffsets, page.databytecounts, strict=True)
        ends = [start and count and start + count for start, count in spans]
        if len(ends) < math.prod(page.chunked) or 0 in ends or max(ends) > tiff.filehandle.size:
            raise ValueError("parts of it are missing")
        samples = page.asarray(maxworkers=1).reshape(page.shaped)
        declared = page.tags.valueof(MOST_LEVEL, default=None)
        depth = _depth(2.0**page.bitspersample - 1, given, np.max(declared) if declared else None)
        if page.bitspersample not in (8, 16):  # nobody says so by mistake
            depth = replace(depth, is_declared=True)
        if samples.dtype.kind == "f":
            samples, depth = samples.astype(np.float64), Depth(1, 1, is_declared=True)
        channels = list(np.moveaxis(samples, 4, 1).reshape(-1, *samples.shape[2:4]))
        channels, extra = channels[:colours], channels[colours:]
        # Only those that are said to be no alpha are left out.
        alphas = [a for n, a in enumerate(extra) if page.extrasamples[n : n + 1] != (0,)]
        _check_opaque(alphas, depth.stored)
        if page.photometric == PHOTOMETRIC.PALETTE:
            palette = (page.colormap >> 8).astype(np.uint8)
            channels, depth = list(np.take(palette, channels[0], axis=1)), Depth(255, 255)
        white = depth.white
        levels = _grey(channels, white)
        # A comparison with NaN is false, so this refuses NaN too.
        if not (levels.min() >= 0 and levels.max() <= white):
            raise InputError("has levels outside [0, 1] or undefined ones: scale it to [0, 1]")
        if page.photometric == PHOTOMETRIC.MINISWHITE:
            levels = white - levels
        orientation = page.tags.valueof(ORIENTATION, default=1)
    turned = levels.transpose() if orientation in (5, 6, 7, 8) else levels
    turned = turned[:: -1 if orientation in (3, 4, 7, 8) else 1]
    turned = turned[:, :: -1 if orientation in (2, 3, 6, 7) else 1]
    return np.ascontiguousarray(turned), depth


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


def _read_other(path: Path, smallest: int, given: float | None) -> tuple[np.ndarray, Depth]:
    with Image.open(path) as image:
        _check_size(image.size, smallest)
        if getattr(image, "n_frames", 1) > 1:
            raise InputError(f"has {image.n_frames} pictures: save each as an image")
        if image.mode[0] != "I" and any(";16" in str(tile.args) for tile in image.tile):
            raise InputError(
                "has colours of 16 bits, which would be cut to 8: save it as 16-bit grey"
            )
        if _is_neutral_jpeg(image, path):
            image.draft("L", image.size)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I;16"):
            levels = np.asarray(image)
            _check_opaque([levels != image.info.get("transparency")], 1)
            return levels, _depth(65535, given, _significant(path, levels))
        if image.mode in ("P", "PA") or "transparency" in image.info:
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        if image.mode == "1":
            return np.asarray(image), Depth(1, 1, is_declared=True)
        if image.mode not in ("L", "LA", "RGB", "RGBA"):
            raise InputError(f"is of mode {image.mode}: save it as 8- or 16-bit grey, or as RGB")
        channels = [np.asarray(channel) for channel in image.split()]
        if image.mode.endswith("A"):
            _check_opaque([channels.pop()], 255)
        return _grey(channels, 255.0), _depth(255, given, _significant(path, channels[0]))


def _significant(path: Path, levels: np.ndarray) -> float | None:
    """Return the level of white by a PNG's chunk sBIT, its number of significant bits.

    As the standard has it, levels of fewer bits are spread over all that the file could hold. Some
    programs store them as they are: then none is above what the bits hold.
    """
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return None
        while (kind := (head := file.read(8))[4:]) not in (b"IDAT", b""):
            content = file.read(int.from_bytes(head[:4], "big") + 4)
            if kind == b"sBIT":
                white = 2.0 ** content[0] - 1
                return white if levels.max() <= white else None
    return None


def _is_neutral_jpeg(image: Image.Image, path: Path) -> bool:
    """Whether an opened JPEG stores colour channels that hold no colour anywhere.

    Its luma then is its grey, and decoding that alone moves an eighth of the memory. At half size
    libjpeg decodes chroma that is stored at half size in full, so this overlooks nothing; both
    decodings together cost less than comparing three full-size channels.
    """
    if image.format != "JPEG" or image.mode != "RGB":
        return False
    # Twofold subsampled chroma, and YCbCr rather than RGB inside.
    sampling = [layer[:3] for layer in image.layer]
    if sampling != [(1, 2, 2), (2, 1, 1), (3, 1, 1)] or image.info.get("adobe_transform", 1) != 1:
        return False
    with Image.open(path) as small:
        small.draft("YCbCr", (small.width // 2, small.height // 2))
        return all(small.getchannel(name).getextrema() == (128, 128) for name in ("Cb", "Cr"))


def _check_opaque(alphas: list[np.ndarray], white: float) -> None:
    if any(alpha.min() < white for alpha in alphas):
        raise InputError("is partly transparent: save it without its alpha channel")


def _grey(channels: list[np.ndarray], white: float) -> np.ndarray:
    """Weigh the colours of an image; equal ones, or a single one, are returned as they are."""
    if all(np.array_equal(channels[0], other) for other in channels[1:]):
        return channels[0]
    grey = sum(weight * channel for weight, channel in zip(LUMA, channels, strict=True))
    return np.minimum(grey, white, out=grey)  # white rounds up to 255 + 3e-14


def _check_size(size: tuple[int, int], smallest: int) -> None:
    """Refuse an image of `size` (width, height) before it is decoded."""
    width, height = size
    if min(size) < smallest:
        raise InputError(
            f"is too small ({width} x {height} pixels; at least {smallest} x {smallest} "
            "are needed): give a larger copy of it, or set a smaller image_size"
        )
    if width * height > MOST_PIXELS or max(size) > LONGEST_SIDE:
        raise InputError(
            f"is too large ({width} x {height} pixels; at most {MOST_PIXELS // 10**6} "
            f"megapixels and {LONGEST_SIDE} a side): give a smaller copy of it"
        )
