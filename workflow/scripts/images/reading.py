"""Reading one image as grey levels."""

from dataclasses import replace
from mimetypes import MimeTypes
from pathlib import Path, PurePosixPath

import numpy as np
import tifffile
from PIL import Image, ImageOps

from engine.messages import InputError
from images.depths import Depth, check_brightest, depth_of
from images.dicom import is_dicom, levels_of, read_header
from images.greys import check_opaque, grey
from images.tiff import check_page, levels_of_page, only_page

DICOM = (".dcm", ".dicom", ".dic")
SUFFIXES = (
    *DICOM,
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".bmp", ".tif", ".tiff"),
    *(".gif", ".webp", ".pbm", ".pgm", ".ppm", ".pnm"),
)
MOST_PIXELS = 200_000_000
LONGEST_SIDE = 20_000

# Pillow's own limit warns from 89 and stops at 179 megapixels; `check_size` is exact instead.
Image.MAX_IMAGE_PIXELS = None


def holds_image(name: str, start: bytes) -> bool:
    """Whether a file is an image, by its name and, since DICOMs often have no suffix, its start.

    Args:
        name: Its name, or its path in an archive.
        start: Its first 132 bytes.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.stem.upper() == "DICOMDIR":  # the table of contents of a disk with DICOMs
        return False
    # What follows a dot may be the last number of a UID. Only Python's own list of suffixes is
    # asked, which is the same on all machines.
    is_known = MimeTypes().guess_type(path.name)[0] is not None
    return path.suffix.lower() in SUFFIXES or (is_dicom(start) and not is_known)


def image_id(name: str) -> str:
    """Return the name of an image without its suffix, if it has one of an image."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def read_grey(path: str | Path, smallest: int = 1) -> np.ndarray:
    """Read an image as `skimage.io.imread(path, as_gray=True)` does, scaled to [0, 1].

    Colours are weighted as in `skimage.color.rgb2gray`; unlike scikit-image, an orientation is
    applied, and what has no single meaning (transparency, CMYK, floats beyond [0, 1]) is refused.

    Args:
        path: A grey image of 1, 8 or 16 bits (a PGM of 1 to 16) or of 8 bits a colour, a TIFF of 1
            to 16 bits a channel or of grey floats in [0, 1], or a DICOM, see `images.dicom`.
        smallest: The least width and height, in pixels.

    Returns:
        float64 array (height, width) in [0, 1].

    Raises:
        InputError: The file is missing, damaged, no image, too small, too large or of a kind that
            is refused. The message names it and the remedy.
    """
    levels, depth = read_levels(Path(path), smallest)
    return depth.scaled(levels)


def read_levels(
    path: Path,
    smallest: int,
    white: float | None = None,
    window: bool = False,
    only_grey: bool = False,
) -> tuple[np.ndarray, Depth]:
    """Read an image as `read_grey` does, but without scaling it.

    Args:
        path: See `read_grey`.
        smallest: See `read_grey`.
        white: The level of white, if it is known from elsewhere.
        window: Take the levels through the window of each DICOM; others are refused.
        only_grey: Refuse an image whose colours differ.

    Returns:
        The grey levels (height, width), in the file's own type where it holds them, and what the
        file says of them.
    """
    try:
        kind = kind_of(path)
        if kind == "DICOM":
            levels, depth = _read_dicom(path, smallest, white, window)
        elif window:
            raise InputError("is no DICOM and has no window: leave it out, or leave out `window`")
        else:
            read = _read_tiff if kind == "TIFF" else _read_other
            levels, depth = read(path, smallest, white, only_grey)
        depth = replace(depth, brightest=float(levels.max()))
        check_brightest(depth.brightest, depth.white)
        return depth.white + depth.black - levels if depth.is_inverted else levels, depth
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise InputError(f"{path} {fault(error)}") from error


def kind_of(path: Path) -> str:
    """Return by what an image is read: `DICOM`, `TIFF` or `other`.

    Raises:
        OSError: There is no such file, or it may not be read.
    """
    with path.open("rb") as file:
        start = file.read(132)
    is_tiff = start[:2] in (b"II", b"MM")
    if is_dicom(start) or (path.suffix.lower() in DICOM and not is_tiff):
        return "DICOM"
    return "TIFF" if is_tiff else "other"


