"""Learning from noisy films alone: their parts, the recipe, and a folder of films as a whole."""

import importlib
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
import yaml

from conftest import ROOT
from engine.configuration import checked
from engine.films import film_method
from engine.messages import InputError
from files.models import load_model
from films import learning, patches
from films.examining import examined
from films.folder import check_model
from films.learning import BlindSpotFilms, bounded, ranges, second_of, unclipped
from films.listing import key_of
from films.patches import drawn, is_empty, patches_of
from noise.device_random import DeviceGenerator
from noise.seeds import generator
from test_make_denoise import CONFIG, DENOISE, NOISE, Denoising, noisy, save, save_model
from test_training import CPU, assert_equal, whole_and_resumed
from training.inference import load
from training.networks import network_of

draw = partial(generator, 5)
TINY = {"widths": [4], "blocks": 1, "partitions": 1}
WEAK, STRONG = (0.002, 0.01), (0.02, 0.05)


class Rows:
    """A film of which it is counted how often each row was read, and how many at once."""

    def __init__(self, film: np.ndarray) -> None:
        self.film, self.shape = np.float32(film), film.shape
        self.times, self.most = np.zeros(len(film), int), 0

    def rows(self, start: int, stop: int) -> np.ndarray:
        self.times[start:stop] += 1
        self.most = max(self.most, stop - start)
        return self.film[start:stop]


# --------------------------------------------------------------------------------------- patches


def test_patches_are_parts_of_a_film_which_is_read_in_bands():
    height, width, side = 300, 211, 64
    numbers = np.arange(height * width).reshape(height, width) / (height * width)
    film = Rows(numbers)
    found = drawn(film, WEAK, 50, side, draw("patches"))
    assert found.shape == (50, side, side)
    assert found.dtype == np.float32
    first = np.rint(found[:, 0, 0].astype(float) * height * width).astype(int)
    tops, lefts = np.divmod(first, width)
    for top, left, patch in zip(tops, lefts, found, strict=True):
        np.testing.assert_array_equal(patch, film.film[top : top + side, left : left + side])
    assert film.most == side
    assert film.times.max() <= patches.SWEEPS
    assert len(set(lefts)) > 25
    assert tops.min() < 60
    assert tops.max() > 180
    np.testing.assert_array_equal(drawn(film, WEAK, 50, side, draw("patches")), found)
    assert not np.array_equal(drawn(film, WEAK, 50, side, draw("others")), found)


def test_a_film_as_small_as_a_patch_is_the_patch():
    film = Rows(noisy(1, side=64))
    found = drawn(film, WEAK, 3, 64, draw("small"))
    np.testing.assert_array_equal(found, np.repeat(film.film[None], 3, 0))


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_few_patches_are_of_black_and_white_borders(end: float):
    rng, (gain, deviation) = draw("borders"), STRONG
    clean = np.full((512, 512), 0.5)
    clean[:, :384] = end
    spread = np.sqrt(gain * clean + deviation**2)
    film = Rows((clean + spread * rng.normal(size=clean.shape)).clip(0, 1))
    both = np.stack([film.film[:64, :64], film.film[:64, -64:]])
    assert is_empty(both, gain, deviation).tolist() == [True, False]
    found = drawn(film, STRONG, 40, 64, draw("places"))
    empty = is_empty(found, gain, deviation)
    assert 0 < empty.mean() < 0.45, "of places at random it is 0.7"
    whole = Rows(film.film[:, :384])
    assert len(drawn(whole, STRONG, 10, 64, draw("places"))) == 10


def records_of(folder: Path, **noises: tuple[float, float]) -> list[dict]:
    return [examined(folder / f"{name}.tif", f"{name}.tif", n) for name, n in noises.items()]


def save_tiff(path: Path, film: np.ndarray) -> None:
    tifffile.imwrite(path, np.rint(film * 65535).astype(np.uint16), rowsperstrip=16)


