"""Reading a DICOM: its grey levels, and what its header says of them.

A header holds a patient's data. Nothing of it gets out of here but what is returned, and messages
quote no more of it than numbers of bits. pydicom is imported when the first DICOM is met, since
that takes a third of a second.
"""

import logging
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.messages import InputError
from images.depths import Depth, depth_of

if TYPE_CHECKING:
    from pydicom import Dataset
else:
    Dataset = Any

# Whether the least level is white.
PHOTOMETRICS = {"MONOCHROME1": True, "MONOCHROME2": False}
SHAPES = {"INVERSE": True, "IDENTITY": False}
# The decoder in imagecodecs by the last part of a transfer syntax, after 1.2.840.10008.1.2.4;
# pydicom itself decodes RLE, and what is not compressed or deflated as a whole.
DECODERS = {
    **dict.fromkeys(("50", "51", "57", "70"), "jpeg8_decode"),
    **dict.fromkeys(("80", "81"), "jpegls_decode"),
    **dict.fromkeys(("90", "91", "201", "202", "203"), "jpeg2k_decode"),
}
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
MOST_BITS = 16


def is_dicom(start: bytes) -> bool:
    """Whether a file that starts with these bytes, 132 or more, is a DICOM."""
    return start[128:132] == b"DICM"


def read_header(path: Path) -> Dataset:
    """Return the header of a DICOM that has one grey picture, and the picture undecoded.

    Raises:
        InputError: It is of a kind that is refused; the message says why and the remedy.
        Exception: It is damaged; what pydicom says of that may quote the header.
    """
    header = quiet_pydicom().dcmread(path, force=True)
    if "FloatPixelData" in header or "DoubleFloatPixelData" in header:
        raise InputError("has levels that are floats: export it with whole numbers")
    if "PixelData" not in header:
        raise InputError("is a DICOM that holds no pixels: leave it out, or get it again")
    if (header.get("NumberOfFrames") or 1) > 1 or "SharedFunctionalGroupsSequence" in header:
        raise InputError("is a multi-frame DICOM: export each frame as a DICOM of its own")
    if header.PhotometricInterpretation == "PALETTE COLOR":
        raise InputError("has a palette of colours: export it as grey (MONOCHROME2)")
    if header.SamplesPerPixel != 1 or header.PhotometricInterpretation not in PHOTOMETRICS:
        raise InputError("has colours: export it as grey (MONOCHROME2)")
    is_inverted = PHOTOMETRICS[header.PhotometricInterpretation]
    if SHAPES.get(header.get("PresentationLUTShape"), is_inverted) != is_inverted:
        raise InputError(
            "has a PhotometricInterpretation and a PresentationLUTShape of which one says that its "
            "least level is black and one that it is white: export it again"
        )
    if header.BitsStored > MOST_BITS or header.HighBit != header.BitsStored - 1:
        raise InputError(
            f"has levels of {header.BitsStored} bits, the highest in bit {header.HighBit}: export "
            f"it with {MOST_BITS} bits or fewer, from bit 0 on"
        )
    if header.get("BurnedInAnnotation") == "YES":
        raise InputError(
            "has text in its picture, as its header says (BurnedInAnnotation), which figures would "
            "show: remove the text"
        )
    return header


