"""Methods that are told the noise of a film, and what their residuals say."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from engine.messages import InputError
from engine.plugins import declarations, plugins
from films.anscombe import Anscombe
from films.methods import denoiser_of
from films.residual import Residual
from noise.seeds import generator
from results.scores import scores
from test_make_denoise import save_model
from training.inference import load

NOISES = [(0.01, 0.01), (0.05, 0.02), (0.001, 0.02), (0.0, 0.1), (0.0025, 0.0), (0.04, 0.2)]
TOLD = [name for name in plugins("methods") if "settings_for" in declarations("methods", name)]


def draws(clean, gain: float, deviation: float, *purpose: object) -> np.ndarray:
    """Return noisy values of clean ones, clipped to [0, 1]."""
    rng = generator(1, "draws", *purpose)
    counted = gain * rng.poisson(clean / gain) if gain else clean
    return np.clip(counted + rng.normal(0, deviation, np.shape(clean)), 0, 1)


@pytest.mark.parametrize(("gain", "deviation"), NOISES)
def test_the_transform_makes_noise_of_one_strength_and_its_inverse_is_exact(gain, deviation):
    transform = Anscombe(gain, deviation)
    assert transform.forward(np.array([0, 1])) == pytest.approx([0, 1])
    for level in (0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1):
        noisy = draws(np.full(200_000, level), gain, deviation, level)
        found = transform.forward(noisy)
        # Of the mean of 200,000 draws, five standard errors.
        error = 5 * np.sqrt((gain * level + deviation**2) / 2e5) + 5e-4
        assert transform.inverse(found.mean()) == pytest.approx(level, abs=2 * error)
        share = np.mean((noisy == 0) | (noisy == 1))
        if share < 1e-3 and gain * 20 < level + 1e-9:
            assert found.std() / transform.sigma == pytest.approx(1, abs=0.02)


def test_the_algebraic_inverse_would_be_wrong():
    """What the exact inverse is for: few quanta, and clipped ones."""
    transform, levels = Anscombe(0.05, 0.02), np.linspace(0, 1, 1001)
    for level in (0.3, 0.9):
        mean = transform.forward(draws(np.full(200_000, level), 0.05, 0.02, level)).mean()
        assert abs(np.interp(mean, transform.forward(levels), levels) - level) > 0.01
        assert transform.inverse(mean) == pytest.approx(level, abs=0.002)


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Return a clean image and a noisy one."""
    y, x = np.mgrid[:96, :80]
    clean = np.where(np.hypot(y - 40, x - 40) < 25, 0.75, 0.15 + 0.3 * x / 80)
    clean = gaussian_filter(clean, 1)
    return clean, draws(clean, 0.01, 0.02, "picture")


@pytest.mark.parametrize("plugin", TOLD)
def test_a_classical_method_that_is_told_the_noise_removes_it(plugin):
    if plugin == "bm3d":
        pytest.importorskip("bm3d")
    clean, noisy = pictures()
    found = denoiser_of(plugin, None, 0.01, 0.02)(np.float32(noisy))
    assert found.shape == clean.shape
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    before, after = (scores(clean[None], each[None])["psnr"][0] for each in (noisy, found))
    assert after > before + 4
    weaker = denoiser_of(plugin, None, 0.001, 0.002)(np.float32(noisy))
    assert (weaker - noisy).std() < 0.8 * (found - noisy).std(), "it was told of less noise"


def test_methods_that_can_be_told_are_these():
    assert {"nl_means", "wavelet", "bm3d", "total_variation"} <= set(TOLD)
    for name in TOLD:
        module = importlib.import_module(f"methods.{name}")
        strong, weak = module.settings_for(0.2), module.settings_for(0.1)
        assert set(strong) == set(declarations("methods", name)["SETTINGS"])
        assert strong != weak


def test_a_network_is_told_the_noise(tmp_path, caplog):
    path = tmp_path / "models/m.safetensors"
    save_model(path)
    noisy = np.float32(pictures()[1])
    found = denoiser_of("unet_any", str(path), 0.01, 0.02)(noisy)
    np.testing.assert_array_equal(found, np.float32(load(path)(noisy, gain=0.01, deviation=0.02)))
    assert (found != denoiser_of("unet_any", str(path), 0.05, 0.1)(noisy)).any()
    weak = denoiser_of("unet_any", str(path), 1e-5, 1e-3)
    assert not caplog.messages
    weak(noisy), weak(noisy)
    assert len(caplog.messages) == 1, "said once, however many tiles there are"
    assert "weaker than in the network's training" in caplog.text
    with pytest.raises(InputError, match="the network was trained for"):
        denoiser_of("unet_any", str(path), 0.5, 0.1)(noisy)


@pytest.mark.parametrize("bands", [[200], [1, 60, 139]])
def test_a_residual_of_just_the_noise_is_white_and_as_strong(bands):
    clean = np.tile(np.linspace(0, 1, 150), (200, 1))  # also where it is clipped
    noisy = draws(clean, 0.02, 0.05, "residual")
    residual = Residual(0.02, 0.05)
    for stop, rows in zip(np.cumsum(bands), bands, strict=True):
        residual.add(noisy[stop - rows : stop], clean[stop - rows : stop])
    assert residual.deviation == pytest.approx(1, abs=0.02)
    assert residual.correlation == pytest.approx(0, abs=0.02)
    whole = Residual(0.02, 0.05)
    whole.add(noisy, clean)
    assert residual.correlation == pytest.approx(whole.correlation, rel=1e-6)


def test_a_residual_says_what_else_was_removed():
    clean = np.tile(0.5 + 0.2 * np.sin(np.arange(200) / 3), (160, 1))
    noisy = draws(clean, 0.0, 0.05, "removed")
    for turned in (False, True):
        residual, blurred = Residual(0.0, 0.05), np.full_like(clean, 0.5)
        residual.add(*(each.T if turned else each for each in (noisy, blurred)))
        assert residual.deviation > 2
        assert residual.correlation > 0.5
    nothing = Residual(0.0, 0.05)
    nothing.add(noisy, noisy)
    assert nothing.deviation < 0.1


def test_settings_are_those_of_the_transformed_noise(monkeypatch):
    told = []
    module = SimpleNamespace(
        settings_for=lambda deviation: told.append(deviation) or {"sigma": deviation},
        denoise=lambda images, noise, settings: told.append(images.std()) or images,
    )
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    noisy = draws(np.full((200, 200), 0.5), 0.01, 0.02, "told")
    found = denoiser_of("some", None, 0.01, 0.02)(noisy)
    assert told[1] == pytest.approx(told[0], rel=0.02)
    assert found.mean() == pytest.approx(0.5, abs=0.01)
