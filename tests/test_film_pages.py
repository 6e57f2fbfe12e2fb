"""The sheet of a film, and the page and the table of a folder of films."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import uniform_filter

import phantom_films
from conftest import ROOT
from films.index import index, table
from films.sheet import UNCHANGED, draw_sheet, fitted, layout, most_structure, stretch
from films.strips import open_film, sampled
from films.wording import (
    MOST_CORRELATION,
    STRONGEST,
    WEAKEST,
    is_doubtful,
    model_in_words,
    noise_in_words,
    residual_in_words,
)
from noise.estimation import estimate_noise
from noise.seeds import generator
from test_report import Browser, axe_core

ABOUT = {"folder": "my films", "method": "U-Net", "noise": "estimated of each film", "version": "1"}
ODD = [
    "a b.png",
    'it\'s "so".png',
    "100%25 #1?.png",
    "{braces} {{ 7 * 7 }}.png",
    "Zähne, 歯.png",
    "<img src=x onerror=alert(1)>&amp;.png",
    "http:x.png",
    "two\nlines.png",
    "sub folder/film.png",
]
REFUSED = (
    "has noise of another kind: the noise is not white: neighbouring pixels are correlated. "
    "Give another film"
)


class Film:
    """Stands for a film that is read from a file."""

    def __init__(self, levels: np.ndarray, bits: int = 8) -> None:
        self.levels, self.shape, self.bits = np.float32(levels), levels.shape, bits

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self.levels[start:stop]


def record_of(shape: tuple[int, int], path: str = "a.png", **others: object) -> dict:
    """Return the record of a film that was denoised."""
    known = {"path": path, "height": shape[0], "width": shape[1], "bits": 8, "gain": 0.01}
    known |= {"deviation": 0.02, "estimated": True, "levels": [0.1, 0.9], "refused": None}
    known |= {"image": f"images/{path}", "sheet": f"sheets/{path}.png", "note": None}
    known |= {"seconds": 1.5, "residual_deviation": 0.97, "residual_correlation": 0.01}
    return known | others


def refused(path: str, why: str = REFUSED) -> dict:
    """Return the record of a film that was refused before its noise was known."""
    keys = ("height", "width", "bits", "gain", "deviation", "estimated", "levels")
    return {"path": path, **dict.fromkeys(keys), "refused": why}


def drawn(folder: Path, before: np.ndarray, after: np.ndarray, **others: object) -> np.ndarray:
    """Return the pixels of the sheet of a film."""
    target = folder / "sheet.png"
    draw_sheet(target, Film(before), Film(after), record_of(before.shape, **others))
    with Image.open(target) as sheet:
        assert sheet.mode == "L"
        assert sheet.size == layout(record_of(before.shape, **others)).size
        return np.asarray(sheet)


def pictures(sheet: np.ndarray, shape: tuple[int, int]) -> list[np.ndarray]:
    """Return the three pictures of the whole film on a sheet."""
    plan = layout(record_of(shape))
    width, height = plan.whole
    return [sheet[y : y + height, x : x + width] for x, y in plan.places()]


def scene(shape: tuple[int, int]) -> np.ndarray:
    """Return a ramp from black to white between bars that are quite black and white."""
    image = np.tile(np.linspace(0, 1, shape[1]), (shape[0], 1))
    image[:, : shape[1] // 8], image[:, -shape[1] // 8 :] = 0, 1
    return image


def test_a_level_of_what_was_removed_is_a_level_of_the_pictures(tmp_path):
    after = scene((64, 64))
    removed = np.zeros((64, 64))
    removed[10:20, 10:20], removed[30:40, 20:30] = 17 / 255, -40 / 255
    sheet = drawn(tmp_path, after + removed, after)
    first, second, third = (picture[3::7, 3::7] for picture in pictures(sheet, after.shape))
    assert np.unique(third).tolist() == [UNCHANGED - 40, UNCHANGED, UNCHANGED + 17]
    assert np.array_equal(third == UNCHANGED + 17, removed > 0)
    assert np.abs(second - 255 * after).max() <= 0.501
    is_inside = (first > 0) & (first < 255)
    difference = first.astype(int) - second - (third.astype(int) - UNCHANGED)
    assert np.abs(difference[is_inside]).max() <= 1  # of rounding


def test_a_dark_film_is_stretched_and_what_was_removed_with_it(tmp_path):
    after = scene((64, 64)) / 16
    before = after.copy()
    before[20:30, 20:30] += 2 / 255
    _, second, third = pictures(drawn(tmp_path, before, after), after.shape)
    assert second.min() == 0
    assert second.max() >= 250
    black, white = stretch(before)
    assert third.max() == pytest.approx(UNCHANGED + 2 / (white - black), abs=1)
    assert np.count_nonzero(third != UNCHANGED) == 100 * 7 * 7


def test_a_flat_film_is_not_stretched_without_end():
    black, white = stretch(np.full((50, 50), 0.999))
    assert 0 <= black < white <= 1
    assert white - black >= 0.01


def test_the_whole_is_averaged_and_not_picked(tmp_path):
    shape = (1080, 920)
    rows, columns = np.indices(shape)
    before = ((rows + columns) % 2).astype(float)
    before[:400], before[-300:] = 0, 1
    first, second, _ = pictures(drawn(tmp_path, before, before), shape)
    assert first.shape == (540, 460)
    right = first[:, 130:]  # of the frame
    assert np.unique(right[201:389]).tolist() == [128]
    assert not right[:199].any()
    assert (right[391:] == 255).all()
    assert np.array_equal(first, second)


def test_the_part_with_most_structure_has_the_pixels_of_the_film(tmp_path):
    shape = (1000, 800)
    after = scene(shape)
    after[600:800, 300:500] += 0.2 * np.sin(np.indices((200, 200)).sum(axis=0) / 8)
    after = after.clip(0, 1)
    before = (after + generator(1, "part").normal(0, 0.05, shape)).clip(0, 1)
    letters = np.s_[940:, 640:]  # nearly as strong edges as there can be
    before[letters] = after[letters] = np.indices((60, 160)).sum(axis=0) // 10 % 2
    sheet, plan = drawn(tmp_path, before, after), layout(record_of(shape))
    left, top = most_structure(fitted(after, plan.whole), shape, plan.part)
    assert 600 - plan.part // 2 < top < 800 - plan.part // 2
    assert 300 - plan.part // 2 < left < 500 - plan.part // 2
    side, step = plan.part * plan.zoom, plan.zoom
    first, second, third = (
        sheet[y : y + side : step, x : x + side : step].astype(int) for x, y in plan.enlarged()
    )
    film = np.s_[top : top + plan.part, left : left + plan.part]
    assert np.abs(first - 255 * before[film]).max() <= 3  # the stretch is nearly the whole range
    assert np.abs(second - 255 * after[film]).max() <= 3
    assert np.abs(third - UNCHANGED - 255 * (before - after)[film]).max() <= 3
    # Its frame is in all pictures of the whole film: a white line between two black ones.
    for picture in pictures(sheet, shape):
        scale = plan.whole[1] / shape[0]
        column = picture[:, round((left + plan.part / 2) * scale)]
        edge = round(top * scale)
        assert column[edge - 1 : edge + 2].tolist() == [0, 255, 0]


@pytest.mark.parametrize(
    "shape",
    [
        *((2400, 1935), (1000, 1400), (300, 3000), (700, 1500), (1500, 100), (231, 200)),
        *((200, 180), (64, 64), (1, 1), (1, 3000), (900, 2)),
    ],
)
def test_sheets_of_any_shape_are_small_whatever_the_noise(tmp_path, shape):
    before, after = generator(1, "sheets").random((2, *shape))
    for path in ("a.png", f"{'long name ' * 25}.png"):
        sheet = drawn(tmp_path, before, after, path=path)
        assert max(sheet.shape) < 2000
        assert (tmp_path / "sheet.png").stat().st_size < 1_000_000
        assert (sheet[:, -20:] == 255).all()  # nothing is cut off
        assert (sheet[-10:] == 255).all()
    plan = layout(record_of(shape))
    assert bool(plan.part) == (plan.scale < 2)
    assert np.abs(np.subtract(plan.whole[::-1], plan.scale * np.array(shape))).max() <= 1


class Endless(Film):
    """A film of 30,000 rows, of which none is in memory before it is asked for."""

    shape, bits = (30_000, 4_000), 16

    def __init__(self) -> None:
        pass

    def rows(self, start: int, stop: int) -> np.ndarray:
        return np.tile(np.linspace(0, 1, self.shape[1], dtype=np.float32), (stop - start, 1))


def test_a_very_large_film_takes_little_memory(tmp_path):
    tracemalloc.start()
    film = Endless()
    draw_sheet(tmp_path / "sheet.png", film, film, record_of(film.shape))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300e6  # of 480 MB


def test_a_sheet_is_whole_or_not_there_and_always_the_same(tmp_path):
    image = scene((100, 80))
    sheet, again = drawn(tmp_path, image, image), drawn(tmp_path, image, image)
    assert np.array_equal(sheet, again)
    before = (tmp_path / "sheet.png").read_bytes()

    class Broken(Film):
        def rows(self, start: int, stop: int) -> np.ndarray:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        draw_sheet(tmp_path / "sheet.png", Film(image), Broken(image), record_of(image.shape))
    assert (tmp_path / "sheet.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_noise_is_told_in_grey_levels_and_in_percent():
    found = noise_in_words(record_of((64, 64), gain=0.01, deviation=0.02))
    assert found == [
        "Dark grey, 26: standard deviation 9.5 of 255 (3.7 %)",
        "Middle grey, 128: standard deviation 18.7 of 255 (7.3 %)",
        "Bright grey, 230: standard deviation 24.7 of 255 (9.7 %)",
    ]
    weak = noise_in_words(record_of((64, 64), gain=0, deviation=0.001))
    assert len({line.partition(": ")[2] for line in weak}) == 1
    assert "0.26 of 255 (0.1 %)" in weak[0]


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ({"gain": 0.01, "deviation": 0.01}, "counts 100 quanta, with electronic noise of 2.6 grey"),
        ({"gain": 0.0001234, "deviation": 0}, "a white pixel counts 8,100 quanta."),
        ({"gain": 0, "deviation": 0.1}, "electronic noise of 25.5 grey levels, the same at all"),
        ({"gain": 0.3, "deviation": 0}, "counts 3.33 quanta."),
    ],
)
def test_gain_and_deviation_are_said_in_words(noise, words):
    first, second = model_in_words(record_of((64, 64), **noise))
    assert words in first
    assert "greys from 26 to 230" in second
    assert len(model_in_words(record_of((64, 64), levels=None, **noise))) == 1


@pytest.mark.parametrize(
    ("strength", "correlation", "words"),
    [
        (0.97, 0.02, ["as it should be", "it is white"]),
        (0.97, -0.02, ["as it should be", "it is white"]),
        (0.5, 0.02, ["less noisy than that, or noise is left", "it is white"]),
        (1.4, 0.02, ["noisier than that, or structure was removed", "it is white"]),
        (0.97, 0.4, ["as it should be", "look for structure"]),
        (0.97, -0.4, ["as it should be", "coarse noise is left in the film"]),
        (None, None, []),
    ],
)
def test_what_was_removed_is_judged_in_words(strength, correlation, words):
    record = record_of((9, 9), residual_deviation=strength, residual_correlation=correlation)
    found = residual_in_words(record)
    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))
    assert is_doubtful(record) == any(
        "as it should" not in w and "is white" not in w for w in words
    )


def test_the_documentation_has_the_limits_of_what_was_removed():
    text = (ROOT / "docs/own-images.md").read_text(encoding="utf-8")
    assert f"({WEAKEST} to {STRONGEST})" in text
    assert f"({-MOST_CORRELATION} to {MOST_CORRELATION})" in text


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of films that were denoised, with odd names, and of some that were refused."""
    folder = tmp_path_factory.mktemp("denoised")
    names = [*ODD, *(f"film {number}.png" for number in range(20))]
    records = [record_of((96, 80 + number), name) for number, name in enumerate(names)]
    records[3] |= {"residual_correlation": 0.3}
    for record in records:
        image = scene((record["height"], record["width"]))
        draw_sheet(folder / record["sheet"], Film(image), Film(image), record)
        path = folder / record["image"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * image).astype(np.uint8)).save(path)
    records[2:2] = [
        refused("<b>bad</b>.png"),
        refused("sub/no image.png", "is damaged: get it again"),
    ]
    (folder / "index.html").write_text(index(records, ABOUT), encoding="utf-8")
    table(records).to_csv(folder / "noise.csv", index=False)
    return folder


