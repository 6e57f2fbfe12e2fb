"""DICOMs of all kinds: read as what was written, or refused; what a header tells stays in it."""

import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import pack_bits

from conftest import ROOT, Project
from engine.messages import InputError
from files.tables import read_table
from images.reading import holds_image, image_id, read_grey, read_levels
from resize_images import resize_images

pytestmark = pytest.mark.filterwarnings("ignore:::pydicom")  # which pytest would show
RNG = np.random.default_rng(1)
SIZE = (24, 18)
FILES = Path(pydicom.__file__).parent / "data/test_files"
UIDS = {
    "implicit": pydicom.uid.ImplicitVRLittleEndian,
    "explicit": pydicom.uid.ExplicitVRLittleEndian,
    "big endian": pydicom.uid.ExplicitVRBigEndian,
    "deflated": pydicom.uid.DeflatedExplicitVRLittleEndian,
    "RLE": pydicom.uid.RLELossless,
    "JPEG baseline": pydicom.uid.JPEGBaseline8Bit,
    "JPEG extended": pydicom.uid.JPEGExtended12Bit,
    "JPEG lossless": pydicom.uid.JPEGLossless,
    "JPEG lossless 1": pydicom.uid.JPEGLosslessSV1,
    "JPEG-LS": pydicom.uid.JPEGLSLossless,
    "JPEG-LS lossy": pydicom.uid.JPEGLSNearLossless,
    "JPEG 2000": pydicom.uid.JPEG2000Lossless,
    "JPEG 2000 lossy": pydicom.uid.JPEG2000,
    "HTJ2K": pydicom.uid.HTJ2KLossless,
}
EXACT = [kind for kind in UIDS if kind not in ("JPEG baseline", "JPEG extended")]


def encoded(levels: np.ndarray, kind: str, bits: int) -> bytes:
    """Return levels as a compressed frame; they have no sign but in JPEG 2000."""
    if kind.startswith("JPEG lossless"):
        options = {"lossless": True, "predictor": 1 if kind.endswith("1") else 7}
        return imagecodecs.jpeg8_encode(levels, bitspersample=bits, **options)
    if kind.startswith("JPEG-LS"):
        return imagecodecs.jpegls_encode(levels)
    if kind.startswith("JPEG 2000"):
        options = {"codecformat": "J2K", "level": 0, "bitspersample": bits}
        return imagecodecs.jpeg2k_encode(levels, **options)
    if kind == "HTJ2K":
        return imagecodecs.htj2k_encode(levels)
    return imagecodecs.jpeg8_encode(levels, level=100, bitspersample=bits)


def written(path: Path, levels, bits: int = 12, kind: str = "explicit", **elements) -> Path:
    """Write a DICOM, signed if the type of the levels is; elements of None are left out."""
    levels = np.asarray(levels, elements.pop("type", None))
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = UIDS["explicit" if kind == "RLE" else kind]
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = "1.2.3.4"
    header.Rows, header.Columns = levels.shape[:2]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = 8 * levels.itemsize
    header.BitsStored, header.HighBit = bits, bits - 1
    is_signed = levels.dtype.kind == "i"
    header.PixelRepresentation = int(is_signed)
    if kind == "RLE":
        header.PixelData = levels.tobytes()
        header.compress(UIDS[kind], generate_instance_uid=False)
    elif UIDS[kind].is_encapsulated:
        if is_signed and not kind.startswith("JPEG 2000"):  # which have no sign: their bits
            levels = (levels.astype(int) & (2**bits - 1)).astype(f"u{levels.itemsize}")
        header.PixelData = encapsulate([encoded(levels, kind, bits)])
        header["PixelData"].is_undefined_length = True
    else:
        order = ">" if kind == "big endian" else "<"
        content = levels.astype(levels.dtype.newbyteorder(order)).tobytes()
        header.PixelData = content + b"\0" * (len(content) % 2)
    if not UIDS[kind].is_encapsulated:
        header["PixelData"].VR = "OW" if levels.itemsize > 1 else "OB"
    for key, value in elements.items():
        if value is None:
            delattr(header, key)
        else:
            setattr(header, key, value)
    header.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.dcm"


