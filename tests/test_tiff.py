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


def read(path, pixels, **options) -> np.ndarray:
    """Read `pixels` back from a TIFF with some options of `tifffile.imwrite`."""
    tifffile.imwrite(path, pixels, **{"metadata": None, **options})
    return read_grey(path)


def relabel(path, **tags) -> None:
    """Change the tags of a TIFF, and leave the rest as it is."""
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name, value in tags.items():
            tiff.pages.first.tags[name].overwrite(value)


def packed(levels: np.ndarray, bits: int) -> np.ndarray:
    """Return the bytes of each row, in which each level has `bits` bits."""
    ones = levels.reshape(len(levels), -1, 1) >> np.arange(bits)[::-1] & 1
    return np.packbits(ones.reshape(len(levels), -1).astype(np.uint8), axis=1)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["?", "u1", "u2", "f2", "f4", "f8"])
def test_grey_of_any_depth_and_layout(tmp_path, kind, order, compression):
    white = np.iinfo(kind).max if kind[0] == "u" else 1
    levels = RNG.random(SIZE).astype(kind)
    if kind[0] != "f":
        levels = RNG.integers(0, white + 1, SIZE).astype(kind)
    options = {"byteorder": order, "compression": compression, "photometric": "minisblack"}
    for layout in ({"rowsperstrip": 16}, {"tile": (32, 16)}, {"bigtiff": True}):
        grey = read(tmp_path / "a.tif", levels, **options, **layout)
        np.testing.assert_array_equal(grey, levels.astype(np.float64) / white)


@pytest.mark.parametrize("kind", ["u2", "f4"])
@pytest.mark.parametrize("compression", ["lzw", "deflate"])
def test_differences_between_neighbours_are_summed(tmp_path, kind, compression):
    levels = GREY.astype(kind) / (1 if kind == "u2" else np.float32(255))
    grey = read(tmp_path / "a.tif", levels.astype(kind), compression=compression, predictor=True)
    np.testing.assert_array_equal(grey, levels.astype(np.float64) / (65535 if kind == "u2" else 1))


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4", "f8"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_and_photometric_of_tiffs_of_any_depth(
    tmp_path, orientation, kind, photometric
):
    white = np.iinfo(kind).max if kind[0] == "u" else 1
    levels = (GREY / 255 * white).astype(kind)
    stored = white - levels if photometric == "miniswhite" else levels
    tags = [(274, 3, 1, orientation, True)]
    grey = read(tmp_path / "a.tif", stored, photometric=photometric, extratags=tags)
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
def test_colours_of_8_and_16_bits_are_weighted(tmp_path, kind, planes, compression):
    white = np.iinfo(kind).max
    pixels = RNG.integers(0, white + 1, COLOUR.shape).astype(kind)
    pixels[0, 0] = white
    stored = pixels if planes == "contig" else np.moveaxis(pixels, -1, 0)
    options = {"photometric": "rgb", "planarconfig": planes, "compression": compression}
    for layout in ({"byteorder": ">", "rowsperstrip": 16}, {"tile": (32, 16)}):
        grey = read(tmp_path / "a.tif", stored, **options, **layout)
        np.testing.assert_allclose(grey, rgb2gray(pixels / white), rtol=0, atol=1e-12)
        assert grey.max() == 1


@pytest.mark.parametrize("bits", [*range(1, 8), *range(9, 16)])
def test_levels_that_are_no_whole_bytes(tmp_path, bits):
    path, levels = tmp_path / "a.tif", RNG.integers(0, 2**bits, SIZE)
    for photometric in (1, 0):
        tifffile.imwrite(path, packed(levels, bits), rowsperstrip=16, metadata=None)
        tags = {"BitsPerSample": bits, "PhotometricInterpretation": photometric}
        relabel(path, ImageWidth=SIZE[1], **tags)
        white = 2**bits - 1
        expected = (levels if photometric else white - levels) / white
        np.testing.assert_array_equal(read_grey(path), expected)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_12_bits_are_refused_if_they_may_be_stored_in_16(tmp_path, compression):
    path = tmp_path / "a.tif"
    read(path, GREY.astype(np.uint16), compression=compression)
    relabel(path, BitsPerSample=12)
    if compression:  # padded to the number of bytes that 12 bits need: it tells nothing then
        relabel(path, StripByteCounts=packed(GREY, 12).size)
        path.write_bytes(path.read_bytes().ljust(10_000))
    with pytest.raises(InputError, match=r"a\.tif has no known levels \(1 x 12 bits"):
        read_grey(path)


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize(
    ("extra", "is_alpha"), [("assocalpha", True), ("unassalpha", True), ("unspecified", False)]
)
def test_only_opaque_images_are_read(tmp_path, colours, planes, extra, is_alpha):
    path, picture = tmp_path / "a.tif", COLOUR[..., :colours]
    expected = rgb2gray(COLOUR) if colours == 3 else GREY * 0 + COLOUR[..., 0] / 255
    kind = "rgb" if colours == 3 else "minisblack"
    for alpha in (255, 254):
        pixels = np.dstack([picture, np.full(SIZE, 255, np.uint8)])
        pixels[3, 4, -1] = alpha
        stored = pixels if planes == "contig" else np.moveaxis(pixels, -1, 0)
        options = {"photometric": kind, "planarconfig": planes, "extrasamples": [extra]}
        if is_alpha and alpha < 255:
            with pytest.raises(InputError, match="partly transparent"):
                read(path, stored, **options)
        else:
            grey = read(path, stored, **options)
            np.testing.assert_allclose(grey, expected, rtol=0, atol=1e-12)


