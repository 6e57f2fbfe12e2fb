"""Films are written as they came: format, depth, levels; a DICOM as a derived one."""

import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import Dataset

from engine.messages import InputError
from films import strips, writing
from films.strips import open_film
from films.writing import output_name, write_film
from images.reading import kind_of, read_grey
from test_dicom import FILES, UIDS, table_of, written
from test_tiff import packed, relabel

pytestmark = pytest.mark.filterwarnings("ignore:::pydicom")  # which pytest would show
RNG = np.random.default_rng(1)
SIZE = (70, 53)
SAID = "Noise removed by U-Net: a test"
GREY = np.add.outer(3 * np.arange(70), np.arange(53)).astype(np.uint8)
GREY[0, 0], GREY[1, 1] = 0, 255
DEEP = 257 * GREY.astype(np.uint16) - (GREY > 0) * RNG.integers(0, 256, SIZE, dtype=np.uint16)
NEUTRAL = np.dstack([GREY] * 3)


def tiff(pixels: np.ndarray, **options):
    return lambda path: tifffile.imwrite(path, pixels, **{"metadata": None, **options})


def image(pixels: np.ndarray, **options):
    return lambda path: Image.fromarray(pixels).save(path, **options)


def declared(pixels: np.ndarray, bits: int):
    """Write a PNG with the chunk sBIT."""

    def write(path: Path) -> None:
        Image.fromarray(pixels).save(path)
        content, chunk = path.read_bytes(), struct.pack(">I4sB", 1, b"sBIT", bits)
        end = struct.pack(">I", zlib.crc32(chunk[4:]))
        path.write_bytes(content[:33] + chunk + end + content[33:])

    return write


def nibbles(path: Path) -> None:
    tifffile.imwrite(path, packed(GREY >> 4, 4), metadata=None)
    relabel(path, ImageWidth=SIZE[1], BitsPerSample=4)


def twelve(path: Path) -> None:
    tifffile.imwrite(path, packed(DEEP >> 4, 12), metadata=None)
    relabel(path, ImageWidth=SIZE[1], BitsPerSample=12)


def dicom(levels: np.ndarray, bits: int = 12, kind: str = "explicit", **elements):
    return lambda path: written(path, levels, bits, kind, **elements)


def pgm(levels: np.ndarray, white: int):
    head = f"P5\n{levels.shape[1]} {levels.shape[0]}\n{white}\n".encode()
    return lambda path: path.write_bytes(head + levels.astype(">u2").tobytes())