def levels_of(
    header: Dataset, given: float | None = None, window: bool = False
) -> tuple[np.ndarray, Depth]:
    """Return the grey levels (height, width) of a DICOM, and what its header says of them.

    The levels are those after the modality LUT or the rescale slope and intercept. Black is the
    least that its bits could give then, and white the greatest. Overlays are left out.

    Args:
        header: As `read_header` returns it.
        given: The level of white, if it is known from elsewhere.
        window: Apply the window, the header's first VOI LUT or else its first window centre and
            width, to the levels: then they are floats in [0, 1], and white is the window's top.

    Raises:
        InputError, Exception: As `read_header` does.
    """
    levels, bits, is_signed = stored_of(header), header.BitsStored, _is_signed(header)
    least = -(2.0 ** (bits - 1)) if is_signed else 0.0
    black, white = least, least + 2**bits - 1
    if tables := header.get("ModalityLUTSequence"):
        levels, bits = _looked_up(levels, tables[0])
        black, white, is_signed = 0.0, 2.0**bits - 1, False
    else:
        slope, intercept = (_number(header, f"Rescale{key}") for key in ("Slope", "Intercept"))
        black, white = sorted(slope * level + intercept for level in (black, white))
        if not -np.inf < black < white < np.inf:
            raise InputError("has a rescale slope or intercept without a use: export it again")
        if (slope, intercept) != (1, 0):
            levels = slope * levels + intercept
    if window:
        if given:
            raise InputError("has white at the top of its window: leave out `white`, or `window`")
        levels, depth = _windowed(levels, header), Depth(1, 1, is_declared=True)
    else:
        depth = depth_of(white, given, black=black)
        # Nobody says other numbers by mistake; and what is given does not say where black is.
        is_declared = bits not in (8, 16) or (depth.is_declared and not is_signed)
        darkest = float(levels.min()) if is_signed else black
        depth = replace(depth, is_declared=is_declared, darkest=darkest)
    is_inverted = PHOTOMETRICS[header.PhotometricInterpretation]
    spacings = {key: text for key in SPACINGS if (text := _spacing(header, key))}
    return levels, replace(depth, is_inverted=is_inverted, spacings=spacings)


@cache
def quiet_pydicom() -> ModuleType:
    """Return pydicom, silenced: its warnings, to the log as well, quote what headers hold."""
    import pydicom.pixels

    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    return pydicom


def _is_signed(header: Dataset) -> bool:
    return header.get("PixelRepresentation") == 1


def _number(header: Dataset, key: str) -> float:
    """Return a rescale slope or intercept; one that is not given or empty changes nothing."""
    value = header.get(key)
    return float(key == "RescaleSlope") if value is None else float(value)


def _spacing(header: Dataset, key: str) -> str:
    """Return how far rows and columns lie apart, in mm, as text; nothing if that is not given."""
    if not (distances := header.get(key)):
        return ""
    rows, columns = map(float, distances)
    return f"{rows} {columns}"


def stored_of(header: Dataset) -> np.ndarray:
    """Return the levels (height, width) as they are stored, whole numbers with or without sign."""
    pixels, bits = decoded_of(header), header.BitsStored
    unused = 8 * pixels.itemsize - bits
    if pixels.shape != (header.Rows, header.Columns) or unused < 0:
        raise InputError(
            "does not hold one picture of the size and the bits that it declares: export it again"
        )
    unsigned, signed = (f"{kind}{pixels.itemsize}" for kind in "ui")
    words = pixels.astype(pixels.dtype.newbyteorder("=")).view(unsigned)
    # The sign is the highest of the bits that count; those above repeat it, are 0 or an overlay.
    levels = (words << unused).view(signed if _is_signed(header) else unsigned) >> unused
    extended = levels.view(unsigned)
    is_sound = any(np.array_equal(words, found) for found in (extended, extended & (2**bits - 1)))
    if not is_sound and not has_overlay(header):
        raise InputError(f"has levels beyond the {bits} bits that it declares: export it again")
    return levels


def has_overlay(header: Dataset) -> bool:
    """Whether bits of the picture that are not of the levels hold an overlay."""
    overlays = (header.get((group, 0x0102)) for group in range(0x6000, 0x6020, 2))
    return any(overlay and overlay.value for overlay in overlays)