def test_each_extra_channel_may_be_the_alpha(tmp_path):
    pixels = np.dstack([COLOUR, GREY, GREY])
    for extra in (["unspecified", "unassalpha"], ["unassalpha", "unspecified"]):
        with pytest.raises(InputError, match="partly transparent"):
            read(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=extra)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("scale", [256, 257])
def test_palettes_of_either_scale(tmp_path, bits, scale):
    path, indices = tmp_path / "a.tif", RNG.integers(0, 2**bits, SIZE)
    palette = RNG.integers(0, 256, (3, 2**bits), dtype=np.uint16)
    if bits == 8:
        read(path, indices.astype(np.uint8), photometric="palette", colormap=palette * scale)
    else:
        tags = [(320, 3, palette.size, (palette * scale).ravel().tolist(), True)]
        tifffile.imwrite(path, packed(indices, bits), extratags=tags, metadata=None)
        relabel(path, ImageWidth=SIZE[1], BitsPerSample=bits, PhotometricInterpretation=3)
    expected = rgb2gray(np.moveaxis(palette[:, indices], 0, -1) / 255)
    np.testing.assert_allclose(read_grey(path), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["minisblack", "rgb", "ycbcr"])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
def test_jpegs_in_a_tiff_are_read_as_by_libtiff(tmp_path, kind, subsampling):
    path = tmp_path / "a.tif"
    pixels = {
        "minisblack": SMOOTH[..., 0],
        "rgb": SMOOTH,
        "ycbcr": np.asarray(Image.fromarray(SMOOTH).convert("YCbCr")),
    }[kind]
    original = SMOOTH[..., 0] / 255 if kind == "minisblack" else rgb2gray(SMOOTH)
    options = {"subsampling": subsampling} if kind == "ycbcr" else {}
    for layout in ({"rowsperstrip": 16}, {"tile": (32, 32)}):
        grey = read(path, pixels, photometric=kind, compression="jpeg", **options, **layout)
        with Image.open(path) as image:
            expected = rgb2gray(np.asarray(image.convert("RGB")))
        np.testing.assert_allclose(grey, expected, rtol=0, atol=1e-12)
        assert np.abs(grey - original).mean() < 0.02
        relabel(path, Compression=6)  # the older way to say JPEG
        np.testing.assert_array_equal(read_grey(path), grey)


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax_compressions(tmp_path, compression, photometric):
    path, pixels = tmp_path / "a.tif", SMOOTH[..., 0] > 128
    info = {262: photometric}
    Image.fromarray(pixels).save(path, compression=compression, tiffinfo=info)
    np.testing.assert_array_equal(read_grey(path), pixels)


@pytest.mark.parametrize("compression", [*COMPRESSIONS, "jpeg"])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 16}, {}, {"tile": (32, 32)}])
def test_a_cut_file_is_refused_wherever_it_is_cut(tmp_path, compression, layout):
    path = tmp_path / "a.tif"
    read(path, GREY, compression=compression, **layout)
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"a\.tif cannot be read"):
            read_grey(path)


def test_missing_parts_are_not_taken_for_black(tmp_path):
    path = tmp_path / "a.tif"
    for tag in ("StripOffsets", "StripByteCounts"):
        read(path, GREY, rowsperstrip=10)
        with tifffile.TiffFile(path) as tiff:
            values = tiff.pages.first.tags[tag].value
        relabel(path, **{tag: (*values[:-1], 0)})
        with pytest.raises(InputError, match="parts of it are missing"):
            read_grey(path)
    read(path, GREY, rowsperstrip=10)
    relabel(path, StripOffsets=values[:3], StripByteCounts=values[:3])
    with pytest.raises(InputError, match="parts of it are missing"):
        read_grey(path)


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (GREY.astype(np.uint32), {}),
        (GREY.astype(np.uint64), {}),
        (GREY.astype(np.int16), {}),
        (GREY.astype(np.complex64), {}),
        (COLOUR / np.float32(255), {"photometric": "rgb"}),
        (COLOUR[..., :2] / np.float32(255), {"planarconfig": "contig"}),
        (np.dstack([COLOUR, GREY]), {"photometric": "separated"}),
        (COLOUR, {"photometric": "cielab"}),
        (np.stack([GREY] * 16), {"volumetric": True, "tile": (16, 32, 32)}),
        (np.dstack([GREY] * 5), {"photometric": "minisblack", "planarconfig": "contig"}),
    ],
    ids=str,
)
def test_kinds_without_a_certain_meaning_are_refused(tmp_path, pixels, options):
    with pytest.raises(InputError, match=r"a\.tif has no known levels .*: save it as 8- or 16-bit"):
        read(tmp_path / "a.tif", pixels, **options)


@pytest.mark.parametrize("photometric", [2, 4, 5, 6, 8, 32803])
def test_a_single_channel_has_to_be_grey_or_a_palette(tmp_path, photometric):
    read(tmp_path / "a.tif", GREY)
    relabel(tmp_path / "a.tif", PhotometricInterpretation=photometric)
    with pytest.raises(InputError, match="no known levels"):
        read_grey(tmp_path / "a.tif")


def test_a_tiff_is_known_by_its_content(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY)
    path = (tmp_path / "a.tif").rename(tmp_path / "a.png")
    np.testing.assert_array_equal(read_grey(path), GREY / 255)
    Image.fromarray(GREY).save(path)
    np.testing.assert_array_equal(read_grey(path.rename(tmp_path / "b.tif")), GREY / 255)
