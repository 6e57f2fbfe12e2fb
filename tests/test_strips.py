"""Films are opened and read by rows, or refused in words."""

import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from engine.messages import InputError
from films import strips
from films.strips import open_film, reduced, sampled
from images.reading import read_grey
from noise.blocks import SIDE, blocks
from noise.estimation import estimate_noise
from test_tiff import COLOUR, COMPRESSIONS, GREY, SIZE, SMOOTH, packed, relabel, written

RNG = np.random.default_rng(2)
# Where rows begin and end: all, within a strip or a tile, over several, the last one.
PARTS = [(0, 70), (0, 1), (3, 5), (15, 33), (31, 70), (69, 70)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.tif"


def refused(path, message: str) -> None:
    with pytest.raises(InputError, match=rf"^{path} {message}"):
        open_film(path)


def check_rows(film, expected) -> None:
    """Compare rows in any order with the film as it is read whole."""
    assert film.shape == expected.shape
    for start, stop in PARTS:
        rows = film.rows(start, stop)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, np.float32(expected[start:stop]))
        np.testing.assert_array_equal(film.exact_rows(start, stop), expected[start:stop])


@pytest.fixture
def never_whole(monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("the film was read whole")

    monkeypatch.setattr(strips, "read_levels", fail)


LAYOUTS = [{}, {"rowsperstrip": 16}, {"tile": (32, 16)}, {"tile": (16, 64)}, {"bigtiff": True}]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("kind", ["u1", "u2", "f2", "f4", "f8"])
def test_rows_of_a_tiff_are_those_of_the_whole(path, never_whole, kind, photometric, compression):
    white = np.iinfo(kind).max if kind[0] == "u" else 1
    levels = RNG.random(SIZE) if kind[0] == "f" else RNG.integers(0, white + 1, SIZE)
    layouts = list(LAYOUTS)
    if kind in ("u2", "f4") and compression in ("lzw", "deflate"):
        layouts.append({"predictor": True, "rowsperstrip": 16})
    for number, layout in enumerate(layouts):
        options = {"byteorder": "<>"[number % 2], "compression": compression}
        written(path, levels.astype(kind), photometric=photometric, **options, **layout)
        film = open_film(path)
        assert film.bits == (32 if kind[0] == "f" else 8 * int(kind[1]))
        check_rows(film, read_grey(path))


def test_rows_of_jpegs_in_a_tiff_and_of_other_bit_orders(path, never_whole):
    for layout in ({"rowsperstrip": 16}, {"tile": (32, 32)}):
        written(path, np.tile(SMOOTH[..., 0], (9, 7)), compression="jpeg", **layout)
        check_rows(open_film(path), read_grey(path))
    turned = np.packbits(np.unpackbits(GREY[..., None], axis=-1)[..., ::-1], axis=-1)[..., 0]
    written(path, turned, extratags=[(65000, "H", 1, 2, True)])
    tag = struct.pack("<HHI", 65000, 3, 1)  # becomes FillOrder, which tifffile does not write
    path.write_bytes(path.read_bytes().replace(tag, struct.pack("<HHI", 266, 3, 1)))
    np.testing.assert_array_equal(read_grey(path), GREY / 255)
    check_rows(open_film(path), GREY / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_tiff_is_read_whole_and_upright(path, orientation):
    written(path, GREY, extratags=[(274, 3, 1, orientation, True)])
    check_film = open_film(path)
    np.testing.assert_array_equal(
        check_film.rows(0, check_film.shape[0]), np.float32(read_grey(path))
    )
    assert check_film.shape == (SIZE if orientation < 5 else SIZE[::-1])


def test_other_formats_are_read_as_ever(tmp_path):
    for name in ("a.png", "a.bmp", "a.pgm", "a.jpg", "a.jp2", "a.webp"):
        Image.fromarray(GREY).save(tmp_path / name)
        check_rows(open_film(tmp_path / name), read_grey(tmp_path / name))
    twelve = written(tmp_path / "b.tif", packed(GREY.astype(np.uint16) * 16, 12))
    relabel(twelve, ImageWidth=SIZE[1], BitsPerSample=12)
    assert open_film(twelve).bits == 12
    check_rows(open_film(twelve), read_grey(twelve))


def test_a_tiff_may_be_larger_than_what_is_read_whole(path):
    levels = np.tile(GREY, (1, 400))  # 21,200 pixels wide
    check_rows(open_film(written(path, levels, tile=(64, 64))), levels / 255)
    # Turned by its orientation it has to be read whole, and so is too large; and so is a PNG.
    written(path, levels, extratags=[(274, 3, 1, 6, True)])
    refused(path, "is too large .* at most 200 megapixels and 20000 a side")
    Image.fromarray(levels).save(png := path.with_suffix(".png"))
    refused(png, "is too large")
    relabel(written(path, GREY), ImageWidth=50_001)
    refused(path, "is too large .* at most 2500 megapixels and 50000 a side")


def test_a_strip_that_is_too_large_to_be_decoded_for_some_rows_is_read_whole(path, monkeypatch):
    monkeypatch.setattr("images.tiff.MOST_IN_SEGMENT", 16 * SIZE[1])
    for rows, is_whole in ((16, False), (17, True)):
        written(path, GREY, compression="deflate", rowsperstrip=rows)
        with monkeypatch.context() as patch:
            patch.setattr(strips, "read_levels", lambda *_, **__: 1 / 0)
            if is_whole:
                with pytest.raises(InputError):
                    open_film(path)
            else:
                check_rows(open_film(path), GREY / 255)
    check_rows(open_film(path), GREY / 255)
    written(path, GREY)  # not compressed, so any row can be found
    monkeypatch.setattr(strips, "read_levels", lambda *_, **__: 1 / 0)
    check_rows(open_film(path), GREY / 255)


# ------------------------------------------------------------------------- films that are refused


def test_colour_photographs_are_refused_and_nearly_equal_channels_are_not(tmp_path):
    says = "is a colour photograph and not a radiograph, .* leave it out, or save it as grey"
    smooth = np.asarray(Image.fromarray(COLOUR).resize((106, 140)))
    neutral = np.dstack([np.asarray(Image.fromarray(GREY).resize((106, 140)))] * 3)
    for number, (name, options) in enumerate(
        [("a.png", {}), ("a.tif", {}), ("a.bmp", {}), ("a.webp", {}), ("a.gif", {})]
        + [
            ("a.jpg", {"quality": quality, "subsampling": s})
            for quality in (40, 95)
            for s in (0, 2)
        ]
    ):
        Image.fromarray(smooth).save(tmp_path / name, **options)
        refused(tmp_path / name, says)
        noise = RNG.integers(-2, 3, neutral.shape) if number % 2 else 0
        nearly = np.clip(neutral.astype(int) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(nearly).save(tmp_path / name, **options)
        film = open_film(tmp_path / name)
        # GIFs have few colours, and JPEG loses detail.
        most = 0.02 if name in ("a.png", "a.tif", "a.bmp") else 0.5
        assert np.abs(film.rows(0, 140) - neutral[..., 0] / 255).max() < most


@pytest.mark.parametrize("share", [0.0005, 0.002])
def test_a_small_coloured_mark_is_no_photograph(tmp_path, share):
    pixels = np.dstack([RNG.integers(0, 256, (100, 100), dtype=np.uint8)] * 3)
    pixels.reshape(-1, 3)[: round(share * 1e4)] = 255, 0, 0
    Image.fromarray(pixels).save(path := tmp_path / "a.png")
    if share > 0.001:
        refused(path, "is a colour photograph")
    else:
        assert open_film(path).shape == (100, 100)


def test_real_films_are_grey(real_images):
    for number in (1, 200, 400):
        assert open_film(real_images / f"{number:03}.jpg").shape == (2400, 1935)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_films_of_one_level_are_refused(tmp_path, name):
    Image.fromarray(np.full((70, 90), 77, np.uint8)).save(path := tmp_path / name)
    refused(path, "has the same level everywhere, so it shows nothing: leave it out")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_black_and_white_is_refused(tmp_path, name):
    Image.fromarray(GREY > 99).save(path := tmp_path / name)
    refused(path, "is black and white without greys between: scan it as grey")


@pytest.mark.parametrize(("greatest", "bits"), [(4095, 12), (4090, 12), (16384, 0), (32700, 15)])
def test_a_film_that_likely_holds_fewer_bits_is_refused_unless_it_says_so(path, greatest, bits):
    levels = (GREY / 255 * greatest).astype(np.uint16)
    levels[0, 0] = greatest
    Image.fromarray(levels).save(png := path.with_suffix(".png"))
    for film in (png, written(path, levels)):
        if bits:
            refused(film, f"has levels over a span of {greatest} only.* likely holds {bits} bits")
            white = 2**bits - 1
            np.testing.assert_array_equal(
                open_film(film, white=white).exact_rows(0, 70), levels / white
            )
        assert open_film(film, white=65535).bits == 16
        with pytest.raises(InputError, match=f"up to {greatest}, above that of white"):
            open_film(film, white=1000)
    if bits:
        written(path, levels, extratags=[(281, "H", 1, 2**bits - 1, True)])
        assert open_film(path).bits == bits


def test_what_is_made_of_a_film_means_what_the_film_does(path):
    """Its darkest or flattest result is no reason to refuse it, nor to read it otherwise."""
    film = open_film(written(path, GREY * np.uint16(257)))
    for levels in (np.full(SIZE, 5, np.uint16), GREY.astype(np.uint16)):
        written(path, levels)
        found = open_film(path, like=film)
        np.testing.assert_array_equal(found.exact_rows(0, 70), levels / 65535)


def test_what_cannot_be_read_is_named_with_the_remedy(path):
    refused(path, "does not exist: check the name")
    path.write_bytes(b"II*\0 nothing")
    refused(path, "cannot be read as an image .* get it again, or save it as PNG")
    for wrong in (np.nan, -0.1, 1.1):
        levels = np.linspace(0, 1, 70 * 53).reshape(SIZE).astype(np.float32)
        levels[60, 3] = wrong
        refused(written(path, levels, rowsperstrip=8), r"has levels outside \[0, 1\] or undefined")
    tifffile.imwrite(path, np.stack([GREY] * 2), photometric="minisblack")
    refused(path, "has 2 pages: save each as an image")


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_cut_tiff_is_refused_wherever_it_is_cut(path, compression):
    content = written(path, GREY, compression=compression, rowsperstrip=16).read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        refused(path, "cannot be read")


# -------------------------------------------------------------------- parts, and films made small


def test_noise_is_estimated_from_the_very_numbers_of_a_film(tmp_path):
    Image.fromarray(GREY).save(path := tmp_path / "a.png")
    found = sampled(open_film(path))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, read_grey(path))


@pytest.mark.parametrize("shape", [(5008, 5004), (1000, 25_300), (25_300, 1000)])
def test_a_large_film_is_sampled_in_windows_from_all_over_it(shape):
    rows, columns = (np.arange(length, dtype=np.float64) / 2**16 for length in shape)

    def levels(start: int, stop: int) -> np.ndarray:
        return np.add.outer(rows[start:stop], columns)

    depth = strips.Depth(1, 1)
    found = sampled(strips.Film(None, shape, 32, depth, levels))
    assert found.size < strips.MOST_SAMPLED
    # A slope of one step a pixel, but for the seams, which lie on multiples of 256.
    for axis in (0, 1):
        step = np.diff(found, axis=axis) * 2**16
        seams = np.unique(np.nonzero(step != 1)[axis])
        assert (seams % strips.WINDOW == strips.WINDOW - 1).all()
        ends = found.take([0, -1], axis).take([0, -1], 1 - axis) * 2**16
        assert ends.min() == 0 and ends.max() >= sum(shape) - 2 - 14  # both ends are seen
    # Windows begin on multiples of 8, as the grid of JPEG does, and no block lies over a seam.
    corners = found[:: strips.WINDOW, :: strips.WINDOW] * 2**16
    assert (corners % 8 == 0).all()
    step = blocks(found).step
    assert strips.WINDOW % step == 0 and step >= SIDE


def test_the_noise_of_a_large_film_is_that_of_its_windows():
    rng = np.random.default_rng(5)
    part = np.add.outer(np.linspace(0.2, 0.5, 1000), np.linspace(0, 0.4, 1000))
    part = np.clip(rng.poisson(part * 400) / 400 + rng.normal(0, 0.01, part.shape), 0, 1)

    def levels(start: int, stop: int) -> np.ndarray:
        return np.tile(part[np.arange(start, stop) % 1000], 6)

    film = strips.Film(None, (6000, 6000), 32, strips.Depth(1, 1), levels)
    found = estimate_noise(sampled(film))
    assert found.fits, found.reasons
    greys = np.array([0.2, 0.5, 0.9])
    np.testing.assert_allclose(found.deviation_at(greys), np.sqrt(greys / 400 + 1e-4), rtol=0.02)


@pytest.mark.parametrize("shape", [(70, 53), (1, 300), (97, 64), (3, 2)])
@pytest.mark.parametrize("most", [1600, 32, 7])
def test_a_film_is_reduced_by_means_of_squares(tmp_path, monkeypatch, shape, most):
    monkeypatch.setattr(strips, "WIDE_BAND", 500)
    levels = RNG.integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(levels).save(path := tmp_path / "a.png")
    found = reduced(open_film(path), most)
    side = -(-max(shape) // most)
    expected = [
        [
            levels[row : row + side, column : column + side].mean() / 255
            for column in range(0, shape[1], side)
        ]
        for row in range(0, shape[0], side)
    ]
    assert found.dtype == np.float32 and max(found.shape) <= most
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
