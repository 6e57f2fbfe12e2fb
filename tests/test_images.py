"""Reading images as grey, resizing them, and telling films apart."""

import csv
import struct
import zlib
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import skimage.io
import tifffile
from imagecodecs import png_encode
from PIL import Image
from skimage.color import rgb2gray
from skimage.transform import resize as skimage_resize

from engine.messages import InputError
from images import reading
from images.films import fingerprint, same_film
from images.reading import read_grey, read_levels
from images.resizing import read_resized, resize, resize_matrix
from resize_images import resize_images

RNG = np.random.default_rng(1)
GREY = RNG.integers(0, 256, (40, 30), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)


def film(number: int, size: tuple[int, int] = (240, 200)) -> Image.Image:
    """A synthetic film: smooth blobs that differ from film to film."""
    coarse = np.random.default_rng(number).integers(0, 256, (24, 20), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


def saved(path, pixels, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def close(levels, expected) -> None:
    np.testing.assert_allclose(levels, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_grey_is_divided_by_255_and_colour_weighted_as_scikit_image_does(tmp_path, suffix):
    grey = read_grey(saved(tmp_path / f"a.{suffix}", GREY))
    assert grey.dtype == np.float64
    np.testing.assert_array_equal(grey, GREY / 255)
    close(read_grey(saved(tmp_path / f"a.{suffix}", COLOUR)), rgb2gray(COLOUR))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("kind", ["equal channels", "colour"])
def test_jpegs_are_read_as_scikit_image_does(tmp_path, subsampling, kind):
    """Of those of equal channels with the usual subsampling only the luma is decoded."""
    pixels = COLOUR if kind == "colour" else np.dstack([GREY] * 3)
    path = saved(tmp_path / "a.jpg", pixels, subsampling=subsampling, quality=90)
    with Image.open(path) as image:
        neutral = kind == "equal channels" and subsampling == "4:2:0"
        assert reading._is_neutral_jpeg(image, path) == neutral
    close(read_grey(path), skimage.io.imread(path, as_gray=True))


def test_colour_that_averages_out_within_a_jpeg_block_is_not_overlooked(tmp_path):
    pixels = np.full((96, 96, 3), 128, np.uint8)
    sign = np.indices((16, 16)).sum(0) // 4 % 2 * 2 - 1
    pixels[32:48, 32:48, 0] = 128 + 30 * sign
    path = saved(tmp_path / "a.jpg", pixels, subsampling="4:2:0", quality=90)
    with Image.open(path) as image:
        assert np.ptp(np.asarray(image), axis=2).max() > 10
        assert not reading._is_neutral_jpeg(image, path)
    close(read_grey(path), skimage.io.imread(path, as_gray=True))


def test_a_jpeg_that_holds_red_green_and_blue_is_not_taken_for_neutral(tmp_path):
    path = saved(tmp_path / "a.jpg", np.dstack([GREY] * 3), subsampling="4:2:0")
    content = path.read_bytes()  # in place of JFIF's header, Adobe's, which says RGB
    path.write_bytes(b"\xff\xd8\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0\0" + content[20:])
    expected = skimage.io.imread(path, as_gray=True)
    close(read_grey(path), expected)
    assert np.abs(expected - GREY / 255).mean() > 0.1


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "open", Mock(side_effect=PermissionError))
    with pytest.raises(InputError, match=r"a\.png may not be read: change its permissions"):
        read_grey(tmp_path / "a.png")


def test_palette_and_opaque_alpha(tmp_path):
    palette = Image.fromarray(COLOUR).quantize(16)
    expected = rgb2gray(np.asarray(palette.convert("RGB")))
    close(read_grey(saved(tmp_path / "p.png", palette)), expected)
    opaque = np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)])
    close(read_grey(saved(tmp_path / "a.png", opaque)), rgb2gray(COLOUR))
    path = saved(tmp_path / "la.png", Image.fromarray(GREY).convert("LA"))
    np.testing.assert_array_equal(read_grey(path), GREY / 255)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_divided_by_65535(tmp_path, suffix):
    levels = RNG.integers(0, 65536, (40, 30)).astype(np.uint16)
    path = saved(tmp_path / f"a.{suffix}", levels)
    np.testing.assert_array_equal(read_grey(path), levels / 65535)