def table_of(entries, first: int, bits: int, order: str = "<") -> list[Dataset]:
    """Return a sequence of one look-up table."""
    table = Dataset()
    table.LUTDescriptor = [len(entries), first, bits]
    table["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    table.LUTData = np.asarray(entries, f"{order}u2").tobytes()
    table["LUTData"].VR = "OW"
    return [table]


def levels_in(bits: int, kind: str) -> np.ndarray:
    """Return levels of a type that hold the least and the greatest that the bits can."""
    least = -(2 ** (bits - 1)) if kind[0] == "i" else 0
    levels = RNG.integers(least, least + 2**bits, SIZE)
    levels[0, :2] = least, least + 2**bits - 1
    return levels.astype(kind)


def close(grey, expected) -> None:
    assert grey.dtype == np.float64
    np.testing.assert_allclose(grey, expected, rtol=0, atol=1e-12)


def refused(path, message: str, **options) -> None:
    with pytest.raises(InputError, match=rf"{path.name} {message}"):
        read_levels(path, 1, **options)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("sign", "ui")
@pytest.mark.parametrize("kind", EXACT)
def test_levels_of_all_encodings_are_those_written(path, kind, sign, bits):
    """Black is the least level that the bits can hold, white the greatest."""
    levels = levels_in(bits, f"{sign}{1 if bits == 8 else 2}")
    least = -(2 ** (bits - 1)) if sign == "i" else 0
    grey = read_grey(written(path, levels, bits, kind))
    close(grey, (levels.astype(int) - least) / (2**bits - 1))
    assert (grey.min(), grey.max()) == (0, 1)


@pytest.mark.parametrize(("kind", "bits"), [("JPEG baseline", 8), ("JPEG extended", 12)])
def test_lossy_jpegs_are_nearly_what_was_written(path, kind, bits):
    levels = np.add.outer(np.arange(64), np.arange(48)).astype("u1" if bits == 8 else "u2")
    levels = levels * (2 ** (bits - 8))
    grey = read_grey(written(path, levels, bits, kind))
    np.testing.assert_allclose(grey, levels / (2**bits - 1), rtol=0, atol=2 / 255)


@pytest.mark.parametrize(
    "name",
    [
        *("MR_small_RLE", "MR_small_bigendian", "MR_small_expb", "MR_small_implicit"),
        *("MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_padded", "MR_small"),
    ],
)
def test_one_picture_in_the_encodings_of_other_programs(name):
    plain = FILES / "MR_small.dcm"
    levels = np.frombuffer(pydicom.dcmread(plain).PixelData, "<i2").reshape(64, 64)
    close(read_grey(FILES / f"{name}.dcm"), (levels.astype(int) + 32768) / 65535)


@pytest.mark.parametrize(
    ("name", "least", "greatest"),
    [
        ("J2K_pixelrep_mismatch", -2000, 1896),  # signed by its header, unsigned in JPEG 2000
        ("693_J2KI", -2971 - 1024, 2836 - 1024),
        ("JPEGLSNearLossless_08", 0, 255),
        ("JPEGLSNearLossless_16", 0, 65535),
        ("JPEG2000", -30, 245),
        ("JPEG-lossy", 0, 264),
        ("image_dfl", 0, 255),
        ("CT_small", 128 - 1024, 2191 - 1024),
    ],
)
def test_levels_of_other_programs_lie_where_they_should(name, least, greatest):
    levels, _ = read_levels(FILES / f"{name}.dcm", 1)
    assert (levels.min(), levels.max()) == (least, greatest)


@pytest.mark.parametrize("sign", "ui")
@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (0.5, 7), (-2, 100), (None, 3)])
def test_black_and_white_go_through_the_rescale_as_levels_do(path, sign, slope, intercept):
    """A linear rescale of a single file changes no grey; but a falling one turns it round."""
    levels = levels_in(12, f"{sign}2")
    values = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    written(path, levels, **{key: value for key, value in values.items() if value is not None})
    found, depth = read_levels(path, 1)
    close(found, (slope or 1) * levels.astype(float) + intercept)
    assert (depth.black, depth.white) == (found.min(), found.max())
    share = (levels - levels.min()) / 4095
    close(read_grey(path), 1 - share if slope == -2 else share)