TURNED = [(274, 3, 1, 6, True)]
TIFFS = {
    **{f"tiff {k}": tiff((DEEP / 65535).astype(k)) for k in ("f2", "f4", "f8")},
    "tiff 8": tiff(GREY, compression="lzw"),
    "tiff 16": tiff(DEEP, byteorder=">", rowsperstrip=9),
    "tiff tiles": tiff(DEEP, tile=(32, 16), compression="deflate", predictor=True),
    "tiff bigtiff": tiff(DEEP, bigtiff=True),
    "tiff turned": tiff(DEEP, extratags=TURNED, resolution=(300, 150)),
    "tiff miniswhite": tiff(DEEP, photometric="miniswhite"),
    "tiff miniswhite f4": tiff((DEEP / 65535).astype("f4"), photometric="miniswhite"),
    "tiff miniswhite 12": tiff(
        DEEP >> 4, photometric="miniswhite", extratags=[(281, "H", 1, 4095, True)]
    ),
    "tiff declared": tiff(DEEP >> 4, extratags=[(281, "H", 1, 4095, True)]),
    "tiff odd white": tiff(DEEP >> 4, extratags=[(281, "H", 1, 4097, True)]),
    "tiff 4 bits": nibbles,
    "tiff 12 bits": twelve,
    "tiff jpeg": tiff(GREY, compression="jpeg", photometric="minisblack"),
    "tiff alpha": tiff(np.dstack([GREY, GREY | 255]), extrasamples=["unassalpha"]),
}
PNGS = {
    "png 8": image(GREY),
    "png 16": image(DEEP),
    "png declared": declared(DEEP >> 4, 12),
    "png spread": declared(DEEP, 12),
    "png 8 declared": declared(GREY, 8),
    "png alpha": lambda path: Image.fromarray(GREY).convert("LA").save(path),
}
LEVELS = DEEP >> 4
SIGNED = LEVELS.astype(np.int16) - 2048
RESCALED = {"RescaleSlope": 0.5, "RescaleIntercept": -1024}
RISING = np.minimum(np.arange(4096) ** 2 >> 8, 65535)  # begins with equal entries
DICOMS = {
    **{f"dicom {kind}": dicom(LEVELS, kind=kind) for kind in UIDS if "extended" not in kind},
    "dicom JPEG baseline": dicom(GREY, 8, "JPEG baseline"),
    "dicom 8": dicom(GREY, 8),
    "dicom 16": dicom(DEEP, 16),
    "dicom odd number of bytes": dicom(GREY[:69, :51], 8),
    "dicom signed": dicom(SIGNED, RescaleIntercept=-50),
    "dicom rescaled": dicom(LEVELS, **RESCALED),
    "dicom falling": dicom(SIGNED, RescaleSlope=-2, RescaleIntercept=7),
    "dicom monochrome1": dicom(LEVELS, PhotometricInterpretation="MONOCHROME1", **RESCALED),
    "dicom window": dicom(LEVELS, WindowCenter=900, WindowWidth=300),
    "dicom LUT": dicom(LEVELS, ModalityLUTSequence=table_of(RISING, 0, 16)),
    "dicom falling LUT": dicom(LEVELS, ModalityLUTSequence=table_of(RISING[::-1], 0, 16)),
    "dicom LUT, big endian": dicom(
        LEVELS, kind="big endian", ModalityLUTSequence=table_of(RISING, 5, 16, ">")
    ),
}
CHANGED = {
    "jpg": image(GREY, quality=95),
    "jpg colours": image(NEUTRAL, quality=95),
    "jp2": image(GREY),
    "jp2 16": image(DEEP),
    "webp": image(NEUTRAL, lossless=True),
    "gif": image(GREY),
    "png colours": image(NEUTRAL),
    "png palette": lambda path: Image.fromarray(NEUTRAL).quantize(64).save(path),
    "bmp colours": image(NEUTRAL),
    "ppm": image(NEUTRAL),
    "tiff colours": tiff(NEUTRAL, photometric="rgb"),
    "tiff colours 16": tiff(np.dstack([DEEP] * 3), photometric="rgb"),
    "tiff palette": tiff(
        GREY, photometric="palette", colormap=np.stack([257 * np.arange(256, dtype="u2")] * 3)
    ),
}
PGMS = {"pgm": image(GREY), "pgm 16": pgm(DEEP, 65535), "pgm 12": pgm(DEEP >> 4, 4095)}
KEPT = {**TIFFS, **PNGS, **PGMS, "bmp": image(GREY), **DICOMS}
SUFFIXES = {"tiff": "tif", "dicom": "dcm"}


def original(folder: Path, name: str) -> Path:
    kind = name.split()[0]
    path = folder / f"a.{SUFFIXES.get(kind, kind)}"
    (KEPT | CHANGED)[name](path)
    return path


def copied(path: Path, change=lambda rows: rows) -> Path:
    """Write a film again, in two bands, in a folder beside; return the new file."""
    film = open_film(path)
    rows = (change(film.rows(*span)) for span in ((0, 33), (33, film.shape[0])))
    target = path.parent / "out" / output_name(path)[0]
    write_film(path, film, rows, target, SAID)
    return target


def half_a_level(path: Path) -> float:
    """Return half of the step between levels, and what float32 rounds."""
    depth = open_film(path).depth
    steps = depth.white - depth.black if depth.stored > 1 else 2**24
    return 0.5 / steps + 2**-24