def test_1_bit_is_0_or_1(tmp_path):
    np.testing.assert_array_equal(read_grey(saved(tmp_path / "a.png", GREY > 100)), GREY > 100)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_float_tiffs_in_the_unit_range_are_taken_as_they_are(tmp_path, kind):
    levels = RNG.random((40, 30)).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", levels)
    np.testing.assert_array_equal(read_grey(tmp_path / "a.tif"), levels)


def test_other_floats_are_refused(tmp_path):
    levels = RNG.random((40, 30)).astype(np.float32)
    for wrong in (np.nan, np.inf, -0.01, 1.01):
        levels[3, 4] = wrong
        tifffile.imwrite(tmp_path / "a.tif", levels)
        with pytest.raises(InputError, match=r"a\.tif has levels outside \[0, 1\]"):
            read_grey(tmp_path / "a.tif")


def test_an_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    path = saved(tmp_path / "a.png", GREY, exif=exif)
    np.testing.assert_array_equal(read_grey(path), np.rot90(GREY, -1) / 255)


KEY = {"transparency": int(GREY[3, 4])}
REFUSED = [
    ("cmyk.jpg", lambda p: saved(p, Image.new("CMYK", (30, 40))), "CMYK: save it as 8- or 16-bit"),
    ("alpha.png", lambda p: saved(p, Image.new("RGBA", (30, 40), (9, 9, 9, 99))), "transparent"),
    ("text.png", lambda p: p.write_text("not an image"), "get it again"),
    ("empty.jpg", lambda p: p.write_bytes(b""), "get it again"),
    ("text.tif", lambda p: p.write_text("not an image"), "get it again"),
    ("absent.jpg", lambda p: None, "does not exist"),
    ("folder.jpg", lambda p: p.mkdir(), "get it again"),
    ("pages.tif", lambda p: tifffile.imwrite(p, np.stack([GREY, GREY])), "2 pages"),
    ("signed.tif", lambda p: tifffile.imwrite(p, GREY.astype(np.int8)), "known levels"),
    ("deep.png", lambda p: p.write_bytes(png_encode(COLOUR.astype(np.uint16))), "cut to 8"),
    ("key.png", lambda p: saved(p, GREY, **KEY), "partly transparent"),
    ("deep key.png", lambda p: saved(p, GREY.astype(np.uint16), **KEY), "partly transparent"),
    ("moving.png", lambda p: saved(p, GREY, save_all=True, append_images=[film(1)]), "2 pictures"),
    ("int.tif", lambda p: tifffile.imwrite(p, GREY.astype(np.int32)), "16-bit grey"),
]