@pytest.mark.parametrize("slope", [0, 1e-320, float("inf"), float("nan")])
def test_a_rescale_that_leaves_nothing_is_refused(path, slope):
    written(path, levels_in(12, "u2"), RescaleSlope=slope, RescaleIntercept=1e300)
    refused(path, "has a rescale slope or intercept without a use: export it again")


@pytest.mark.parametrize("window", [False, True])
@pytest.mark.parametrize("sign", "ui")
def test_monochrome1_is_turned(path, sign, window):
    levels = levels_in(12, f"{sign}2")
    values = {"WindowCenter": 300, "WindowWidth": 800, "RescaleIntercept": -50, "RescaleSlope": 2}
    options = {"window": window}
    found, depth = read_levels(written(path, levels, **values), 1, **options)
    written(path, levels, PhotometricInterpretation="MONOCHROME1", **values)
    turned, inverse = read_levels(path, 1, **options)
    close(inverse.scaled(turned), 1 - depth.scaled(found))
    assert (depth.is_inverted, inverse.is_inverted) == (False, True)


def test_shapes_of_the_presentation_that_agree_are_read_and_others_refused(path):
    levels = levels_in(12, "u2")
    for kind, agreeing in (("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")):
        for shape in ("INVERSE", "IDENTITY"):
            values = {"PhotometricInterpretation": kind, "PresentationLUTShape": shape}
            written(path, levels, **values)
            if shape == agreeing:
                stored = 4095 - levels if kind == "MONOCHROME1" else levels
                close(read_grey(path), stored / 4095)
            else:
                refused(path, "has a PhotometricInterpretation and a PresentationLUTShape")


@pytest.mark.parametrize("kind", ["implicit", "explicit", "big endian"])
@pytest.mark.parametrize(("bits", "top"), [(8, 255), (10, 1023), (12, 4095), (16, 65535)])
@pytest.mark.parametrize("first", [-5, 0, 100])
def test_look_up_tables_of_any_depth(path, first, bits, top, kind):
    """Levels below the first entry have the first, those above the last have the last."""
    entries = np.linspace(0, top, 1500).astype(int)
    levels = levels_in(12, "i2" if first < 0 else "u2")
    tables = table_of(entries, first, bits, ">" if kind == "big endian" else "<")
    expected = entries[np.clip(levels.astype(int) - first, 0, 1499)]
    found, depth = read_levels(written(path, levels, kind=kind, ModalityLUTSequence=tables), 1)
    np.testing.assert_array_equal(found, expected)
    assert (depth.black, depth.white) == (0, top)
    found, depth = read_levels(
        written(path, levels, kind=kind, VOILUTSequence=tables), 1, None, True
    )
    close(found, expected / top)
    assert (depth.black, depth.white) == (0, 1)


def test_look_up_tables_of_single_bytes(path):
    levels, tables = levels_in(8, "u1"), table_of([0], 0, 8)
    tables[0].LUTDescriptor = [256, 0, 8]
    tables[0].LUTData = bytes(range(255, -1, -1))
    close(read_grey(written(path, levels, 8, ModalityLUTSequence=tables)), 1 - levels / 255)


def test_look_up_tables_that_do_not_fit_are_refused(path):
    levels = levels_in(12, "u2")
    for entries, bits in ((range(4096), 16), (range(4096), 10)):
        written(path, levels, ModalityLUTSequence=table_of(entries, 0, bits))
        refused(path, rf"has a look-up table \(LUT\) that does not fill the {bits} bits")
        written(path, levels, VOILUTSequence=table_of(entries, 0, bits))
        refused(
            path,
            r"has a look-up table \(LUT\) that does not fill .*: export it without",
            window=True,
        )
        assert read_grey(path).max() == 1  # without the window it is not looked at