def decoded_of(header: Dataset) -> np.ndarray:
    """Return the picture as it was encoded, integers (height, width) of any byte order."""
    pydicom = quiet_pydicom()
    if not (syntax := getattr(header, "file_meta", {}).get("TransferSyntaxUID")):
        # Of old, or cut off: pydicom then has read it as what it looks like.
        implicit, little = header.original_encoding
        kinds = pydicom.uid.ExplicitVRBigEndian, pydicom.uid.ExplicitVRLittleEndian
        syntax = pydicom.uid.ImplicitVRLittleEndian if implicit else kinds[little]
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError:
        raise InputError("is compressed in an unknown way: export it uncompressed") from None
    if syntax.is_encapsulated != header["PixelData"].is_undefined_length:
        raise ValueError("the header does not say how the picture is compressed")
    prefix, _, kind = syntax.rpartition(".")
    if prefix == "1.2.840.10008.1.2.4" and kind in DECODERS:
        import imagecodecs

        (frame,) = pydicom.encaps.generate_frames(header.PixelData, number_of_frames=1)
        # Decoders would make up what is missing.
        if not frame.rstrip(b"\0\xff").endswith(b"\xff\xd9"):
            raise ValueError("its end is missing")
        return getattr(imagecodecs, DECODERS[kind])(frame)
    return decoder.as_array(header, raw=True, correct_unused_bits=False)[0]


def _table(table: Dataset) -> tuple[np.ndarray, int, int]:
    """Return the entries of a look-up table, the level of the first one, and their bits."""
    entries, first, bits = table.LUTDescriptor
    entries, data = entries or 2**16, table.LUTData
    if isinstance(data, bytes):
        order = "><"[table.original_encoding[1]]
        data = np.frombuffer(data, "u1" if len(data) < 2 * entries else f"{order}u2")[:entries]
    data = np.atleast_1d(data)
    if len(data) != entries or not 2**bits <= 2 * int(data.max()) < 2 * 2**bits:
        raise InputError(
            f"has a look-up table (LUT) that does not fill the {bits} bits that it declares: "
            "export it without"
        )
    return data, first, bits


def _looked_up(levels: np.ndarray, table: Dataset) -> tuple[np.ndarray, int]:
    """Return what a look-up table makes of levels, and its number of bits.

    pydicom's own functions know no tables of all numbers of bits, and wrap what is beyond 8.
    """
    data, first, bits = _table(table)
    places = np.rint(np.clip(levels.astype(np.float64) - first, 0, len(data) - 1))
    return data[places.astype(np.intp)], bits


def stored_levels(header: Dataset, levels: np.ndarray) -> np.ndarray:
    """Return what a DICOM has to store so that `levels_of`, without a window, returns these levels.

    Args:
        header: As `read_header` returns it.
        levels: Of any shape; each is rounded to the nearest that can be stored.

    Returns:
        int16 or uint16 of this shape, with a sign if the DICOM's levels have one.

    Raises:
        InputError: Its levels can't be mapped back, whatever they are.
    """
    if tables := header.get("ModalityLUTSequence"):
        data, first, _ = _table(tables[0])
        steps = np.diff(data.astype(np.int64))
        if (steps < 0).any() and (steps > 0).any():
            raise InputError(
                "has a modality look-up table (LUT) that rises and falls, so what is changed can't "
                "be stored: export it without"
            )
        rising = data if data[0] <= data[-1] else data[::-1]
        places = np.searchsorted(rising[1:] / 2 + rising[:-1] / 2, levels)
        stored = first + (places if rising is data else len(data) - 1 - places)
    else:
        slope, intercept = (_number(header, f"Rescale{key}") for key in ("Slope", "Intercept"))
        stored = (levels - intercept) / slope
    least = -(2 ** (header.BitsStored - 1)) if _is_signed(header) else 0
    stored = np.rint(np.clip(stored, least, least + 2**header.BitsStored - 1))
    return stored.astype(np.int16 if _is_signed(header) else np.uint16)


def _windowed(levels: np.ndarray, header: Dataset) -> np.ndarray:
    """Return levels in [0, 1] by the header's first VOI LUT, or else its first window."""
    if tables := header.get("VOILUTSequence"):
        levels, bits = _looked_up(levels, tables[0])
        return levels / (2**bits - 1)
    without = InputError("has no valid window: leave it out, or leave out `window`")
    if header.get("WindowCenter") is None or header.get("WindowWidth") is None:
        raise without
    window = quiet_pydicom().pixels.apply_windowing
    try:
        bottom, top = window(np.array([-np.inf, np.inf]), header)
        return np.clip((window(levels, header) - bottom) / (top - bottom), 0, 1)
    except ValueError:
        raise without from None