IN_BROWSER = pytest.mark.xdist_group("film pages")
WIDTHS = pytest.mark.parametrize("width", [1280, 400])


def asked(browser: Browser) -> list[str]:
    """Return what the page asked for that is not in itself."""
    urls = [found["request"]["url"] for found in browser.happened("Network.requestWillBeSent")]
    return [url for url in urls if not url.startswith("data:")]


def local(url: str) -> Path:
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("file", "", "", "")
    return Path(unquote(parts.path))


@IN_BROWSER
@WIDTHS
def test_every_sheet_is_shown_and_nothing_else_is_asked_for(browser, folder, width):
    browser.open(folder / "index.html", width)
    count = len(ODD) + 20
    assert len(asked(browser)) < count / 2  # those far below wait until they are near
    browser.run("""(async () => {
        for (const image of document.images) {
            image.scrollIntoView();
            await image.decode();
        }
    })()""")
    sizes = browser.run(
        "[...document.images].map(i => [i.naturalWidth, i.naturalHeight, +i.getAttribute('width'),"
        " +i.getAttribute('height'), i.clientWidth])"
    )
    assert len(sizes) == count
    for natural_width, natural_height, *said, wide in sizes:
        assert said == [natural_width, natural_height]
        assert 300 < wide <= width
    sheets = set(folder.glob("sheets/**/*.png"))
    assert set(map(local, asked(browser))) == {folder / "index.html", *sheets}
    assert browser.run("document.documentElement.scrollWidth") <= width
    for event in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
        assert browser.happened(event) == []


