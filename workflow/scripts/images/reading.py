"""Reading one image as grey levels, resizing it, and telling which film it shows."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.fft
import scipy.sparse
import tifffile
from PIL import Image, ImageOps
from skimage.transform import resize as skimage_resize

from engine.job import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
MOST_PIXELS = 200_000_000
LONGEST_SIDE = 20_000
# scikit-image's weights of red, green and blue (`skimage.color.rgb2gray`).
LUMA = (0.2125, 0.7154, 0.0721)
# Fingerprints of one film differ in at most 2 of 256 bits (JPEG of quality 50 to 95, PNG, BMP, grey
# or RGB, +-2 grey levels, half size; 26 films), those of two different films in 29 or more (all
# pairs of the 400). Films copied at another exposure lie between (1 to 16 bits), but their means
# differ by 27 grey levels or more, and by at most 2 within one film.
MOST_BITS = 10
MOST_LEVELS = 5

TAGS = {"bits": 258, "photometric": 262, "orientation": 274, "sample format": 339}  # of TIFF

# Pillow's own limit warns from 89 and stops at 179 megapixels; `_check_size` is exact instead.
Image.MAX_IMAGE_PIXELS = None


def read_grey(path: str | Path, smallest: int = 1) -> np.ndarray:
    """Read an image as `skimage.io.imread(path, as_gray=True)` does, scaled to [0, 1].

    Colours are weighted as in `skimage.color.rgb2gray`; unlike scikit-image, an EXIF orientation is
    applied, and what has no single meaning (transparency, CMYK, floats beyond [0, 1]) is refused.

    Args:
        path: An image of 1, 8 or 16 bits a channel, or a TIFF of floats in [0, 1].
        smallest: The least width and height, in pixels.

    Returns:
        float64 array (height, width) in [0, 1].

    Raises:
        InputError: The file is missing, damaged, no image, too small, too large or of a kind that
            is refused. The message names it and the remedy.
    """
    levels, white = _read_levels(Path(path), smallest)
    return levels / white


def read_resized(path: str | Path, size: int) -> np.ndarray:
    """Read an image as `read_grey` does and return it resized to float64 (size, size) in [0, 1]."""
    levels, white = _read_levels(Path(path), smallest=size)
    return resize(levels, size) / white


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Return what `skimage.transform.resize(image, (size, size))` gives for floats, to 1e-12.

    Args:
        image: Array (height, width) of any real type; the result keeps its range.
        size: Width and height of the result, in pixels.

    Returns:
        float64 array (size, size).
    """
    height, width = image.shape
    rows, columns = resize_matrix(height, size), resize_matrix(width, size)
    narrowed = np.empty((size, width))
    # Blocks of columns stay in the processor's cache while they are converted and summed.
    for start in range(0, width, 256):
        block = slice(start, start + 256)
        narrowed[:, block] = rows @ image[:, block].astype(np.float64)
    resized = np.ascontiguousarray((columns @ narrowed.T).T)
    # Weights that add up to 1 but for rounding can leave the image's range by 1e-15.
    return np.clip(resized, image.min(), image.max(), out=resized)


def fingerprint(path: str | Path) -> str:
    """Return 66 hexadecimal digits that tell which film an image shows, in whatever encoding.

    They hold the signs of the 16 x 16 lowest frequencies of the image at 128 x 128, and its mean
    grey level (0 to 255); see `same_film`. Raises InputError as `read_grey` does.
    """
    thumbnail = read_resized(path, 128)
    signs = scipy.fft.dctn(thumbnail)[:16, :16] > 0
    return np.packbits(signs).tobytes().hex() + f"{round(255 * thumbnail.mean()):02x}"


def same_film(first: str, second: str) -> bool:
    """Whether two fingerprints are of the same film at the same exposure."""
    (bits, level), (other_bits, other_level) = (
        (int(digits[:-2], 16), int(digits[-2:], 16)) for digits in (first, second)
    )
    return (bits ^ other_bits).bit_count() <= MOST_BITS and abs(level - other_level) <= MOST_LEVELS


@lru_cache(maxsize=64)
def resize_matrix(length: int, size: int) -> scipy.sparse.csr_array:
    """Return the matrix (size, length) by which scikit-image resizes one axis of an image.

    The resize is linear and works on each axis by itself, so resizing an identity gives all of it.
    It is sparse (75 values a row for 2400 -> 128), which makes the product cheaper than BLAS does.
    """
    parts = []
    for start in range(0, length, 512):  # whole, the identity of a long side would fill the memory
        identity = np.eye(length, min(512, length - start), -start)
        resized = skimage_resize(identity, (size, identity.shape[1]))
        parts.append(scipy.sparse.csc_array(resized))
    return scipy.sparse.csr_array(scipy.sparse.hstack(parts))


