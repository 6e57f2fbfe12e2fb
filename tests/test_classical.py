"""The classical methods, and the choice of their settings."""

import importlib
import json
import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from scipy.ndimage import gaussian_filter

import tune_method
from engine.messages import InputError
from engine.plugins import declarations
from methods import bilateral, bm3d
from noise.models import clipped_mean, corrupt
from noise.seeds import generator
from results.scores import scores
from tune_method import at_the_end, tuned, validation_images

GAUSSIAN = {"distribution": "gaussian", "factor": 0.1, "mean": 0, "std": 1}
BIASED = {"distribution": "poisson", "factor": 0.1, "lambda": 2}
METHODS = {
    "median": {"size": 3},
    "gaussian_filter": {"sigma": 1},
    "bilateral": {"sigma_color": 0.4, "sigma_spatial": 1.5},
    "total_variation": {"weight": 0.1, "tolerance": 2e-5},
    "nl_means": {"sigma": 0.1, "h": 0.6, "patch_size": 5, "patch_distance": 5},
    "wavelet": {"sigma": 0.1, "levels": 3},
    "bm3d": {"sigma": 0.1, "profile": "lc"},
}


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


def denoise_of(method):
    if method == "bm3d":
        pytest.importorskip("bm3d")
    return importlib.import_module(f"methods.{method}").denoise


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", METHODS)
def test_method_improves_images_of_any_shape_and_leaves_its_input(method):
    given = NOISY.copy()
    denoised = denoise_of(method)(given, GAUSSIAN, METHODS[method])
    np.testing.assert_array_equal(given, NOISY)
    assert denoised.shape == CLEAN.shape
    assert denoised.dtype == np.float64
    assert denoised.min() >= 0
    assert denoised.max() <= 1
    before, after = scores(CLEAN, NOISY), scores(CLEAN, denoised)
    assert (after["ssim"] - before["ssim"] > 0.15).all()
    assert (after["psnr"] - before["psnr"] > 3).all()