def test_patches_of_films_have_the_noise_of_each_and_are_not_too_many(tmp_path, monkeypatch):
    for name, side in {"large": 640, "small": 320, "tiny": 80}.items():
        save_tiff(tmp_path / f"{name}.tif", noisy(1, side=side))
    records = records_of(tmp_path, large=WEAK, small=STRONG, tiny=STRONG)
    found = patches_of(tmp_path, records, 7)
    count = 4 * (640**2 + 320**2) // 128**2
    assert found["exposures"].shape == (count, 128, 128)
    known = np.stack([found["gain"], found["deviation"]], 1)
    assert [tuple(row) for row in np.unique(known, axis=0)] == [
        tuple(map(np.float32, WEAK)),
        tuple(map(np.float32, STRONG)),
    ]
    assert np.mean(found["gain"] == np.float32(0.02)) == pytest.approx(0.2, abs=0.02)
    assert 0.1 < found["exposures"].mean() < 0.9
    monkeypatch.setattr(patches, "MOST", 20)
    assert len(patches_of(tmp_path, records, 7)["exposures"]) == 20
    with pytest.raises(InputError, match=r"102,400 pixels together, too few to learn from \(at"):
        patches_of(tmp_path, records[1:], 7)


def test_of_small_films_patches_are_small(tmp_path, monkeypatch):
    monkeypatch.setattr(patches, "FEWEST", 10_000)
    save_tiff(tmp_path / "a.tif", noisy(1, side=110))
    found = patches_of(tmp_path, records_of(tmp_path, a=(0.01, 0)), 7)
    assert found["exposures"].shape[1:] == (96, 96)
    assert set(found["deviation"]) == {np.float32(1e-3)}, "what a likelihood can have"


# -------------------------------------------------------------------------------------- the recipe


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "models/unet_any.safetensors"
    save_model(path)
    return path


def recipe_of(start: Path) -> BlindSpotFilms:
    """A small recipe, with patches of two films."""
    torch.manual_seed(0)
    network = learning.networks(TINY, NOISE, network_of(load_model(start), "start"))
    films = [noisy(n, side=32).astype(np.float32) for n in range(10)]
    noises = np.float32([WEAK] * 5 + [STRONG] * 5)
    images = {"exposures": np.stack(films), "gain": noises[:, 0], "deviation": noises[:, 1]}
    training = {"steps": 20, "batch": 4, "learning_rate": 1e-3, "first": 0.5}
    return BlindSpotFilms(network, images, NOISE, training, draw, CPU)


def test_the_second_network_learns_to_answer_as_both_do_of_the_films_with_more_noise(start: Path):
    recipe, before = recipe_of(start), recipe_of(start).kept()
    assert {len(each) for each in recipe.arrays.values()} == {10}
    for step in range(10):
        recipe.take(step)
        at = recipe.indices.numpy()
        expected = recipe.arrays["gain"][at], recipe.arrays["deviation"][at]
        for told, known in zip(recipe.told(), expected, strict=True):
            np.testing.assert_array_equal(told, known)
    assert recipe.learning_rate(9) < 1e-3 < 5 * max(map(recipe.learning_rate, range(10, 20)))
    seen: list[tuple[torch.Tensor, ...]] = []
    recipe.network.second.register_forward_pre_hook(lambda _, given: seen.append(given))
    recipe.take(10)
    exposures, gain, deviation, answers = map(torch.from_numpy, recipe.arrays.values())
    (of_all, *_), *_, (noisy, raised, spread) = seen
    assert torch.equal(of_all.squeeze(1), exposures), "the trained network answered"
    with torch.no_grad():
        first = recipe.network.first.eval()(exposures.unsqueeze(1), gain, deviation).squeeze(1)
        trained = network_of(load_model(start), "start").network.eval()
        maps = gain.view(-1, 1, 1, 1), deviation.view(-1, 1, 1, 1)
        known = trained(exposures.unsqueeze(1), *maps).squeeze(1)
    mean = (learning.SHARE * first + (1 - learning.SHARE) * known).clamp(0, 1)
    torch.testing.assert_close(answers, mean, atol=1e-5, rtol=0)
    at, added = recipe.indices, (raised / maps[0][recipe.indices] - 1).sqrt()
    assert (added >= 0).all()
    assert (added <= learning.ADDED).all()
    torch.testing.assert_close(spread, maps[1][at] * (1 + added**2).sqrt())
    clean = answers[at].unsqueeze(1)
    turned = (noisy - clean.flip(-1)).abs().mean((1, 2, 3)) < (noisy - clean).abs().mean((1, 2, 3))
    shown = torch.where(turned.view(-1, 1, 1, 1), noisy.flip(-1), noisy)
    noise = (maps[0][at] * clean + maps[1][at] ** 2).sqrt()
    inside = (shown > 0) & (shown < 1)
    more = (shown - exposures[at].unsqueeze(1)) / noise * inside
    found = more.square().sum((1, 2, 3)) / inside.sum((1, 2, 3))
    torch.testing.assert_close(found.sqrt(), added.flatten(), rtol=0.15, atol=0.01)
    for step in range(11, 20):
        recipe.take(step)
    after = recipe.kept()
    assert not after["first.likelihoods.corrections"].any()
    changed = {k for k, value in after.items() if not torch.equal(value, before[k])}
    assert {"first", "second"} <= {name.split(".")[0] for name in changed}