def _read_levels(path: Path, smallest: int) -> tuple[np.ndarray, float]:
    """Return the grey levels (height, width), in the file's own type, and the level of white."""
    try:
        # Not by its path: Pillow would map the file, and mix up the pixels of a TIFF that has to be turned.
        with path.open("rb") as file, Image.open(file) as image:
            _check_size(path, image.size, smallest)
            if image.format == "TIFF" and _needs_tifffile(image):
                return _read_tiff(path, smallest)
            if image.format == "PNG" and image.n_frames > 1:
                raise InputError(f"{path} has {image.n_frames} pictures: save each as an image")
            if image.mode[0] != "I" and any(";16" in str(tile.args) for tile in image.tile):
                raise InputError(
                    f"{path} has colours of 16 bits, which would be cut to 8: save it as 16-bit grey"
                )
            if _is_neutral_jpeg(image, path):
                image.draft("L", image.size)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _levels(path, image)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist: check the name, or get the images again"
        ) from error
    except PermissionError as error:
        raise InputError(f"{path} may not be read: change its permissions") from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        if path.suffix.lower() in (".tif", ".tiff"):
            return _read_tiff(path, smallest)
        raise InputError(
            f"{path} cannot be read as an image ({_reason(error)}): it is damaged or of "
            "another kind; get it again, or save it as PNG"
        ) from error


def _needs_tifffile(image: Image.Image) -> bool:
    """Whether Pillow refuses an opened TIFF, or would read other grey levels than it has.

    It does not look at the signs of 8 bits, takes 12 bits for 16, and 16 bits whose 0 is white for black.
    """
    tags = image.tag_v2
    signed = tags.get(TAGS["sample format"], (1,))[0] == 2
    whole = tags.get(TAGS["bits"]) == (16,) and tags.get(TAGS["photometric"]) != 0
    return (
        image.mode == "F"
        or image.n_frames > 1
        or signed
        or (image.mode.startswith("I;16") and not whole)
    )


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


def _levels(path: Path, image: Image.Image) -> tuple[np.ndarray, float]:
    """Return the levels of a decoded image and the level of white; see `_read_levels`."""
    deep = image.mode.startswith("I;16")
    if deep and image.info.get("transparency") in np.asarray(image):
        raise InputError(f"{path} is partly transparent: save it without its alpha channel")
    if deep:
        return np.asarray(image), 65535.0
    if image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode == "1":
        return np.asarray(image), 1.0
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise InputError(f"{path} is of mode {image.mode}: save it as 8- or 16-bit grey, or as RGB")
    channels = [np.asarray(channel) for channel in image.split()]
    if image.mode.endswith("A") and channels.pop().min() < 255:
        raise InputError(f"{path} is partly transparent: save it without its alpha channel")
    if all(np.array_equal(channels[0], other) for other in channels[1:]):
        return channels[0], 255.0
    grey = sum(weight * channel for weight, channel in zip(LUMA, channels, strict=True))
    return np.minimum(grey, 255.0, out=grey), 255.0  # white rounds up to 255 + 3e-14


def _read_tiff(path: Path, smallest: int) -> tuple[np.ndarray, float]:
    """Read the TIFFs that Pillow cannot: float64, and compressions that only tifffile knows."""
    try:
        with tifffile.TiffFile(path) as tiff:
            if len(tiff.pages) > 1:
                raise InputError(f"{path} has {len(tiff.pages)} pages: save each as an image")
            page = tiff.pages.first
            _check_size(path, (page.imagewidth, page.imagelength), smallest)
            levels, white = page.asarray(), 2.0**page.bitspersample - 1
            zero_is_white = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
            orientation = page.tags.valueof(TAGS["orientation"], default=1)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a TIFF ({_reason(error)}): it is damaged or of a rare "
            "kind; get it again, or save it as PNG"
        ) from error
    if levels.ndim != 2 or levels.dtype.kind not in "uf" or levels.dtype.itemsize > 8:
        raise InputError(f"{path} is no grey image of known levels: save it as 16-bit grey PNG")
    if levels.dtype.kind == "f":
        levels, white = levels.astype(np.float64), 1.0
    # A comparison with NaN is false, so this refuses NaN too; integers of 32 bits mean anything.
    if not (white < 2**16 and levels.min() >= 0 and levels.max() <= white):
        raise InputError(f"{path} has levels outside [0, 1] or undefined ones: scale it to [0, 1]")
    turned = levels.transpose() if orientation in (5, 6, 7, 8) else levels
    turned = turned[:: -1 if orientation in (3, 4, 7, 8) else 1]
    turned = turned[:, :: -1 if orientation in (2, 3, 6, 7) else 1]
    return np.ascontiguousarray(white - turned if zero_is_white else turned), white


def _check_size(path: Path, size: tuple[int, int], smallest: int) -> None:
    """Refuse an image of `size` (width, height) before it is decoded."""
    width, height = size
    if min(size) < smallest:
        raise InputError(
            f"{path} is too small ({width} x {height} pixels; at least {smallest} x {smallest} "
            "are needed): give a larger copy of it, or set a smaller image_size"
        )
    if width * height > MOST_PIXELS or max(size) > LONGEST_SIDE:
        raise InputError(
            f"{path} is too large ({width} x {height} pixels; at most {MOST_PIXELS // 10**6} "
            f"megapixels and {LONGEST_SIDE} a side): give a smaller copy of it"
        )


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