def share_of(level: float, center: float, width: float, function: str) -> float:
    """Return the formulas of the standard, PS3.3 C.11.2.1.2 and C.11.2.1.3, for outputs 0 to 1."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (level - center) / width))
    half, middle = (0.5, center - 0.5) if function == "LINEAR" else (0, center)
    span = width - 2 * half
    if level <= middle - span / 2:
        return 0
    return 1 if level > middle + span / 2 else (level - middle) / span + 0.5


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, -1024), (-1, 4095)])
def test_a_window_is_applied_on_wish_alone(path, slope, intercept, function):
    """After the rescale; of several windows the first."""
    levels = levels_in(12, "u2")
    values = {
        "WindowCenter": [900, 10],
        "WindowWidth": [700, 20],
        "VOILUTFunction": function or "LINEAR",
    }
    values |= {"RescaleSlope": slope, "RescaleIntercept": intercept}
    if not function:
        del values["VOILUTFunction"]
    written(path, levels, **values)
    found, depth = read_levels(path, 1, window=True)
    rescaled = slope * levels.astype(float) + intercept
    share = np.vectorize(share_of, otypes=[float])(rescaled, 900, 700, function or "LINEAR")
    close(found, share)
    assert (depth.black, depth.white, depth.is_declared) == (0, 1, True)
    close(read_grey(path), 1 - levels / 4095 if slope < 0 else levels / 4095)


def test_a_voi_lut_counts_before_a_window(path):
    tables = table_of(range(4095, -1, -1), 0, 12)
    values = {"VOILUTSequence": tables, "WindowCenter": 900, "WindowWidth": 700}
    levels = levels_in(12, "u2")
    close(read_levels(written(path, levels, **values), 1, window=True)[0], 1 - levels / 4095)


def test_files_without_a_valid_window_are_refused_if_it_is_wanted(path, tmp_path):
    levels = levels_in(12, "u2")
    message = "has no valid window: leave it out, or leave out `window`"
    for values in (
        {},
        {"WindowCenter": 3},
        {"WindowCenter": 3, "WindowWidth": 0},
        {"WindowCenter": 3, "WindowWidth": 9, "VOILUTFunction": "CUBIC"},
    ):
        refused(written(path, levels, **values), message, window=True)
    written(path, levels, WindowCenter=3, WindowWidth=9)
    refused(path, "has white at the top of its window: leave out `white`", window=True, white=4095)
    picture = tmp_path / "a.png"
    picture.write_bytes(imagecodecs.png_encode(levels))
    refused(picture, "is no DICOM and has no window: leave it out", window=True)


def test_overlays_are_left_out(path):
    """They lie in a group of their own, or of old in bits above those of the levels."""
    levels = levels_in(12, "u2")
    above = levels | (1 << 12)
    refused(written(path, above), "has levels beyond the 12 bits that it declares: export it again")
    header = pydicom.dcmread(path)
    for position in (0, 12):  # OverlayBitPosition; 0 is of one that lies elsewhere
        header.add_new(0x60000102, "US", position)
        header.save_as(path)
        if not position:
            refused(path, "has levels beyond the 12 bits")
    close(read_grey(path), levels / 4095)
    written(path, levels)
    header = pydicom.dcmread(path)
    header.add_new(0x60020102, "US", 0)
    header.add_new(0x60023000, "OW", pack_bits(np.ones(24 * 18, np.uint8)))
    header.save_as(path)
    close(read_grey(path), levels / 4095)
    assert read_levels(FILES / "examples_overlay.dcm", 1)[0].max() == 1123


def test_signs_may_be_extended_over_the_unused_bits_or_not(path):
    levels = levels_in(12, "i2")
    expected = (levels.astype(int) + 2048) / 4095
    close(read_grey(written(path, levels)), expected)
    close(read_grey(written(path, levels & 4095)), expected)
    refused(written(path, levels ^ 0x2000), "has levels beyond the 12 bits")


def test_one_bit_is_0_or_1(path):
    levels = RNG.integers(0, 2, (8, 16)).astype(np.uint8)
    written(path, levels, 1, BitsAllocated=1, PixelData=pack_bits(levels))
    np.testing.assert_array_equal(read_grey(path), levels)


KINDS = [
    ({"NumberOfFrames": 2}, "is a multi-frame DICOM: export each frame"),
    ({"SharedFunctionalGroupsSequence": [Dataset()]}, "is a multi-frame DICOM"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "has a palette of colours: export it as grey"),
    ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "has colours: export it as grey"),
    ({"PhotometricInterpretation": "YBR_FULL"}, "has colours: export it as grey"),
    ({"SamplesPerPixel": 2}, "has colours: export it as grey"),
    ({"PixelData": None}, "is a DICOM that holds no pixels: leave it out"),
    ({"PixelData": None, "FloatPixelData": b"\0" * 1728}, "has levels that are floats: export"),
    ({"PixelData": None, "DoubleFloatPixelData": b"\0" * 3456}, "has levels that are floats"),
    ({"BitsStored": 17, "HighBit": 16}, "has levels of 17 bits, the highest in bit 16: export it"),
    ({"HighBit": 15}, "has levels of 12 bits, the highest in bit 15: export it with 16 bits or"),
    ({"BurnedInAnnotation": "YES"}, r"has text in its picture.*: remove the text"),
    ({"Rows": 6000, "Columns": 20_001}, "is too large .*: give a smaller copy"),
    ({"Rows": 12}, "does not hold one picture of the size and the bits .*: export it again"),
    ({"Rows": 25}, "cannot be read as an image .*get it again"),
    ({"Rows": None}, "cannot be read as an image .*get it again"),
]


@pytest.mark.parametrize(("elements", "message"), KINDS, ids=str)
def test_kinds_without_a_single_meaning_are_refused(path, elements, message):
    refused(written(path, levels_in(12, "u2"), **elements), message)


def test_a_compressed_picture_of_fewer_bits_than_declared_is_refused(path):
    """Where its white is, is not certain."""
    written(path, levels_in(8, "u1"), 8, "JPEG-LS", BitsAllocated=16, BitsStored=12, HighBit=11)
    refused(path, "does not hold one picture of the size and the bits that it declares")


def test_unknown_compressions_are_refused(path):
    written(path, levels_in(12, "u2"), kind="JPEG-LS")
    content = path.read_bytes()
    for kind in (b"92", b"93", b"99"):  # JPEG 2000 of several components, and one yet to come
        path.write_bytes(content.replace(b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4." + kind))
        refused(path, "is compressed in an unknown way: export it uncompressed")


def test_other_files_of_other_programs_are_refused_in_words():
    for name, message in {
        "SC_rgb_rle": "has colours",
        "examples_palette": "has a palette of colours",
        "rtdose": "is a multi-frame DICOM",
        "rtdose_1frame": "has levels of 32 bits",
        "test-SR": "is a DICOM that holds no pixels",
        "MR_truncated": "cannot be read as an image",
        "JPEG2000-embedded-sequence-delimiter": "cannot be read as an image",
    }.items():
        refused(FILES / f"{name}.dcm", message)


@pytest.mark.parametrize("kind", UIDS)
def test_a_cut_file_is_refused_wherever_it_is_cut(path, kind):
    bits = 8 if kind == "JPEG baseline" else 12
    levels = levels_in(bits, "u1" if bits == 8 else "u2")
    content = written(path, levels, bits, kind).read_bytes()
    # At the end there is what marks it, or a byte that makes it even.
    end = len(content) - (8 if UIDS[kind].is_encapsulated else kind == "deflated")
    for length in [*range(0, end, 23), end - 1]:
        path.write_bytes(content[:length])
        refused(path, "(cannot be read|is a DICOM that holds no pixels)")


@pytest.mark.parametrize("kind", [kind for kind in UIDS if kind.startswith("JPEG")])
def test_a_cut_picture_in_a_whole_file_is_refused(path, kind):
    """Decoders of JPEGs would fill it up with grey."""
    bits = 8 if kind == "JPEG baseline" else 12
    header = pydicom.dcmread(
        written(path, levels_in(bits, "u1" if bits == 8 else "u2"), bits, kind)
    )
    (frame,) = generate_frames(header.PixelData, number_of_frames=1)
    for length in range(0, len(frame) - 2, 29):
        header.PixelData = encapsulate([frame[:length] or b"\0\0"])
        header.save_as(path)
        refused(path, "cannot be read as an image")


@pytest.mark.parametrize("kind", ["implicit", "explicit", "big endian"])
def test_without_preamble_and_transfer_syntax_the_suffix_has_to_say_dicom(path, kind):
    levels = levels_in(12, "u2")
    header = pydicom.dcmread(written(path, levels, kind=kind))
    del header.file_meta
    header.preamble = None
    implicit, little = UIDS[kind].is_implicit_VR, UIDS[kind].is_little_endian
    header.save_as(path, implicit_vr=implicit, little_endian=little)
    assert b"DICM" not in path.read_bytes()
    close(read_grey(path), levels / 4095)
    other = path.rename(path.with_suffix(".png"))
    refused(other, "cannot be read as an image")


def test_a_compressed_picture_that_no_header_declares_is_refused(path):
    """Such of noise is longer than its levels are, and could be taken for them."""
    header = pydicom.dcmread(written(path, levels_in(16, "u2"), 16, "JPEG-LS"))
    assert len(header.PixelData) > 2 * levels_in(16, "u2").size
    del header.file_meta
    header.save_as(path, implicit_vr=False, little_endian=True)
    refused(path, "cannot be read as an image")


@pytest.mark.parametrize("name", ["IM0001", "1.2.840.113.7", "a.dicom", "a.DIC", "a.png", "a.tif"])
@pytest.mark.parametrize("preamble", [b"\0" * 128, b"II*\0".ljust(128)])
def test_a_dicom_is_known_by_its_content(path, name, preamble):
    levels = levels_in(12, "u2")
    content = written(path, levels).read_bytes()
    other = path.with_name(name)
    other.write_bytes(preamble + content[128:])
    close(read_grey(other), levels / 4095)


def test_what_is_an_image_by_name_or_start():
    start, text = b"\0" * 128 + b"DICM", b"x" * 132
    for name in ("a.dcm", "a.DICOM", "b/c.dic", "a.png", "x.tiff", "disk\\a.JPG"):
        assert holds_image(name, text)
    for name in ("IM0001", "series/1.2.840.113.7", "a.ima", "b\\IM1", "x.v2"):
        assert holds_image(name, start)
        assert not holds_image(name, text)
    for name in (
        "a.txt",
        "a.pdf",
        "a.zip",
        "DICOMDIR",
        "disk/DICOMDIR",
        "disk\\dicomdir",
        "DICOMDIR.dcm",
    ):
        assert not holds_image(name, start)
    assert not holds_image("short", b"DICM")


def test_ids_are_names_without_the_suffix_of_an_image():
    names = ("a.dcm", "1.2.840.7", "b.2.png", "x.v2", "IM1")
    assert [image_id(name) for name in names] == ["a", "1.2.840.7", "b.2", "x.v2", "IM1"]


def resized(folder: Path, **options) -> list[dict[str, str]]:
    resize_images(folder, 16, folder.parent / "a.npy", folder.parent / "ids.csv", **options)
    return read_table(folder.parent / "ids.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "films").mkdir()
    return tmp_path / "films"


def test_spacings_stand_under_what_they_are(folder):
    levels = levels_in(12, "u2")
    written(folder / "1.dcm", levels, ImagerPixelSpacing=[0.1, 0.125], PixelSpacing=[0.09, 0.09])
    written(folder / "2.840.10", levels, NominalScannedPixelSpacing=[0.2, 0.2])
    written(folder / "3.dcm", levels)
    assert resized(folder) == [
        {
            "id": name,
            "PixelSpacing": calibrated,
            "ImagerPixelSpacing": detector,
            "NominalScannedPixelSpacing": scanned,
        }
        for name, calibrated, detector, scanned in [
            ("1", "0.09 0.09", "0.1 0.125", ""),
            ("2.840.10", "", "", "0.2 0.2"),
            ("3", "", "", ""),
        ]
    ]
    for name in ("1.dcm", "2.840.10"):
        (folder / name).unlink()
    assert resized(folder) == [{"id": "3"}]


def test_a_spacing_that_is_none_is_refused(path):
    for value in ("0.1", ["0.1", "0.1", "0.1"]):
        written(path, levels_in(12, "u2"), PixelSpacing=value)
        refused(path, "cannot be read as an image")


def test_files_of_several_depths_or_rescales_are_refused_by_name(folder):
    written(folder / "1.dcm", levels_in(12, "u2"))
    written(folder / "2.dcm", levels_in(10, "u2"), 10)
    with pytest.raises(
        InputError, match=r"4095, first: 1\.dcm; 1 with white at 1023, first: 2\.dcm"
    ):
        resized(folder)
    written(folder / "2.dcm", levels_in(12, "i2"), RescaleIntercept=0, RescaleSlope=1)
    with pytest.raises(InputError, match=r"white at 2047 and black at -2048, first: 2\.dcm"):
        resized(folder)
    for number, bits in ((1, 12), (2, 10)):
        window = {"WindowCenter": 400, "WindowWidth": 300}
        written(folder / f"{number}.dcm", levels_in(bits, "u2"), bits, **window)
    resized(folder, window=True)
    values = np.load(folder.parent / "a.npy")
    assert values.min() >= 0
    assert values.max() <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_12_bits_that_are_declared_as_16_are_refused_until_white_is_given(folder, photometric):
    levels = levels_in(12, "u2")
    written(folder / "1.dcm", levels, 16, PhotometricInterpretation=photometric)
    with pytest.raises(InputError, match=r"4095 of 65535 \(1\.dcm\), so they likely hold 12 bits"):
        resized(folder)
    resized(folder, white=4095)
    images = np.load(folder.parent / "a.npy")
    written(folder / "1.dcm", levels, 12, PhotometricInterpretation=photometric)
    resized(folder)
    np.testing.assert_array_equal(images, np.load(folder.parent / "a.npy"))


def test_signed_levels_of_a_few_of_16_bits_are_refused_without_a_window(folder):
    levels = levels_in(12, "i2")
    window = {"WindowCenter": 0, "WindowWidth": 4096}
    written(folder / "1.dcm", levels, 16, RescaleIntercept=-1024, RescaleSlope=1, **window)
    message = r"lie 4095 apart and could lie 65535 apart \(1\.dcm .*hold 12 bits.*window: true"
    for options in ({}, {"white": 4095}):
        with pytest.raises(InputError, match=message):
            resized(folder, **options)
    resized(folder, window=True)
    written(folder / "1.dcm", levels_in(16, "i2"), 16)
    resized(folder)


def test_white_has_to_lie_between_black_and_what_the_file_holds(path):
    written(path, levels_in(12, "u2"), RescaleIntercept=1000, RescaleSlope=1)
    for white in (1000, 5096):
        refused(path, f"holds levels from 1000 to 5095, so white can't be {white}", white=white)
    refused(path, "has levels up to 5095, above that of white", white=5094)


# None of these may be met outside the files themselves.
TELLING = {
    "PatientName": "Telltale^Wilhelmina",
    "PatientID": "PID-7714-QX",
    "PatientBirthDate": "19480229",
    "StudyDate": "20190317",
    "InstitutionName": "Clinic Xanadu",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.77141948",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.77141949",
    "AccessionNumber": "ACC99117",
    "StudyDescription": "Quuxologic",
    "ReferringPhysicianName": "Grimoire^Obadiah",
}
# And these are not what they should be, which pydicom warns of or fails with.
WRONG = {
    "FrameOfReferenceUID": "Malapert-UID",
    "PatientAge": "Ninetynineyears",
    "SpecificCharacterSet": "ISO_ZANZIBAR",
}
FAULTY = {"PixelSpacing": ["Ottokar", "Zwillinger"], "RescaleSlope": "Lachrymose"}
PARTS = [part for value in (*TELLING.values(), *WRONG.values()) for part in value.split("^")]
PARTS += ["Ottokar", "Zwillinger", "Lachrymose"]


@pytest.fixture
def unchecked(monkeypatch):
    """Let pydicom write what it would refuse."""
    monkeypatch.setattr(pydicom.config.settings, "_writing_validation_mode", pydicom.config.IGNORE)


def told(text: str) -> list[str]:
    return [part for part in PARTS if part in text]


def put(path: Path, key: str, value) -> None:
    """Put a value that no element of its kind may have into a DICOM."""
    header = pydicom.dcmread(path)
    tag = pydicom.datadict.tag_for_keyword(key)
    text = "\\".join([value] if isinstance(value, str) else value).encode()
    raw = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(tag),
        pydicom.datadict.dictionary_VR(tag),
        len(text),
        text + b" " * (len(text) % 2),
        0,
        False,
        True,
    )
    header._dict[raw.tag] = raw
    header.save_as(path)


def test_headers_are_in_no_message(path, unchecked):
    levels = levels_in(12, "u2")
    for elements, _ in KINDS:
        written(path, levels, **TELLING, **WRONG, **elements)
        with pytest.raises(InputError) as refusal:
            read_grey(path)
        assert told(str(refusal.value)) == []
    for key, value in FAULTY.items():
        put(written(path, levels, **TELLING), key, value)
        refused(path, r"cannot be read as an image \(pydicom fails\)")
    for kind in UIDS:
        bits = 8 if kind == "JPEG baseline" else 12
        content = written(
            path, levels_in(bits, "u1" if bits == 8 else "u2"), bits, kind, **TELLING
        ).read_bytes()
        for length in range(150, len(content), 101):
            path.write_bytes(content[:length])
            try:
                read_grey(path)  # what is cut behind the picture is read
            except InputError as refusal:
                assert told(str(refusal)) == []


def test_pydicom_is_imported_when_the_first_dicom_is_met_and_says_nothing(path, unchecked):
    """On the terminal or to the log, of whatever is wrong in headers."""
    content = written(path, levels_in(12, "u2"), **TELLING, **WRONG).read_bytes()
    paths = [path]
    for key, value in FAULTY.items():
        paths.append(written(path.with_name(f"{key}.dcm"), levels_in(12, "u2"), **TELLING))
        put(paths[-1], key, value)
    for length in range(150, len(content), 37):
        paths.append(path.with_name(f"{length}.dcm"))
        paths[-1].write_bytes(content[:length])
    picture = path.with_name("a.png")
    picture.write_bytes(imagecodecs.png_encode(levels_in(8, "u1")))
    code = f"""