@pytest.mark.parametrize("name", KEPT | CHANGED)
def test_a_film_that_is_written_unchanged_reads_as_the_original(tmp_path, name):
    path = original(tmp_path, name)
    before = hashlib.sha256(path.read_bytes()).digest()
    target = copied(path)
    found, expected = read_grey(target), read_grey(path)
    most = half_a_level(path) if name in KEPT else 0.5 / 255
    if "LUT" in name:  # of several stored levels that mean the same, another one may be taken
        most = 2**-24
    elif not name.endswith(("f2", "f4", "f8", "palette")):
        most = 2**-24  # a level stays what it was
    np.testing.assert_allclose(found, expected, rtol=0, atol=most)
    assert np.ptp(expected) > 0.5
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert [p.name for p in target.parent.iterdir()] == [target.name]
    if name in KEPT:
        assert (target.name, output_name(path)) == (path.name, (path.name, None))
        assert kind_of(target) == kind_of(path)
        assert open_film(target).bits == open_film(path).bits
        with_depth = open_film(target).depth, open_film(path).depth
        assert with_depth[0].white == with_depth[1].white


@pytest.mark.parametrize("name", ["tiff 16", "tiff f4", "png 8", "png declared", "dicom rescaled"])
def test_what_is_changed_is_rounded_to_the_nearest_level(tmp_path, name):
    path = original(tmp_path, name)
    target = copied(path, lambda rows: 0.1 + 0.77 * rows)
    expected = 0.1 + 0.77 * open_film(path).rows(0, SIZE[0]).astype(np.float64)
    np.testing.assert_allclose(read_grey(target), expected, rtol=0, atol=half_a_level(path))


@pytest.mark.parametrize("name", CHANGED)
def test_what_is_written_as_png_is_said(tmp_path, name):
    path = original(tmp_path, name)
    written_name, note = output_name(path)
    assert written_name == (path.name if path.suffix == ".png" else f"{path.name}.png")
    assert note.endswith("PNG") and "written as" in note
    with Image.open(copied(path)) as found:
        is_deep = name in ("jp2 16", "tiff colours 16")
        assert (found.format, found.mode) == ("PNG", "I;16" if is_deep else "L")


@pytest.mark.parametrize(
    ("name", "start", "written"),
    [
        *(("1.dicom", "dicom 8", "1.dicom"), ("IM0001", "dicom 8", "IM0001")),
        *(("1.2.840", "dicom 8", "1.2.840"), ("a.png", "dicom 8", "a.png.dcm")),
        *(("a.TIFF", "tiff 8", "a.TIFF"), ("a.dcm", "tiff 8", "a.dcm.tif")),
        *(("a.jpg", "png 8", "a.jpg.png"), ("a.PNM", "pgm", "a.PNM"), ("a.b", "bmp", "a.b.bmp")),
    ],
)
def test_names_have_the_suffix_of_what_is_written(tmp_path, name, start, written):
    path = original(tmp_path, start).rename(tmp_path / name)
    assert output_name(path) == (written, None)
    (tmp_path / written).touch()
    if written != name:
        assert output_name(path)[0] == written + Path(written).suffix  # two films, two files


def test_what_cannot_be_read_keeps_its_name(tmp_path):
    for name in ("a.png", "a.tif", "a.dcm", "gone.jpg"):
        if name != "gone.jpg":
            (tmp_path / name).write_bytes(b"II*\0 nothing")
        assert output_name(tmp_path / name)[0] == name


@pytest.mark.parametrize("name", ["tiff turned", "tiff 16", "png 16", "bmp", "jpg"])
def test_the_resolution_is_kept_and_turned(tmp_path, name):
    path = original(tmp_path, name)
    if name == "tiff 16":
        tifffile.imwrite(path, DEEP, metadata=None, resolution=(118.5, 59), resolutionunit=3)
    elif name != "tiff turned":
        with Image.open(path) as found:
            found.load()
        found.save(path, dpi=(300, 150))
    with Image.open(copied(path)) as found:
        expected = (150, 300) if name == "tiff turned" else (300, 150)
        if name == "tiff 16":
            expected = 118.5 * 2.54, 59 * 2.54
        np.testing.assert_allclose(np.float64(found.info["dpi"]), expected, rtol=1e-3)


