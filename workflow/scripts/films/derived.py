"""Writing a DICOM that is derived from another one."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from images.dicom import (
    decoded_of,
    has_overlay,
    quiet_pydicom,
    read_header,
    stored_levels,
    stored_of,
)

if TYPE_CHECKING:
    from pydicom import Dataset
else:
    Dataset = Any

MOST_TEXT = 1024  # characters of a description
# What would be wrong of another picture.
LEFT_OUT = (
    *("DigitalSignaturesSequence", "MACParametersSequence"),
    *("SmallestImagePixelValue", "LargestImagePixelValue"),
    *("SmallestPixelValueInSeries", "LargestPixelValueInSeries"),
)
# Bytes of a value, by kinds of elements that are read as bytes.
WIDTHS = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}
PURPOSE = {
    "CodeValue": "121322",
    "CodingSchemeDesignator": "DCM",
    "CodeMeaning": "Source image for image processing operation",
}


def write_dicom(original: Path, rows: Iterable[np.ndarray], new: Path, said: str) -> None:
    """Write a DICOM with other levels as an image derived from an original, uncompressed.

    Its header is that of the original, but for what says that it is another image: its UIDs, which
    are the same whenever the same is done to the same, `ImageType`, `DerivationDescription` and
    `SourceImageSequence`; for how its levels are encoded; and for what would be wrong of it.

    Args:
        original: The DICOM it is made of.
        rows: Bands of levels (n, width), as `images.dicom.levels_of` returns them.
        new: The file to write.
        said: What was done, in words.

    Raises:
        InputError: Levels can't be mapped back to what is stored.
    """
    pydicom = quiet_pydicom()
    header = read_header(original)
    stored = np.concatenate([stored_levels(header, levels) for levels in rows])
    uid = pydicom.uid.generate_uid
    source = pydicom.Dataset()
    source.ReferencedSOPClassUID = header.get("SOPClassUID", "")
    source.ReferencedSOPInstanceUID = header.get("SOPInstanceUID", "")
    source.PurposeOfReferenceCodeSequence = [pydicom.Dataset()]
    for key, value in PURPOSE.items():
        setattr(source.PurposeOfReferenceCodeSequence[0], key, value)
    made_of = [str(source.ReferencedSOPInstanceUID), hashlib.sha256(stored).hexdigest(), said]
    store(header, stored)
    if not header.original_encoding[1]:
        turn_bytes(header)
    header.SourceImageSequence = [source]
    header.SOPInstanceUID = uid(entropy_srcs=made_of)
    header.SeriesInstanceUID = uid(entropy_srcs=[str(header.get("SeriesInstanceUID")), said])
    header.ImageType = ["DERIVED", "SECONDARY", *(header.get("ImageType") or [])[2:]]
    before = header.get("DerivationDescription")
    text = "; ".join(filter(None, [before, said.encode("ascii", "replace").decode()]))
    header.DerivationDescription = text[-MOST_TEXT:]
    for key in LEFT_OUT:
        if key in header:
            delattr(header, key)
    meta = getattr(header, "file_meta", None) or pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.file_meta = meta
    pydicom.dcmwrite(new, header, enforce_file_format=True)


def store(header: Dataset, stored: np.ndarray) -> None:
    """Put levels in place of a DICOM's picture, uncompressed, in little endian.

    Overlays in unused bits, and pixels of padding, stay as they are.

    Args:
        header: As `read_header` returns it.
        stored: As `stored_levels` returns them, (height, width).
    """
    old, bits = stored_of(header), header.BitsStored
    if (padding := header.get("PixelPaddingValue")) is not None:
        ends = sorted([padding, header.get("PixelPaddingRangeLimit") or padding])
        stored = np.where((old >= ends[0]) & (old <= ends[1]), old, stored)
    words = stored.astype(old.dtype)
    if has_overlay(header):
        others = decoded_of(header).astype(old.dtype) >> bits << bits
        words = words & (2**bits - 1) | others
    header.BitsAllocated = 8 * words.itemsize
    content = words.astype(words.dtype.newbyteorder("<")).tobytes()
    header.PixelData = content + b"\0" * (len(content) % 2)
    header["PixelData"].VR = "OB" if words.itemsize == 1 else "OW"
    header["PixelData"].is_undefined_length = False


def turn_bytes(header: Dataset) -> None:
    """Turn the bytes of values that are read as bytes, from big to little endian."""
    for element in header.iterall():
        if (width := WIDTHS.get(element.VR)) and element.tag != 0x7FE00010 and element.value:
            element.value = np.frombuffer(element.value, f"u{width}").byteswap().tobytes()