@IN_BROWSER
def test_each_link_leads_to_a_file_or_a_part_of_the_page(browser, folder):
    browser.open(folder / "index.html", 1280)
    links = browser.run("[...document.links].map(link => [link.getAttribute('href'), link.href])")
    files = {local(url) for href, url in links if not href.startswith("#")}
    made = {path for path in folder.rglob("*") if path.is_file()} - {folder / "index.html"}
    assert files == made
    places = [href for href, _ in links if href.startswith("#")]
    assert len(set(places)) == len(ODD) + 20 + 2  # each film, all of them, those refused
    assert browser.run(f"{places}.every(place => document.querySelector(place))")


@IN_BROWSER
def test_names_are_shown_as_they_are_and_refused_films_come_first(browser, folder):
    browser.open(folder / "index.html", 1280)
    headings = browser.run("[...document.querySelectorAll('h3')].map(h => h.textContent)")
    shown = [name.replace("\n", "\ufffd") for name in ODD]
    assert headings[:2] == ["<b>bad</b>.png", "sub/no image.png"]
    assert headings[2:6] == [*shown[:3], f"{shown[3]} look at this"]
    assert headings[6:11] == shown[4:]
    reasons = browser.run("[...document.querySelectorAll('.refused li')].map(x => x.innerText)")
    assert "\nIt has noise of another kind: the noise is not white" in reasons[0]
    assert "Give another film.\n\nExport the film without smoothing" in reasons[0]
    assert reasons[1].endswith("It is damaged: get it again.")
    assert browser.run("document.querySelectorAll('script, b, article img[onerror]').length") == 0