import contextlib, logging, sys
logging.basicConfig(level=logging.INFO)
import fetch_images, resize_images
from engine.messages import InputError
from images.reading import read_grey
read_grey({str(picture)!r})
assert "pydicom" not in sys.modules
read_grey({str(path)!r})
assert "pydicom" in sys.modules
for path in {list(map(str, paths))!r}:
    with contextlib.suppress(InputError):
        read_grey(path)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "workflow/scripts", capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_headers_are_in_no_file_of_a_run(project: Project, tmp_path: Path, unchecked):
    films = tmp_path / "films"
    films.mkdir()
    for number in range(6):
        levels = RNG.integers(0, 4096, (24, 24)).astype(np.uint16)
        spacing = {"PixelSpacing": [0.1, 0.1]} if number else {}
        written(films / f"film {number}.dcm", levels, **TELLING, **WRONG, **spacing)
    dataset = f"datasets={{mine: {{sources: [{films}], train: 3}}}}"
    part = "select={noise: [gaussian_0.1_0_1], methods: [median]}"
    command = ["--config", "dataset=mine", dataset, part]
    printed = project.succeed(*command, "--", "all", "page")
    (split,) = project.folder.glob("resources/datasets/mine/*/split.csv")
    lines = [(line["id"], line["PixelSpacing"], line["part"]) for line in read_table(split)]
    assert lines == [
        (f"film {n}", "0.1 0.1" if n else "", "train" if n < 3 else "test") for n in range(6)
    ]
    put(films / "film 5.dcm", "PixelSpacing", FAULTY["PixelSpacing"])
    failed = project.snakemake(
        *command[:1], "run=again", *command[1:], "--forcerun", "fetch_images"
    )
    assert failed.returncode != 0
    assert "film 5.dcm cannot be read as an image (pydicom fails)" in failed.stdout
    assert told(printed + failed.stdout) == []
    images = project.folder / "resources/datasets/mine/images"  # the files themselves
    files = [f for f in project.folder.rglob("*") if f.is_file() and images not in f.parents]
    assert {"report.html", "ids.csv", "table.md"} <= {file.name for file in files}
    assert told(" ".join(map(str, files))) == []
    contents = {file: told(file.read_text(errors="replace")) for file in files}
    assert {file: parts for file, parts in contents.items() if parts} == {}
