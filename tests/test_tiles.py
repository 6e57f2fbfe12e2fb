"""A film in tiles: no seam, edges as good as the middle, any size, little memory."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import gaussian_filter

from conftest import ROOT
from films import tiles
from films.strips import Film
from films.tiles import GRID, denoised_rows, spans
from images.depths import Depth
from methods.unet import build_network

NOISE = {"distribution": "gaussian", "factor": 0.1, "mean": 0, "std": 1}
LEVEL = 1 / 255


def film_of(image: np.ndarray) -> Film:
    """Return a film that holds an image, shape (H, W), values in [0, 1]."""
    return Film(Path("a.tif"), image.shape, 32, Depth(1, 1), lambda a, b: image[a:b])


def denoised(image: np.ndarray, denoise: Callable) -> np.ndarray:
    return np.vstack(list(denoised_rows(film_of(image), denoise)))


def smooth(shape: tuple[int, int], seed: int = 1) -> np.ndarray:
    """Return an image with structure of several sizes, values in [0.1, 0.9]."""
    rng = np.random.default_rng(seed)
    image = sum(gaussian_filter(rng.normal(size=shape), s) * s for s in (4, 12, 40))
    return 0.1 + 0.8 * (image - image.min()) / np.ptp(image)


def noisy(clean: np.ndarray, seed: int = 2) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.1, clean.shape)
    return np.clip(clean + noise, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> Callable[[np.ndarray], np.ndarray]:
    """A U-Net of four levels, trained a little."""
    torch.manual_seed(1)
    network = build_network({"widths": [8, 8, 16, 16], "blocks": 1}, NOISE)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    clean = torch.tensor(smooth((640, 640)), dtype=torch.float32)
    patches = clean.unfold(0, 64, 32).unfold(1, 64, 32).reshape(-1, 1, 64, 64)
    for _ in range(150):
        batch = patches[torch.randperm(len(patches))[:8]]
        found = network(batch + 0.1 * torch.randn(batch.shape))
        loss = ((found - batch) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.99
    network.eval().requires_grad_(False)

    def denoise(image: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(image)[None, None])[0, 0].numpy()

    return denoise


def at_once(image: np.ndarray, denoise: Callable, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Return the answer on the whole film, as a single tile."""
    with monkeypatch.context() as patch:
        patch.setattr(tiles, "SIDE", 10**6)
        return denoised(image, denoise)


@pytest.mark.parametrize("grey", [None, 0.02, 0.5, 0.98])
def test_a_network_leaves_no_seam(network, monkeypatch, grey):
    clean = smooth((700, 530)) if grey is None else np.full((700, 530), grey)
    image = noisy(clean)
    monkeypatch.setattr(tiles, "SIDE", 256)
    whole, found = at_once(image, network, monkeypatch), denoised(image, network)
    if grey is None or grey == 0.5:  # the others are beyond its training
        assert np.sqrt(np.mean((found - clean) ** 2)) < 0.04
    assert 0 < np.abs(found - whole).max() < LEVEL
    # With less left out there would be one.
    monkeypatch.setattr(tiles, "LEFT_OUT", 0)
    monkeypatch.setattr(tiles, "BLENDED", 16)
    if grey is None:
        assert np.abs(denoised(image, network) - whole).max() > LEVEL


def placed(image: np.ndarray) -> np.ndarray:
    """Blur as with zeros around, and answer more towards the lower right end of a tile."""
    across, down = (np.linspace(-0.02, 0.02, length) for length in image.shape[::-1])
    return gaussian_filter(image, 8, mode="constant") + np.add.outer(down, across)


@pytest.mark.parametrize("image", ["flat", "film"])
def test_what_depends_on_the_place_in_a_tile_leaves_no_seam(monkeypatch, image):
    image = np.full((1600, 2100), 0.5, np.float32) if image == "flat" else smooth((1600, 2100))
    image = image.astype(np.float32)
    whole = gaussian_filter(image, 8, mode="reflect")  # which repeats the outermost pixels

    def steps() -> float:
        """The greatest step between neighbours in what is wrong."""
        wrong = denoised(image, placed) - whole
        assert np.abs(wrong).max() < 0.05
        return max(np.abs(np.diff(wrong, axis=axis)).max() for axis in (0, 1))

    assert steps() < LEVEL / 2
    monkeypatch.setattr(tiles, "BLENDED", 1)
    assert steps() > LEVEL