def test_a_tiff_is_compressed_in_strips_of_its_own_type(tmp_path):
    smooth = np.add.outer(np.arange(700), np.arange(1500)).astype(np.uint16) * 20
    for kind in ("u1", "u2", "f4"):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, (smooth / 60_000 * (255 if kind == "u1" else 1)).astype(kind))
        if kind == "u2":
            tifffile.imwrite(path, smooth)
        target = copied(path)
        with tifffile.TiffFile(target) as found:
            page = found.pages.first
            assert page.dtype == np.dtype(kind)
            assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
            assert page.chunks[0] == max(1, writing.STRIP // (1500 * page.dtype.itemsize)) < 700
            np.testing.assert_array_equal(page.asarray(), tifffile.imread(path))
        with Image.open(target) as by_libtiff:
            np.testing.assert_array_equal(np.asarray(by_libtiff), tifffile.imread(path))
        assert target.stat().st_size < path.stat().st_size / 2


@pytest.mark.parametrize("link", [None, "hard", "symbolic", "folder"])
def test_the_original_is_never_written_over(tmp_path, link):
    path = original(tmp_path, "png 8")
    before, target = path.read_bytes(), tmp_path / "b.png"
    if link == "hard":
        target.hardlink_to(path)
    elif link == "symbolic":
        target.symlink_to(path)
    elif link == "folder":
        (tmp_path / "folder").symlink_to(tmp_path)
        target = tmp_path / "folder" / path.name
    else:
        target = path
    film = open_film(path)
    with pytest.raises(InputError, match=r"is the original film: choose another folder"):
        write_film(path, film, iter([film.rows(0, 70) / 2]), target, SAID)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["tiff 16", "png 8", "dicom 8"])
def test_a_film_is_written_whole_or_not_at_all(tmp_path, name):
    path = original(tmp_path, name)
    film, target = open_film(path), tmp_path / "out" / path.name

    def broken():
        yield film.rows(0, 40)
        raise RuntimeError("the method failed")

    thin = film.rows(0, 70)[:, 1:]
    for rows in (broken(), [film.rows(0, 40)], [film.rows(0, 70)] * 2, [thin], []):
        with pytest.raises((RuntimeError, ValueError)):
            write_film(path, film, rows, target, SAID)
        assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["png declared", "png spread", "png 8 declared"])
def test_significant_bits_stay_declared(tmp_path, name):
    path = original(tmp_path, name)
    assert writing.significant_bits(copied(path)) == writing.significant_bits(path)
    # What is spread and then is so dark that it could be taken for 12 bits is not declared.
    target = copied(path, lambda rows: rows / 20)
    expected = read_grey(path) / 20
    np.testing.assert_allclose(read_grey(target), expected, rtol=0, atol=half_a_level(path))


def test_gamma_and_profile_of_a_png_are_kept(tmp_path):
    path = tmp_path / "a.png"
    information = writing.PngInfo()
    information.add(b"gAMA", struct.pack(">I", 45455))
    Image.fromarray(GREY).save(path, pnginfo=information, icc_profile=b"a profile")
    with Image.open(copied(path)) as found:
        assert found.info["gamma"] == 0.45455
        assert found.info["icc_profile"] == b"a profile"


# ------------------------------------------------------------------------------------------ DICOM

HEADER = {
    **{"PatientName": "Muster^Eva", "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.5"},
    **{"ImageType": ["ORIGINAL", "PRIMARY", "LATERAL"], "PixelSpacing": [0.1, 0.2]},
    **{"WindowCenter": 900, "WindowWidth": 300, "DerivationDescription": "cropped"},
    **{"LargestImagePixelValue": 4095, "LossyImageCompression": "01"},
}


def test_a_dicom_becomes_a_derived_one_that_names_its_original(tmp_path):
    path = written(tmp_path / "a.dcm", LEVELS, kind="JPEG 2000", **HEADER)
    before, after = pydicom.dcmread(path), pydicom.dcmread(copied(path))
    assert list(after.ImageType) == ["DERIVED", "SECONDARY", "LATERAL"]
    assert after.DerivationDescription == f"cropped; {SAID}"
    (source,) = after.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert source.ReferencedSOPClassUID == before.SOPClassUID == after.SOPClassUID
    for key in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert after[key].value != before[key].value
        assert pydicom.uid.UID(after[key].value).is_valid
    meta = after.file_meta
    assert meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    changed = {"ImageType", "DerivationDescription", "SourceImageSequence", "SOPInstanceUID"}
    changed |= {"SeriesInstanceUID", "PixelData", "LargestImagePixelValue"}
    others = {element.keyword for element in before} - changed
    assert {element.keyword for element in after} == others | changed - {"LargestImagePixelValue"}
    assert all(after[key] == before[key] for key in others)