@pytest.mark.parametrize("level", [0.05, 0.5, 0.9])
def test_white_and_black_pixels_get_back_values_that_they_may_have_had(level: float):
    rng = DeviceGenerator(torch.device("cpu"))
    rng.seed(1)
    clean, spread = torch.full((4, 1, 200, 200), level), torch.tensor(0.2).view(1, 1, 1, 1)
    noisy = (clean + spread * rng.normal(size=clean.shape)).clamp(0, 1)
    found = unclipped(noisy, clean, spread, rng)
    inside = (noisy > 0) & (noisy < 1)
    assert torch.equal(found[inside], noisy[inside])
    assert (found[noisy <= 0] <= 0).all()
    assert (found[noisy >= 1] >= 1).all()
    assert found.mean().item() == pytest.approx(level, abs=0.003)
    assert found.std().item() == pytest.approx(0.2, abs=0.003)


@pytest.mark.parametrize("stopped", [7, 10, 15])
def test_interrupted_learning_ends_bit_identical(tmp_path: Path, start: Path, stopped: int):
    (whole, _), (resumed, _) = whole_and_resumed(lambda: recipe_of(start), tmp_path, stopped)
    assert_equal(resumed.kept(), whole.kept())


def test_the_second_network_begins_as_the_trained_one_and_is_saved_alone(start: Path):
    kept = second_of(recipe_of(start).kept())
    given = load_model(start)["weights"]
    assert kept.keys() == given.keys()
    assert all(torch.equal(value, given[name].float()) for name, value in kept.items())


def test_the_ranges_are_those_of_all_films():
    records = [{"gain": 0.01, "deviation": 0.0}, {"gain": 0.002, "deviation": 0.02}]
    found = ranges(records)
    assert found["gain"] == pytest.approx([0.002, 0.0125])
    assert found["deviation"] == pytest.approx([0.001, 0.02 * 1.25**0.5])
    assert learning.mean_noise(records)["dose"] == pytest.approx(1 / 0.006)


def test_with_few_pixels_the_first_stage_is_shorter_and_says_so(caplog):
    training = {"steps": 1000, "first": 0.75, "batch": 4, "learning_rate": 1e-3}
    large, small = {"height": 900, "width": 1000}, {"height": 512, "width": 512}
    assert bounded(training, [large]) == training
    assert not caplog.messages
    found = bounded(training, [small, {"height": 100, "width": 5000}])
    assert found["steps"] == 250 + learning.SEEN * 512**2 // (4 * 128**2)
    assert round(found["first"] * found["steps"]) == found["steps"] - 250
    (said,) = caplog.messages
    assert "262,144 pixels" in said
    assert "256 steps in place of 750" in said


