"""TIFFs of all kinds: read as the levels that were written, or refused."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.color import rgb2gray

from engine.messages import InputError
from images.reading import read_grey

RNG = np.random.default_rng(1)
SIZE = (70, 53)
GREY = RNG.integers(0, 256, SIZE, dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
SMOOTH = np.asarray(Image.fromarray(COLOUR[:8, :8]).resize(SIZE[::-1], Image.Resampling.BICUBIC))
COMPRESSIONS = [None, "lzw", "deflate", "packbits", "zstd", "lzma"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.tif"


def close(grey, expected) -> None:
    np.testing.assert_allclose(grey, expected, rtol=0, atol=1e-12)


def refused(path, message: str) -> None:
    with pytest.raises(InputError, match=rf"a\.tif {message}"):
        read_grey(path)


def written(path, pixels, **options):
    """Write a TIFF with some options of `tifffile.imwrite`, and return its path."""
    tifffile.imwrite(path, pixels, **{"metadata": None, **options})
    return path


def relabel(path, **tags) -> None:
    """Change the tags of a TIFF, to values or by functions of them, and leave the rest."""
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name, value in tags.items():
            tag = tiff.pages.first.tags[name]
            tag.overwrite(value(tag.value) if callable(value) else value)


def packed(levels: np.ndarray, bits: int) -> np.ndarray:
    """Return the bytes of each row, in which each level has `bits` bits."""
    ones = levels.reshape(len(levels), -1, 1) >> np.arange(bits)[::-1] & 1
    return np.packbits(ones.reshape(len(levels), -1).astype(np.uint8), axis=1)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["?", "u1", "u2", "f2", "f4", "f8"])
def test_grey_of_any_depth_and_layout(path, kind, order, compression):
    white = np.iinfo(kind).max if kind[0] == "u" else 1
    levels = RNG.random(SIZE) if kind[0] == "f" else RNG.integers(0, white + 1, SIZE)
    levels = levels.astype(kind)
    layouts = [{"rowsperstrip": 16}, {"tile": (32, 16)}, {"bigtiff": True}]
    if kind in ("u2", "f4") and compression in ("lzw", "deflate"):
        layouts.append({"predictor": True})  # differences between neighbours are to be summed
    for layout in layouts:
        options = {"byteorder": order, "compression": compression, "photometric": "minisblack"}
        grey = read_grey(written(path, levels, **options, **layout))
        np.testing.assert_array_equal(grey, levels.astype(np.float64) / white)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4", "f8"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_and_photometric_of_tiffs_of_any_depth(path, orientation, kind, photometric):
    white = np.iinfo(kind).max if kind[0] == "u" else 1
    levels = (GREY / 255 * white).astype(kind)
    stored = white - levels if photometric == "miniswhite" else levels
    tags = [(274, 3, 1, orientation, True)]
    grey = read_grey(written(path, stored, photometric=photometric, extratags=tags))
    expected = {
        1: GREY,
        2: np.fliplr(GREY),
        3: np.rot90(GREY, 2),
        4: np.flipud(GREY),
        5: GREY.T,
        6: np.rot90(GREY, -1),  # to be turned clockwise by 90 degrees
        7: np.rot90(GREY, 2).T,
        8: np.rot90(GREY),
    }[orientation]
    assert grey.dtype == np.float64
    np.testing.assert_allclose(grey, expected / 255, rtol=0, atol=1e-7)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_colours_of_8_and_16_bits_are_weighted(path, kind, planes, compression):
    white = np.iinfo(kind).max
    pixels = RNG.integers(0, white + 1, COLOUR.shape).astype(kind)
    pixels[0, 0] = white
    stored = pixels if planes == "contig" else np.moveaxis(pixels, -1, 0)
    options = {"photometric": "rgb", "planarconfig": planes, "compression": compression}
    for layout in ({"byteorder": ">", "rowsperstrip": 16}, {"tile": (32, 16)}):
        grey = read_grey(written(path, stored, **options, **layout))
        close(grey, rgb2gray(pixels / white))
        assert grey.max() == 1


@pytest.mark.parametrize("bits", [*range(1, 8), *range(9, 16)])
def test_levels_that_are_no_whole_bytes(path, bits):
    levels, white = RNG.integers(0, 2**bits, SIZE), 2**bits - 1
    for kind, expected in ((1, levels), (0, white - levels)):
        written(path, packed(levels, bits), rowsperstrip=16)
        relabel(path, ImageWidth=SIZE[1], BitsPerSample=bits, PhotometricInterpretation=kind)
        np.testing.assert_array_equal(read_grey(path), expected / white)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_12_bits_are_refused_if_they_may_be_stored_in_16(path, compression):
    relabel(written(path, GREY.astype(np.uint16), compression=compression), BitsPerSample=12)
    if compression:  # padded to the number of bytes that 12 bits need: it tells nothing then
        relabel(path, StripByteCounts=packed(GREY, 12).size)
        path.write_bytes(path.read_bytes().ljust(10_000))
    refused(path, r"has no known levels \(1 x 12 bits")


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("extra", ["assocalpha", "unassalpha", "unspecified"])
def test_only_opaque_images_are_read(path, colours, planes, extra):
    pixels = np.dstack([COLOUR[..., :colours], np.full(SIZE, 255, np.uint8)])
    kind = "rgb" if colours == 3 else "minisblack"
    for alpha in (255, 254):
        pixels[3, 4, -1] = alpha
        stored = pixels if planes == "contig" else np.moveaxis(pixels, -1, 0)
        written(path, stored, photometric=kind, planarconfig=planes, extrasamples=[extra])
        if alpha < 255 and extra != "unspecified":
            refused(path, "is partly transparent")
        else:
            close(read_grey(path), rgb2gray(COLOUR) if colours == 3 else COLOUR[..., 0] / 255)


def test_each_extra_channel_may_be_the_alpha(path):
    for extra in (["unspecified", "unassalpha"], ["unassalpha", "unspecified"]):
        written(path, np.dstack([COLOUR, GREY, GREY]), photometric="rgb", extrasamples=extra)
        refused(path, "is partly transparent")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("scale", [256, 257])
def test_palettes_of_either_scale(path, bits, scale):
    indices = RNG.integers(0, 2**bits, SIZE)
    palette = RNG.integers(0, 256, (3, 2**bits), dtype=np.uint16)
    if bits == 8:
        written(path, indices.astype(np.uint8), photometric="palette", colormap=palette * scale)
    else:
        tags = [(320, 3, palette.size, (palette * scale).ravel().tolist(), True)]
        written(path, packed(indices, bits), extratags=tags)
        relabel(path, ImageWidth=SIZE[1], BitsPerSample=bits, PhotometricInterpretation=3)
    close(read_grey(path), rgb2gray(np.moveaxis(palette[:, indices], 0, -1) / 255))


@pytest.mark.parametrize("kind", ["minisblack", "rgb", "ycbcr"])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
def test_jpegs_in_a_tiff_are_read_as_by_libtiff(path, kind, subsampling):
    ycbcr = np.asarray(Image.fromarray(SMOOTH).convert("YCbCr"))
    pixels = {"minisblack": SMOOTH[..., 0], "rgb": SMOOTH, "ycbcr": ycbcr}[kind]
    original = SMOOTH[..., 0] / 255 if kind == "minisblack" else rgb2gray(SMOOTH)
    options = {"photometric": kind, "compression": "jpeg", "subsampling": subsampling}
    for layout in ({"rowsperstrip": 16}, {"tile": (32, 32)}):
        grey = read_grey(written(path, pixels, **options, **layout))
        with Image.open(path) as image:
            close(grey, rgb2gray(np.asarray(image.convert("RGB"))))
        assert np.abs(grey - original).mean() < 0.02
        relabel(path, Compression=6)  # the older way to say JPEG
        np.testing.assert_array_equal(read_grey(path), grey)


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax_compressions(path, compression, photometric):
    pixels = SMOOTH[..., 0] > 128
    Image.fromarray(pixels).save(path, compression=compression, tiffinfo={262: photometric})
    np.testing.assert_array_equal(read_grey(path), pixels)


@pytest.mark.parametrize("compression", [*COMPRESSIONS, "jpeg"])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 16}, {}, {"tile": (32, 32)}])
def test_a_cut_file_is_refused_wherever_it_is_cut(path, compression, layout):
    content = written(path, GREY, compression=compression, **layout).read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        refused(path, "cannot be read")


def test_missing_parts_are_not_taken_for_black(path):
    offsets, sizes = "StripOffsets", "StripByteCounts"
    nowhere, fewer = lambda values: (*values[:-1], 0), lambda values: values[:3]
    for changes in ({offsets: nowhere}, {sizes: nowhere}, {offsets: fewer, sizes: fewer}):
        relabel(written(path, GREY, rowsperstrip=10), **changes)
        refused(path, "cannot be read .*parts of it are missing")


UNCERTAIN = [
    *((GREY.astype(kind), {}) for kind in ("u4", "u8", "i2", "c8")),
    (COLOUR / np.float32(255), {"photometric": "rgb"}),
    (COLOUR[..., :2] / np.float32(255), {"planarconfig": "contig"}),
    (np.dstack([COLOUR, GREY]), {"photometric": "separated"}),
    (COLOUR, {"photometric": "cielab"}),
    (np.stack([GREY] * 16), {"volumetric": True, "tile": (16, 32, 32)}),
    (np.dstack([GREY] * 5), {"photometric": "minisblack", "planarconfig": "contig"}),
]


@pytest.mark.parametrize(("pixels", "options"), UNCERTAIN, ids=str)
def test_kinds_without_a_certain_meaning_are_refused(path, pixels, options):
    refused(written(path, pixels, **options), "has no known levels .*: save it as 8- or 16-bit")


@pytest.mark.parametrize("photometric", [2, 4, 5, 6, 8, 32803])
def test_a_single_channel_has_to_be_grey_or_a_palette(path, photometric):
    relabel(written(path, GREY), PhotometricInterpretation=photometric)
    refused(path, "has no known levels")


def test_a_tiff_is_known_by_its_content(path):
    png = written(path, GREY).rename(path.with_suffix(".png"))
    np.testing.assert_array_equal(read_grey(png), GREY / 255)
    Image.fromarray(GREY).save(png)
    np.testing.assert_array_equal(read_grey(png.rename(path)), GREY / 255)