def test_uids_tell_one_image_from_another_and_are_the_same_for_the_same(tmp_path):
    first = written(tmp_path / "a.dcm", LEVELS, **HEADER)
    second = written(tmp_path / "b.dcm", LEVELS, **HEADER | {"SOPInstanceUID": "1.2.3.6"})
    one, two = pydicom.dcmread(copied(first)), pydicom.dcmread(copied(second))
    assert one.SeriesInstanceUID == two.SeriesInstanceUID  # films of a series stay together
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert pydicom.dcmread(copied(first)).SOPInstanceUID == one.SOPInstanceUID
    other = pydicom.dcmread(copied(first, lambda rows: rows / 2))
    assert other.SOPInstanceUID != one.SOPInstanceUID


def test_a_long_description_keeps_its_end(tmp_path):
    path = written(tmp_path / "a.dcm", LEVELS, DerivationDescription="x" * 1020)
    text = pydicom.dcmread(copied(path)).DerivationDescription
    assert len(text) == 1024 and text.endswith(SAID)


def test_overlays_and_padding_stay(tmp_path):
    marks = (RNG.random(SIZE) > 0.9).astype(np.uint16)
    path = written(tmp_path / "a.dcm", LEVELS | marks << 12, PixelPaddingValue=0)
    header = pydicom.dcmread(path)
    header.add_new((0x6000, 0x0102), "US", 12)
    header.save_as(path)
    found = pydicom.dcmread(copied(path, lambda rows: 0.2 + rows / 2))
    words = np.frombuffer(found.PixelData[: 2 * LEVELS.size], "<u2").reshape(SIZE)
    np.testing.assert_array_equal(words >> 12, marks)
    is_padding = LEVELS == 0
    assert is_padding.any()
    np.testing.assert_array_equal(words[is_padding] & 4095, 0)
    np.testing.assert_allclose(words[~is_padding] & 4095, 819 + LEVELS[~is_padding] / 2, atol=0.6)


def test_a_look_up_table_that_rises_and_falls_is_refused_when_the_film_is_opened(tmp_path):
    entries = np.r_[np.arange(0, 65535, 32), np.arange(65535, 0, -32)]
    path = written(tmp_path / "a.dcm", LEVELS, ModalityLUTSequence=table_of(entries, 0, 16))
    with pytest.raises(InputError, match=r"a\.dcm has a modality look-up .* export it without"):
        open_film(path)


@pytest.mark.parametrize("name", ["MR_small", "MR_small_bigendian", "CT_small", "693_J2KI"])
def test_files_of_other_programs(tmp_path, monkeypatch, name):
    monkeypatch.setattr(strips, "check_depth", lambda depth: None)  # they hold fewer bits
    path = FILES / f"{name}.dcm"
    film, target = open_film(path), tmp_path / "a.dcm"
    write_film(path, film, [film.rows(0, film.shape[0])], target, SAID)
    np.testing.assert_allclose(read_grey(target), read_grey(path), rtol=0, atol=2**-24)
    before, after = (sum(e.tag.is_private for e in pydicom.dcmread(p)) for p in (path, target))
    assert before == after


def test_elements_of_words_are_turned_with_their_file(tmp_path):
    path = written(tmp_path / "a.dcm", LEVELS, kind="big endian")
    header = pydicom.dcmread(path)
    item = Dataset()
    item.add_new((0x5400, 0x1010), "OW", np.arange(5, dtype=">u2").tobytes())
    header.add_new((0x5400, 0x0100), "SQ", [item])
    header.save_as(path)
    found = pydicom.dcmread(copied(path))[0x5400, 0x0100].value[0][0x5400, 0x1010].value
    np.testing.assert_array_equal(np.frombuffer(found, "<u2"), np.arange(5))