def test_an_edge_is_no_worse_than_the_middle(network):
    """Apart from the outermost pixels, that have half of the neighbours."""
    shape = (256, 320)
    distance = np.minimum(*(np.minimum(i, i[::-1, ::-1]) for i in np.indices(shape)))
    ways = {"tiles": denoised, "alone": lambda image, denoise: denoise(image)}
    errors = {way: np.zeros(shape) for way in ways}
    for seed in range(8):
        clean = smooth((shape[0] + 128, shape[1] + 128), seed)[64:-64, 64:-64]
        image = noisy(clean, 100 + seed)
        for way, function in ways.items():
            errors[way] += (function(image, network) - clean) ** 2
    edge, outermost, middle = distance < 16, distance == 0, distance >= 32
    for part, most in ((edge, 1.1), (outermost, 1.6)):
        worse = {way: np.sqrt(e[part].mean() / e[middle].mean()) for way, e in errors.items()}
        assert worse["tiles"] < most
        assert worse["tiles"] < worse["alone"]


SIZES = [(1, 64), (64, 1), (1, 1), (17, 33), (5, 1023), (1024, 16), (1537, 40), (40, 3100)]


@pytest.mark.parametrize("shape", SIZES)
def test_films_of_any_size_come_out_in_order(shape):
    image = np.random.default_rng(3).random(shape).astype(np.float32)

    def seen(tile: np.ndarray) -> np.ndarray:
        assert tile.dtype == np.float32 and tile.flags.c_contiguous
        assert all(side % GRID == 0 and 80 <= side < 1700 for side in tile.shape)
        return tile

    np.testing.assert_allclose(denoised(image, seen), image, rtol=0, atol=1e-6)


def test_the_grid_is_the_same_in_all_tiles(monkeypatch):
    """What a network averages over squares of 16 pixels is averaged over the same squares."""
    monkeypatch.setattr(tiles, "SIDE", 100)

    def squares(image: np.ndarray) -> np.ndarray:
        means = image.reshape(len(image) // GRID, GRID, -1, GRID).mean(axis=(1, 3))
        return np.kron(means, np.ones((GRID, GRID), np.float32))

    for shape in ((337, 512), (100, 991)):
        image = np.random.default_rng(4).random(shape).astype(np.float32)
        whole = at_once(image, squares, monkeypatch)
        np.testing.assert_allclose(denoised(image, squares), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [*range(1, 70), 1000, 1535, 1536, 2400, 30_000, 50_000])
def test_weights_add_up_to_1(length):
    sums = np.zeros(length)
    for span in spans(length):
        sums[span.start : span.stop] += span.weights
        assert span.weights.min() > 0
        assert span.seen[span.skipped] == span.start
        assert len(span.seen) >= span.skipped + len(span.weights) + tiles.LEFT_OUT
    np.testing.assert_allclose(sums, 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("answer", [lambda x: x[1:], lambda x: x * np.nan, lambda x: x[None]])
def test_an_answer_that_is_no_image_is_refused(answer):
    with pytest.raises(ValueError, match="returned no image of the shape of the noisy one"):
        denoised(np.full((64, 64), 0.5, np.float32), answer)


def test_answers_beyond_black_and_white_are_clipped():
    image = smooth((64, 64)).astype(np.float32)
    np.testing.assert_allclose(
        denoised(image, lambda x: 3 * x - 1), np.clip(3 * image - 1, 0, 1), rtol=0, atol=1e-6
    )


COPY = """
import sys
from pathlib import Path

sys.path.insert(0, "workflow/scripts")
from films.strips import open_film
from films.tiles import denoised_rows
from films.writing import write_film

original, target = map(Path, sys.argv[1:])
film = open_film(original)
write_film(original, film, denoised_rows(film, lambda image: image), target, "nothing")
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("options", [{"tile": (256, 256)}, {"rowsperstrip": 128}, {}])
def test_a_film_of_four_times_the_height_takes_no_more_memory(tmp_path, options):
    peaks = []
    for height in (3072, 9216):
        levels = np.add.outer(np.arange(height), np.arange(3000)).astype(np.uint16) * 5
        options = {"compression": "zlib" if options else None} | options
        tifffile.imwrite(tmp_path / "a.tif", levels, metadata=None, **options)
        command = [sys.executable, "-c", COPY, tmp_path / "a.tif", tmp_path / "b.tif"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), levels)
    more = 2 * levels[3072:].size / 2**20  # MiB of two bytes a pixel
    assert peaks[1] - peaks[0] < more / 2
    assert peaks[1] < 500