def fault(error: Exception) -> str:
    """Return what is wrong with an image and the remedy; an InputError of a reader says that."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "does not exist: check the name, or get the images again"
    if isinstance(error, PermissionError):
        return "may not be read: change its permissions"
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    what = f"cannot be read as an image ({reason}): it is damaged or of another kind"
    return f"{what}; get it again, or save it as PNG"


def _read_dicom(
    path: Path, smallest: int, given: float | None, window: bool
) -> tuple[np.ndarray, Depth]:
    try:
        header = read_header(path)
        check_size((header.Columns, header.Rows), smallest)
        return levels_of(header, given, window)
    except InputError:
        raise
    except Exception:  # its words may be those of the header
        raise ValueError("pydicom fails") from None


def _read_tiff(
    path: Path, smallest: int, given: float | None, only_grey: bool
) -> tuple[np.ndarray, Depth]:
    with tifffile.TiffFile(path) as tiff:
        page = only_page(tiff)
        check_size((page.imagewidth, page.imagelength), smallest)
        check_page(page)
        return levels_of_page(page, given, only_grey)


def _read_other(
    path: Path, smallest: int, given: float | None, only_grey: bool
) -> tuple[np.ndarray, Depth]:
    with Image.open(path) as image:
        check_size(image.size, smallest)
        if getattr(image, "n_frames", 1) > 1:
            raise InputError(f"has {image.n_frames} pictures: save each as an image")
        if image.mode[0] != "I" and any(";16" in str(tile.args) for tile in image.tile):
            raise InputError(
                "has colours of 16 bits, which would be cut to 8: save it as 16-bit grey"
            )
        greatest = _greatest_of_pgm(image)  # known as long as nothing is decoded
        if _is_neutral_jpeg(image, path):
            image.draft("L", image.size)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I;16"):
            levels = np.asarray(image)
            check_opaque([levels != image.info.get("transparency")], 1)
            return levels, depth_of(65535, given, _significant(path, levels))
        if greatest:  # Pillow spreads levels over 16 bits
            levels = np.rint(np.asarray(image) * (greatest / 65535)).astype(np.uint16)
            return levels, depth_of(65535, given, greatest if greatest < 65535 else None)
        if image.mode in ("P", "PA") or "transparency" in image.info:
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        if image.mode == "1":
            return np.asarray(image), Depth(1, 1, is_declared=True)
        if image.mode not in ("L", "LA", "RGB", "RGBA"):
            raise InputError(f"is of mode {image.mode}: save it as 8- or 16-bit grey, or as RGB")
        channels = [np.asarray(channel) for channel in image.split()]
        if image.mode.endswith("A"):
            check_opaque([channels.pop()], 255)
        levels = grey(channels, 255.0, only_grey)
        return levels, depth_of(255, given, _significant(path, channels[0]))


def _greatest_of_pgm(image: Image.Image) -> float | None:
    """Return the level of white that an opened PGM of more than 8 bits names; None of others."""
    if image.format != "PPM" or image.mode != "I":
        return None
    options = image.tile[0].args  # the mode alone, if all levels of 16 bits can be there
    return float(options[1]) if isinstance(options, tuple) else 65535.0


def _significant(path: Path, levels: np.ndarray) -> float | None:
    """Return the level of white by a PNG's chunk sBIT, its number of significant bits.

    As the standard has it, levels of fewer bits are spread over all that the file could hold. Some
    programs store them as they are: then none is above what the bits hold.
    """
    bits = significant_bits(path)
    return 2.0**bits - 1 if bits and levels.max() <= 2**bits - 1 else None


def significant_bits(path: Path) -> int | None:
    """Return the number of significant bits that a PNG declares, if it does."""
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return None
        while (kind := (head := file.read(8))[4:]) not in (b"IDAT", b""):
            content = file.read(int.from_bytes(head[:4], "big") + 4)
            if kind == b"sBIT":
                return content[0]
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


def check_size(
    size: tuple[int, int],
    smallest: int,
    pixels: int | None = None,
    side: int | None = None,
) -> None:
    """Refuse an image before it is decoded.

    Args:
        size: Its width and height, in pixels.
        smallest: The least width and height.
        pixels: How many it may have, if not `MOST_PIXELS`.
        side: The greatest width and height, if not `LONGEST_SIDE`.
    """
    pixels, side = pixels or MOST_PIXELS, side or LONGEST_SIDE
    width, height = size
    if min(size) < 1:
        raise InputError(f"has no pixels ({width} x {height}): give another copy of it")
    if min(size) < smallest:
        raise InputError(
            f"is too small ({width} x {height} pixels; at least {smallest} x {smallest} "
            "are needed): give a larger copy of it, or set a smaller image_size"
        )
    if width * height > pixels or max(size) > side:
        raise InputError(
            f"is too large ({width} x {height} pixels; at most {pixels // 10**6} "
            f"megapixels and {side} a side): give a smaller copy of it"
        )