@pytest.mark.parametrize(("name", "make", "message"), REFUSED)
def test_what_cannot_be_used_is_named_with_the_remedy(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        read_grey(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif"])
def test_truncated_files_are_refused(tmp_path, suffix):
    path = saved(tmp_path / f"cut.{suffix}", COLOUR)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"cut\.{suffix} cannot be read"):
        read_grey(path)


def test_too_small_and_too_large_images_are_refused(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", GREY)
    with pytest.raises(InputError, match=r"a\.png is too small \(30 x 40"):
        read_grey(path, smallest=31)
    with pytest.raises(InputError, match="too small"):
        read_resized(path, 32)
    for size in ((1, 400), (400, 1)):
        line = saved(tmp_path / "line.png", Image.new("L", size))
        with pytest.raises(InputError, match=rf"line\.png is too small \({size[0]} x {size[1]}"):
            read_resized(line, 16)
    empty = tmp_path / "empty.tif"
    tifffile.imwrite(empty, np.zeros((0, 0), np.uint8))
    with pytest.raises(InputError, match=r"has no pixels \(0 x 0\): give another copy of it"):
        read_resized(empty, 16)
    for limit, value in {"MOST_PIXELS": 1199, "LONGEST_SIDE": 39}.items():
        with monkeypatch.context() as patch:
            patch.setattr(reading, limit, value)
            with pytest.raises(InputError, match="too large"):
                read_grey(path)


@pytest.mark.parametrize("shape", [(40, 30), (301, 257), (64, 64), (65, 600), (20, 90), (1100, 70)])
@pytest.mark.parametrize("size", [16, 64])
def test_the_resize_equals_scikit_images(shape, size):
    image = np.random.default_rng(3).random(shape)
    close(resize(image, size, size), skimage_resize(image, (size, size)))


def test_the_resize_never_leaves_the_range_of_the_image():
    for level in (0, 77, 255):
        film = np.full((301, 257), level, np.uint8)
        assert (resize(film, 16, 16) == level).all()


def test_white_among_colours_is_exactly_1(tmp_path):
    pixels = np.full((301, 257, 3), 255, np.uint8)
    pixels[0, 0] = 255, 0, 0
    path = saved(tmp_path / "a.png", pixels)
    assert read_grey(path).max() == 1
    assert read_resized(path, 16).max() == 1


def test_equal_size_changes_nothing():
    np.testing.assert_array_equal(resize_matrix(64, 64).toarray(), np.eye(64))


@pytest.mark.parametrize("name", ["001", "300"])
def test_real_images_equal_scikit_images(real_images, name):
    path = real_images / f"{name}.jpg"
    expected = skimage_resize(skimage.io.imread(path, as_gray=True), (128, 128))
    close(resized := read_resized(path, 128), expected)
    assert 0 <= resized.min() <= resized.max() <= 1


def test_fingerprints_survive_encodings_and_tell_films_and_exposures_apart(tmp_path):
    prints = [fingerprint(saved(tmp_path / f"{n}.png", film(n))) for n in range(6)]
    rgb = film(0).convert("RGB")
    half = film(0, (480, 400)).resize((200, 240), Image.Resampling.BOX)
    brighter = film(0).point(lambda level: min(255, level + 2))
    for name, image in {"a.jpg": rgb, "b.bmp": rgb, "c.png": half, "d.png": brighter}.items():
        copy = fingerprint(saved(tmp_path / name, image))
        assert [same_film(copy, other) for other in prints] == [True] + [False] * 5, name
    dark = film(0).point(lambda level: level // 2)
    assert not same_film(prints[0], fingerprint(saved(tmp_path / "e.png", dark)))


def test_a_folder_is_resized_in_natural_order(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (10, 2, 1):
        saved(folder / f"{number}.png", film(number))
    saved(folder / "02.png", film(3))
    saved(folder / "a9 b10.png", film(4))
    saved(folder / "a9 b9.png", film(5))
    (folder / ".snakemake_timestamp").touch()
    for threads in (1, 3):
        resize_images(folder, 32, tmp_path / "x.npy", tmp_path / "x.csv", threads)
        with (tmp_path / "x.csv").open() as file:
            names = [row["id"] for row in csv.DictReader(file)]
        assert names == ["1", "02", "2", "10", "a9 b9", "a9 b10"]
        result = np.load(tmp_path / "x.npy")
        assert (result.shape, result.dtype) == ((6, 32, 32), np.float64)
        close(result[3], skimage_resize(np.asarray(film(10)) / 255, (32, 32)))


def test_all_bad_images_are_named_and_nothing_is_left_behind(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    saved(folder / "good.png", film(1))
    saved(folder / "small.png", film(2, (31, 200)))
    (folder / "text.jpg").write_text("no image")
    with pytest.raises(InputError, match="2 of 3 images cannot be used") as caught:
        resize_images(folder, 32, tmp_path / "x.npy", tmp_path / "x.csv", 2)
    assert "small.png is too small" in str(caught.value)
    assert "text.jpg cannot be read" in str(caught.value)
    assert list(tmp_path.iterdir()) == [folder]


LOSSLESS = {"webp": {"lossless": True}, "jp2": {}, "gif": {}, "pgm": {}, "pnm": {}}


@pytest.mark.parametrize(("suffix", "options"), LOSSLESS.items())
def test_formats_that_the_libraries_read(tmp_path, suffix, options):
    (folder := tmp_path / "films").mkdir()
    grey = np.asarray(film(1))
    saved(folder / f"a.{suffix}", grey, **options)
    np.testing.assert_array_equal(read_grey(folder / f"a.{suffix}"), grey / 255)
    close(resized_of(folder)[0], skimage_resize(grey / 255, (32, 32)))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_several_pictures_in_a_file_are_refused(tmp_path, suffix):
    saved(tmp_path / f"a.{suffix}", film(1), save_all=True, append_images=[film(2)])
    with pytest.raises(InputError, match="has 2 pictures: save each as an image"):
        read_grey(tmp_path / f"a.{suffix}")


def films_of(folder: Path, brightest: int, kind: type, **options) -> Path:
    """A folder of two films of which the brightest level is that of one pixel."""
    folder.mkdir()
    for number in (1, 2):
        levels = (np.asarray(film(number)) / 255 * brightest * number / 2).astype(kind)
        levels[0, 0] = brightest * number // 2
        saved(folder / f"{number}.png", levels, **options)
    return folder


def resized_of(folder: Path, **options) -> np.ndarray:
    resize_images(folder, 32, folder / "x.npy", folder / "x.csv", **options)
    return np.load(folder / "x.npy")


@pytest.mark.parametrize(
    ("kind", "brightest", "bits"),
    [
        *((np.uint16, level, bits) for level, bits in [(511, 9), (4095, 12), (4094, 12)]),
        *((np.uint16, level, bits) for level, bits in [(16383, 14), (32767, 15), (32441, 15)]),
        *((np.uint16, level, None) for level in (16384, 32440, 40000, 65535)),
        *[(np.uint16, 0, 1), (np.uint8, 63, 6), (np.uint8, 64, None), (np.uint8, 127, None)],
    ],
)
def test_levels_that_end_where_fewer_bits_do_are_refused_until_white_is_given(
    tmp_path, kind, brightest, bits
):
    folder, stored = films_of(tmp_path / "films", brightest, kind), np.iinfo(kind).max
    if bits is None:
        assert resized_of(folder).max() <= brightest / stored
        return
    says = f"all 2 images of NAME is {brightest} of {stored} .*likely hold {bits} bits"
    with pytest.raises(InputError, match=says) as caught:
        resized_of(folder)
    assert f"datasets={{NAME: {{white: {2**bits - 1}}}}}" in str(caught.value)
    for white in (2**bits - 1, stored):
        levels = np.asarray(Image.open(folder / "2.png"))
        close(resized_of(folder, white=white)[1], skimage_resize(levels / white, (32, 32)))


@pytest.mark.parametrize("white", [256, 1000, 4095, 65534, 65535])
@pytest.mark.parametrize("is_text", [False, True])
def test_levels_of_a_pgm_of_more_than_8_bits_are_those_in_the_file(tmp_path, white, is_text):
    levels = np.linspace(0, white, 70 * 80).round().astype(np.uint16).reshape(70, 80)
    head = f"P{2 if is_text else 5}\n80 70\n{white}\n".encode()
    text = " ".join(map(str, levels.ravel())).encode()
    (tmp_path / "a.pgm").write_bytes(head + (text if is_text else levels.astype(">u2").tobytes()))
    found, depth = read_levels(tmp_path / "a.pgm", 1)
    np.testing.assert_array_equal(found, levels)
    assert (depth.white, depth.is_declared) == (white, white < 65535)


def test_what_files_declare_is_white(tmp_path):
    levels = (np.asarray(film(3)) / 255 * 4095).astype(np.uint16)
    expected = levels / 4095
    tags = [(281, "H", 1, 4095, False)]
    tifffile.imwrite(tmp_path / "a.tif", levels, extratags=tags)
    np.testing.assert_array_equal(read_grey(tmp_path / "a.tif"), expected)
    inverted = {"photometric": "miniswhite", "extratags": tags}
    tifffile.imwrite(tmp_path / "b.tif", 4095 - levels, **inverted)
    np.testing.assert_array_equal(read_grey(tmp_path / "b.tif"), expected)

    plain = saved(tmp_path / "c.png", levels).read_bytes()
    scaled = saved(tmp_path / "d.png", levels * 16 + levels // 256).read_bytes()
    for name, content, white in (("e", plain, 4095), ("f", scaled, 65535)):
        path = tmp_path / f"{name}.png"
        # After the signature and the header, 33 bytes: length, kind, bits, checksum (not read).
        chunk = struct.pack(">I4sB", 1, b"sBIT", 12)
        path.write_bytes(
            content[:33] + chunk + struct.pack(">I", zlib.crc32(chunk[4:])) + content[33:]
        )
        stored = levels if name == "e" else levels * 16 + levels // 256
        np.testing.assert_array_equal(read_grey(path), stored / white)
    (folder := tmp_path / "declared").mkdir()
    (tmp_path / "e.png").rename(folder / "e.png")
    close(resized_of(folder)[0], skimage_resize(expected, (32, 32)))


def test_images_of_several_depths_are_refused_by_name(tmp_path):
    folder = films_of(tmp_path / "films", 65535, np.uint16)
    saved(folder / "3.jpg", film(3))
    says = "2 with white at 65535, first: 1.png; 1 with white at 255, first: 3.jpg"
    with pytest.raises(InputError, match=says):
        resized_of(folder)
    with pytest.raises(InputError, match=r"3\.jpg holds levels up to 255, so white can't be 65535"):
        resized_of(folder, white=65535)
    with pytest.raises(InputError, match=r"2\.png has levels up to 65535, above that of white"):
        resized_of(folder, white=200)