@IN_BROWSER
@WIDTHS
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(browser, folder, width, scheme):
    code = axe_core()
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser("Emulation.setEmulatedMedia", features=media)
    browser.open(folder / "index.html", width)
    browser.run(f"{code}; 0")
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    found = browser.run("axe.run().then(r => r.violations.map(v => [v.id, v.nodes[0].html]))")
    assert found == []
    assert browser.run("axe.run().then(r => r.passes.length)") > 15


def test_a_page_of_no_film_and_of_refused_ones_says_so():
    page = index([refused("a.png")], ABOUT)
    assert "0 denoised" in page
    assert "1 refused" in page
    assert "<article" not in page
    page = index([record_of((64, 64))], ABOUT)
    assert "refused" not in page.partition("<body>")[2]
    assert "look at this" not in page
    assert index([], ABOUT).count("0 denoised") == 1


def test_the_table_has_a_line_for_each_film_and_no_number_that_is_not_known(tmp_path):
    gain = 1.23456789e-5
    records = [
        record_of((2400, 1935), "a,b.png", gain=gain, note="JPEG loses detail"),
        record_of((9, 9), "given.png", estimated=False, levels=None, residual_correlation=None),
        refused("c.png"),
    ]
    found = table(records)
    found.to_csv(tmp_path / "noise.csv", index=False)
    text = (tmp_path / "noise.csv").read_text().splitlines()
    assert text[0] == (
        "film,refused,height,width,bits,gain,deviation,estimated,lowest_grey,highest_grey,"
        "residual_deviation,residual_correlation,seconds,method,image,sheet,note"
    )
    assert text[1] == (
        '"a,b.png",,2400,1935,8,1.23457e-05,0.02,True,0.1,0.9,0.97,0.01,1.5,,'
        '"images/a,b.png","sheets/a,b.png.png",JPEG loses detail'
    )
    assert text[2].startswith("given.png,,9,9,8,0.01,0.02,False,,,0.97,,1.5,")
    assert text[3] == f"c.png,{REFUSED}" + "," * 15
    assert pd.read_csv(tmp_path / "noise.csv")["gain"][0] == pytest.approx(gain, rel=1e-5)
    assert table([]).columns.tolist() == text[0].split(",")