def test_the_page_of_the_benchmark_compares_what_was_learned_with_the_others(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    benchmark = importlib.import_module("native_learning")
    found = {benchmark.LEARNED: 38.0, benchmark.GIVEN: 37.5, "noisy": 22.0}
    rows = [
        {"film": film, "dose": 100, "films": 2, "steps": 6000, "method": method}
        | {"PSNR": score + better * (method == benchmark.LEARNED), "SSIM": score / 40}
        for film, better in (("1", 0.0), ("2", 0.2))
        for method, score in found.items()
    ]
    page = benchmark.page(pd.DataFrame(rows))
    assert page.count("\n|") == 5
    lines = [[cell.strip() for cell in line.split("|")] for line in page.splitlines()]
    (line,) = (line for line in lines if benchmark.GIVEN in line)
    assert line[1:4] == ["100", "2", "6,000"]
    assert line[5:9] == ["37.50", "0.60 ± 1.27", "0.9375", "0.0125 ± 0.0000"]
    alone = benchmark.page(pd.DataFrame(rows[:3]))
    assert "nan" not in alone
    assert "±" not in alone


# ------------------------------------------------------------------------------- a folder of films


def test_learning_starts_from_the_network_and_noise_of_any_strength_may_be_given(tmp_path):
    given = {
        "images": str(tmp_path),
        "method": "blind_spot",
        "noise_level": {"dose": 5, "electronic": 0.3},
    }
    config = checked(CONFIG, DENOISE, given)
    method = film_method(config, lambda path: str(tmp_path / path))
    assert method.label == "blind spot, learned from these films"
    assert method.plugin == "unet_any"
    assert method.learning["training"]["batch"] == 4
    with pytest.raises(InputError, match=r"^methods\.unet_any\.model: .*there is no such file"):
        check_model(config, method)
    save_model(Path(method.model))
    check_model(config, method)
    assert (
        film_method(checked(CONFIG, DENOISE, given | {"method": "unet_any"}), str).learning is None
    )


class Learning(Denoising):
    """A project with a folder of films that are learned from."""

    def arguments(self, *given: str) -> list[str]:
        *files, images = super().arguments()
        files.insert(2, "tiny.yaml")
        return [*files, images, "method=blind_spot", *given]

    @staticmethod
    def named_in(said: str) -> set[str]:
        trains = {line for line in said.splitlines() if line == "train_on_films"}
        return Denoising.named_in(said) | trains


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learning]:
    root = tmp_path_factory.mktemp("learning")
    (root / "project").mkdir()
    project = Learning(root / "project")
    (project.folder / "resources/models").unlink()  # a link to the project's own
    save_model(project.folder / "resources/models/unet_any.safetensors")
    training = {"steps": 24, "batch": 2, "threads": 1}
    settings = {"widths": [4], "partitions": 1, "training": training}
    tiny = {"methods": {"blind_spot": settings}}
    (project.folder / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    project.films = root / "films"
    save(project.films / "a.png", noisy(1, side=320))
    save(project.films / "{b}.png", noisy(2, side=400))
    (project.films / "broken.png").write_bytes((project.films / "a.png").read_bytes()[:500])
    project.first = project.snakemake(*project.arguments())
    return project


@pytest.mark.slow
def test_films_are_denoised_by_what_was_learned_from_the_good_ones(done: Learning):
    said = done.first.stdout
    assert done.first.returncode != 0
    assert "1 of 3 films can't be denoised" in said
    assert "learns from 64 parts of 2 films, 24 steps of 2" in said
    out, (run,) = done.folder / "denoised", (done.folder / "results").iterdir()
    assert {path.name for path in (out / "images").iterdir()} == {"a.png", "{b}.png"}
    label = "blind spot, learned from these films"
    assert label in (out / "index.html").read_text()
    assert (out / "noise.csv").read_text().count(f'"{label}"') == 2
    record = json.loads((run / f"films/{key_of('{b}.png')}/denoised.json").read_text())
    assert record["method"] == label
    assert not [path for path in run.glob("checkpoints/**/*") if path.is_file()]
    denoise = load(run / "models/films.pt")
    assert denoise.plugin == "unet_any"
    (low, high), _ = denoise.trained.ranges
    assert low < record["gain"] < high
    assert high < 1.3 * record["gain"]
    image = noisy(1, side=64)
    assert not np.array_equal(
        denoise(image, gain=0.01, deviation=0.02), denoise(image, gain=0.008, deviation=0.02)
    )
    started = load(done.folder / "resources/models/unet_any.safetensors")
    assert not np.array_equal(
        started(image, gain=0.01, deviation=0.02), denoise(image, gain=0.01, deviation=0.02)
    )
    assert done.named() == {"finish_films"}


@pytest.mark.slow
def test_one_film_more_trains_again_and_all_are_denoised_again(done: Learning, tmp_path: Path):
    copy = Learning.at(shutil.copytree(done.folder, tmp_path / "copy", symlinks=True))
    copy.films = done.films
    more = copy.films / "more.png"
    save(more, noisy(4, side=200))
    try:
        finished = copy.snakemake(*copy.arguments())
    finally:
        more.unlink()
    assert "learns from 73 parts of 3 films" in finished.stdout
    for name in ("a.png", "%7Bb%7D.png", "more.png"):
        assert f"films/{name}/denoised.json" in finished.stdout


@pytest.mark.slow
def test_other_methods_do_not_learn(done: Learning):
    planned = done.script("why.py", *Denoising.arguments(done)).stdout
    assert "examine_film a.png" in planned
    assert "train_on_films" not in planned
