"""The classical methods, and the choice of their settings."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from scipy.ndimage import gaussian_filter

import tune_method
from engine.messages import InputError
from engine.plugins import declarations
from methods import bm3d
from methods import gaussian_filter as gaussian
from noise.models import clipped_mean, corrupt
from noise.seeds import generator
from results.scores import scores
from tune_method import at_the_end, tuned, validation_images

GAUSSIAN = {"distribution": "gaussian", "factor": 0.1, "mean": 0, "std": 1}
BIASED = {"distribution": "poisson", "factor": 0.1, "lambda": 2}
VALUES = {  # of each setting: the one that is used here, and another
    "median": {"size": (3, 5)},
    "gaussian_filter": {"sigma": (1, 1.5)},
    "bilateral": {"sigma_color": (0.4, 0.2), "sigma_spatial": (1.5, 1)},
    "total_variation": {"weight": (0.1, 0.2), "tolerance": (2e-5, 1e-6)},
    "nl_means": dict(sigma=(0.1, 0.2), h=(0.6, 0.3), patch_size=(5, 3), patch_distance=(5, 3)),
    "wavelet": {"sigma": (0.1, 0.2), "levels": (3, 1)},
    "bm3d": {"sigma": (0.1, 0.2), "profile": ("lc", "np")},
}
METHODS = {method: {name: v[0] for name, v in values.items()} for method, values in VALUES.items()}
OTHERS = [(method, {name: v[1]}) for method, values in VALUES.items() for name, v in values.items()]


def shapes(count: int = 2) -> np.ndarray:
    """Return images, higher than wide, of a slope, a white disc and a black bar."""
    rows, columns = np.mgrid[:52, :40]
    images = np.tile(0.3 + 0.3 * columns / 40, (count, 1, 1))
    for number, image in enumerate(images):
        image[np.hypot(rows - 18 - number, columns - 20) < 11] = 1
        image[38:44, 6 + number : 30] = 0
    return gaussian_filter(images, 0.7, axes=(1, 2))


CLEAN = shapes()
NOISY = corrupt(CLEAN, GAUSSIAN, generator(1, "classical"))


def denoised(method, images=NOISY, **changes):
    """What a method makes of images, with its settings above or others."""
    if method == "bm3d":
        pytest.importorskip("bm3d")
    denoise = importlib.import_module(f"methods.{method}").denoise
    return denoise(images, GAUSSIAN, METHODS[method] | changes)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", METHODS)
def test_method_improves_images_of_any_shape_each_by_itself_and_leaves_its_input(method):
    given = NOISY.copy()
    found = denoised(method, given)
    np.testing.assert_array_equal(given, NOISY)
    assert found.shape == CLEAN.shape
    assert found.dtype == np.float64
    assert 0 <= found.min() <= found.max() <= 1
    before, after = scores(CLEAN, NOISY), scores(CLEAN, found)
    assert (after["ssim"] - before["ssim"] > 0.15).all()
    assert (after["psnr"] - before["psnr"] > 3).all()
    np.testing.assert_allclose(found[1:], denoised(method, NOISY[1:]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_method_keeps_what_has_no_noise(method, grey):
    flat = np.full((1, 32, 40), grey)
    np.testing.assert_allclose(denoised(method, flat), flat, rtol=0, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_method_declares_its_settings_and_that_it_only_sees_noisy_images(method):
    declared = declarations("methods", method)
    assert declared["USES"] == []
    settings = declared["SETTINGS"]
    assert list(settings) == list(METHODS[method])
    assert not any("default" in accepted for accepted in settings.values())
    schema = Draft202012Validator({"additionalProperties": False, "properties": settings})
    schema.validate(METHODS[method])
    for wrong in (0, -1):
        assert not schema.is_valid({name: wrong for name in METHODS[method]})


@pytest.mark.parametrize(("method", "other"), OTHERS)
def test_each_setting_has_an_effect(method, other):
    assert np.abs(denoised(method) - denoised(method, **other)).max() > 0.001


GREY_LEVELS = {"bilateral": "sigma_color", "total_variation": "weight"}
GREY_LEVELS |= dict.fromkeys(["nl_means", "wavelet", "bm3d"], "sigma")


@pytest.mark.parametrize(("method", "setting"), GREY_LEVELS.items())
def test_setting_is_in_grey_levels(method, setting):
    found = denoised(method)
    halved = denoised(method, NOISY / 2, **{setting: METHODS[method][setting] / 2})
    inside = (found > 0.01) & (found < 0.99)  # not clipped
    np.testing.assert_allclose(2 * halved[inside], found[inside], rtol=0, atol=1e-5)


def test_non_local_means_subtracts_what_noise_adds_to_distances():
    same_strength = denoised("nl_means", sigma=0.01, h=6)
    ours, other = (scores(CLEAN, x)["psnr"].mean() for x in (denoised("nl_means"), same_strength))
    assert ours > other + 1


def test_bilateral_filter_is_gaussian_when_it_ignores_grey_levels():
    radius = {"radius": 5, "axes": (1, 2)}  # three standard deviations, rounded up
    found = denoised("bilateral", sigma_color=1e6)
    np.testing.assert_allclose(found, gaussian_filter(NOISY, 1.5, **radius))


def test_bilateral_filter_keeps_edges_higher_than_its_sigma():
    step = np.zeros((1, 20, 20))
    step[:, :, 9:] = 0.8
    kept, found = (denoised("bilateral", step, sigma_color=s, sigma_spatial=2) for s in (0.1, 0.4))
    np.testing.assert_allclose(kept, step, atol=1e-10)
    weight = np.exp(-0.5 * (0.8 / 0.4) ** 2)  # of a neighbour beyond the edge
    ideal = 0.8 * 1 / (1 + weight)  # just inside, were there as many on both sides
    assert ideal < found[0, 10, 9] < 0.8


def test_bm3d_runs_in_one_thread_and_is_clipped(monkeypatch):
    def stretched(image, sigma, profile):
        assert profile.num_threads == 1
        return 0.5 + sigma * (image - 0.5)

    package = SimpleNamespace(bm3d=stretched, BM3DProfile=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "bm3d", package)
    denoised = bm3d.denoise(NOISY, GAUSSIAN, {"sigma": 2, "profile": "np"})
    np.testing.assert_array_equal(denoised, np.clip(2 * NOISY - 0.5, 0, 1))


def test_bm3d_that_is_not_installed_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    with pytest.raises(InputError, match=r"pip install -r requirements-bm3d\.txt"):
        bm3d.denoise(NOISY, GAUSSIAN, METHODS["bm3d"])


def mix(noisy, noise, settings):
    """Be right to the degree of `truth`, and wrong by `shift`."""
    assert noise == GAUSSIAN
    return settings["truth"] * CLEAN + (1 - settings["truth"]) * noisy + settings["shift"]


def test_tuning_finds_the_best_candidate_and_sorts_the_others():
    grid = {"truth": [0.2, 0.9, 0.6], "shift": [0.3, 0]}
    results = tuned(mix, grid, {}, CLEAN, NOISY, GAUSSIAN)
    assert results[0]["settings"] == {"truth": 0.9, "shift": 0}
    assert len(results) == 6
    values = [result["ssim"] for result in results]
    assert values == sorted(values, reverse=True)
    assert results[-1]["settings"] == {"truth": 0.2, "shift": 0.3}
    worst = scores(CLEAN, 0.2 * CLEAN + 0.8 * NOISY + 0.3)["ssim"].mean()
    assert values[-1] == pytest.approx(worst)


def test_tuning_hands_on_given_settings():
    results = tuned(mix, {"truth": [0.5]}, {"shift": 0}, CLEAN, NOISY, GAUSSIAN)
    assert [result["settings"] for result in results] == [{"truth": 0.5}]


def test_equals_keep_the_order_of_the_grid():
    grid = {"b": [3, 1, 2], "a": ["y", "x"]}
    results = tuned(lambda noisy, *_: noisy, grid, {}, CLEAN, NOISY, GAUSSIAN)
    in_order = [{"b": b, "a": a} for b in (3, 1, 2) for a in ("y", "x")]
    assert [result["settings"] for result in results] == in_order


def test_inversion_is_that_of_the_noise_model():
    def mean(noisy, noise, settings):
        return np.interp(CLEAN, *clipped_mean(noise))

    arguments = (mean, {"a": [0]}, {}, CLEAN, NOISY, BIASED)
    assert tuned(*arguments, True)[0]["ssim"] > 0.9999
    assert tuned(*arguments, False)[0]["ssim"] < 0.99


def test_best_values_at_the_end_of_a_list_are_named():
    grid = {"a": [2, 1, 3], "b": [1, 2], "c": ["x", "y", "z"], "d": [0.1, 0.5, 0.9]}
    assert at_the_end({"a": 3, "b": 2, "c": "z", "d": 0.1}, grid) == ["a", "d"]
    assert at_the_end({"a": 1, "b": 1, "c": "x", "d": 0.5}, grid) == ["a"]
    assert at_the_end({"a": 2, "b": 1, "c": "x", "d": 0.5}, grid) == []


def films(count: int) -> np.ndarray:
    """Return images that differ from each other."""
    return np.random.default_rng(0).random((count, 16, 16))


def test_validation_images_are_spread_over_the_last_fifth():
    assert validation_images(films(1)) == [0]
    assert validation_images(films(3)) == [2]
    assert validation_images(films(20)) == [16, 17, 18, 19]
    chosen = validation_images(films(320))
    assert len(chosen) == 16
    assert (chosen[0], chosen[-1]) == (256, 319)
    assert set(np.diff(chosen)) == {4, 5}


def test_validation_images_are_none_of_the_other_films():
    images = films(20)
    images[17] = 0.5 * images[3] + 0.1  # at another exposure
    images[18] = images[16]  # both among the last fifth
    assert validation_images(images) == [16, 18, 19]
    images[16:] = images[:4]
    with pytest.raises(InputError, match="from number 17 on show films of those before again"):
        validation_images(images)


@pytest.fixture
def job(tmp_path, caplog):
    """A job that tunes the Gaussian filter on images of which the last fifth are real shapes."""
    caplog.set_level("WARNING")
    np.save(tmp_path / "train.npy", np.concatenate([np.zeros((8, *CLEAN.shape[1:])), CLEAN]))
    return SimpleNamespace(
        input=SimpleNamespace(images=str(tmp_path / "train.npy")),
        output=SimpleNamespace(tuning=str(tmp_path / "tuning" / "gaussian.json")),
        wildcards=SimpleNamespace(noise="gaussian", method="smooth"),
        params=SimpleNamespace(
            **{"plugin": "gaussian_filter", "settings": {}, "grid": {"sigma": [0.3, 1, 4]}},
            **{"inversion": False, "noise": GAUSSIAN, "seed": 7},
        ),
    )


def test_job_writes_what_tuning_finds_on_its_own_noise(job, caplog):
    tune_method.main(job)
    found = json.loads(Path(job.output.tuning).read_text())
    rngs = (generator(7, "tune", "gaussian", index) for index in (8, 9))
    noisy = np.stack([corrupt(a, GAUSSIAN, rng) for a, rng in zip(CLEAN, rngs, strict=True)])
    assert found == tuned(gaussian.denoise, job.params.grid, {}, CLEAN, noisy, GAUSSIAN)
    assert found[0]["settings"] == {"sigma": 1}
    assert not caplog.records


def test_job_warns_when_the_grid_is_too_narrow(job, caplog):
    job.params.grid = {"sigma": [2, 3, 4]}
    tune_method.main(job)
    (message,) = caplog.messages
    assert "gaussian/smooth: the best sigma, 2, is at the end of its list [2, 3, 4]" in message