@pytest.mark.parametrize("method", METHODS)
def test_method_denoises_each_image_by_itself(method):
    denoise = denoise_of(method)
    both = denoise(NOISY, GAUSSIAN, METHODS[method])
    alone = denoise(NOISY[1:], GAUSSIAN, METHODS[method])
    np.testing.assert_allclose(both[1:], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_method_keeps_what_has_no_noise(method, grey):
    flat = np.full((1, 32, 40), grey)
    denoised = denoise_of(method)(flat, GAUSSIAN, METHODS[method])
    np.testing.assert_allclose(denoised, flat, rtol=0, atol=1e-3)


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


OTHERS = {
    "median": {"size": 5},
    "gaussian_filter": {"sigma": 1.5},
    "bilateral": {"sigma_color": 0.2, "sigma_spatial": 1},
    "total_variation": {"weight": 0.2, "tolerance": 1e-6},
    "nl_means": {"sigma": 0.2, "h": 0.3, "patch_size": 3, "patch_distance": 3},
    "wavelet": {"sigma": 0.2, "levels": 1},
    "bm3d": {"sigma": 0.2, "profile": "np"},
}


@pytest.mark.parametrize(
    ("method", "setting"), [(method, name) for method in METHODS for name in METHODS[method]]
)
def test_each_setting_has_an_effect(method, setting):
    denoise, settings = denoise_of(method), METHODS[method]
    other = denoise(NOISY, GAUSSIAN, {**settings, setting: OTHERS[method][setting]})
    assert np.abs(denoise(NOISY, GAUSSIAN, settings) - other).max() > 0.001


GREY_LEVELS = {"bilateral": "sigma_color", "total_variation": "weight"}
GREY_LEVELS |= dict.fromkeys(["nl_means", "wavelet", "bm3d"], "sigma")


@pytest.mark.parametrize(("method", "in_grey_levels"), GREY_LEVELS.items())
def test_setting_is_in_grey_levels(method, in_grey_levels):
    denoise, settings = denoise_of(method), METHODS[method]
    halved = {**settings, in_grey_levels: settings[in_grey_levels] / 2}
    denoised = denoise(NOISY, GAUSSIAN, settings)
    inside = (denoised > 0.01) & (denoised < 0.99)  # not clipped
    np.testing.assert_allclose(
        2 * denoise(NOISY / 2, GAUSSIAN, halved)[inside], denoised[inside], rtol=0, atol=1e-5
    )


def test_non_local_means_subtracts_what_noise_adds_to_distances():
    denoise, settings = denoise_of("nl_means"), METHODS["nl_means"]
    same_strength = {**settings, "sigma": settings["sigma"] / 10, "h": settings["h"] * 10}
    ours, other = (denoise(NOISY, GAUSSIAN, each) for each in (settings, same_strength))
    assert scores(CLEAN, ours)["psnr"].mean() > scores(CLEAN, other)["psnr"].mean() + 1


def test_bilateral_filter_is_gaussian_when_it_ignores_grey_levels():
    settings = {"sigma_color": 1e6, "sigma_spatial": 1.5}
    radius = {"radius": 5, "axes": (1, 2)}  # three standard deviations, rounded up
    np.testing.assert_allclose(
        bilateral.denoise(NOISY, GAUSSIAN, settings), gaussian_filter(NOISY, 1.5, **radius)
    )


def test_bilateral_filter_keeps_edges_higher_than_its_sigma():
    step = np.zeros((1, 20, 20))
    step[:, :, 9:] = 0.8
    settings = {"sigma_color": 0.1, "sigma_spatial": 2}
    np.testing.assert_allclose(bilateral.denoise(step, GAUSSIAN, settings), step, atol=1e-10)
    settings["sigma_color"] = 0.4
    weight = np.exp(-0.5 * (0.8 / 0.4) ** 2)  # of a neighbour beyond the edge
    ideal = 0.8 * 1 / (1 + weight)  # just inside, were there as many on both sides
    assert ideal < bilateral.denoise(step, GAUSSIAN, settings)[0, 10, 9] < 0.8


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


def mix(noisy: np.ndarray, noise: dict, settings: dict) -> np.ndarray:
    """Be right to the degree of `truth`, and wrong by `shift`."""
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


def test_tuning_hands_on_given_settings_and_the_noise():
    def denoise(noisy, noise, settings):
        assert noise == GAUSSIAN
        return mix(noisy, noise, settings)

    results = tuned(denoise, {"truth": [0.5]}, {"shift": 0}, CLEAN, NOISY, GAUSSIAN)
    assert [result["settings"] for result in results] == [{"truth": 0.5}]


def test_equals_keep_the_order_of_the_grid():
    def blind(noisy, noise, settings):
        return noisy

    grid = {"b": [3, 1, 2], "a": ["y", "x"]}
    settings = [r["settings"] for r in tuned(blind, grid, {}, CLEAN, NOISY, GAUSSIAN)]
    assert settings == [{"b": b, "a": a} for b in (3, 1, 2) for a in ("y", "x")]


def test_inversion_is_that_of_the_noise_model():
    def mean(noisy, noise, settings):
        return np.interp(CLEAN, *clipped_mean(noise))

    inverted, plain = (
        tuned(mean, {"a": [0]}, {}, CLEAN, NOISY, BIASED, inversion)[0]["ssim"]
        for inversion in (True, False)
    )
    assert inverted > 0.9999
    assert plain < 0.99


def test_best_values_at_the_end_of_a_list_are_named():
    grid = {"a": [2, 1, 3], "b": [1, 2], "c": ["x", "y", "z"], "d": [0.1, 0.5, 0.9]}
    assert at_the_end({"a": 3, "b": 2, "c": "z", "d": 0.1}, grid) == ["a", "d"]
    assert at_the_end({"a": 1, "b": 1, "c": "x", "d": 0.5}, grid) == ["a"]
    assert at_the_end({"a": 2, "b": 1, "c": "x", "d": 0.5}, grid) == []


def test_validation_images_are_spread_over_the_last_fifth():
    assert validation_images(3) == [2]
    assert validation_images(20) == [16, 17, 18, 19]
    chosen = validation_images(320)
    assert len(chosen) == 16
    assert (chosen[0], chosen[-1]) == (256, 319)
    assert set(np.diff(chosen)) == {4, 5}


@pytest.fixture
def job(tmp_path):
    """A job that tunes the Gaussian filter on images of which the last fifth are real shapes."""
    images = np.zeros((10, *CLEAN.shape[1:]))
    images[8:] = CLEAN
    np.save(tmp_path / "train.npy", images)
    return SimpleNamespace(
        input=SimpleNamespace(images=str(tmp_path / "train.npy")),
        output=SimpleNamespace(tuning=str(tmp_path / "tuning" / "gaussian.json")),
        wildcards=SimpleNamespace(noise="gaussian", method="smooth"),
        params=SimpleNamespace(
            **{"plugin": "gaussian_filter", "settings": {}, "grid": {"sigma": [0.3, 1, 4]}},
            **{"inversion": False, "noise": GAUSSIAN, "seed": 7},
        ),
    )


def test_job_writes_what_tuning_finds_on_its_own_noise(job, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        tune_method.main(job)
    found = json.loads((tmp_path / "tuning" / "gaussian.json").read_text())
    rngs = (generator(7, "tune", "gaussian", index) for index in (8, 9))
    noisy = np.stack([corrupt(a, GAUSSIAN, rng) for a, rng in zip(CLEAN, rngs, strict=True)])
    denoise = importlib.import_module("methods.gaussian_filter").denoise
    assert found == tuned(denoise, job.params.grid, {}, CLEAN, noisy, GAUSSIAN)
    assert found[0]["settings"] == {"sigma": 1}
    assert not caplog.records


def test_job_warns_when_the_grid_is_too_narrow(job, caplog):
    job.params.grid = {"sigma": [2, 3, 4]}
    with caplog.at_level(logging.WARNING):
        tune_method.main(job)
    (record,) = caplog.records
    words = "gaussian/smooth: the best sigma, 2, is at the end of its list [2, 3, 4]"
    assert words in record.getMessage()