def test_films_of_the_phantom_are_one_with_noise_and_one_that_was_smoothed(tmp_path, monkeypatch):
    clean = uniform_filter(scene((1280, 1280)), 50)
    monkeypatch.setattr(phantom_films, "render", lambda subject, size, seed: clean)
    for name, film in phantom_films.films().items():
        phantom_films.write_film(tmp_path / name, film)
    noisy, smoothed = (open_film(tmp_path / name) for name in ("head.png", "smoothed.png"))
    assert (noisy.bits, noisy.shape) == (16, smoothed.shape)
    estimate = estimate_noise(sampled(noisy))
    assert estimate.fits
    assert estimate.gain == pytest.approx(0.01, rel=0.1)
    assert "not white" in estimate_noise(sampled(smoothed)).reasons[0]


def test_pictures_of_the_documentation_are_sheets_with_fewer_greys(tmp_path):
    sheet = drawn(tmp_path, scene((64, 64)), scene((64, 64)))
    phantom_films.copy_picture(tmp_path / "sheet.png", tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as image:
        found = np.asarray(image).astype(int)
    assert np.abs(found - sheet).max() <= phantom_films.STEP // 2
    assert len(np.unique(found)) < len(np.unique(sheet))
    for name in ("sheet.png", "sheet_wrong.png"):
        path = ROOT / "docs" / name
        assert path.stat().st_size <= 300_000
        with Image.open(path) as image:
            assert image.mode == "L"
