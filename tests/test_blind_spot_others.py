"""The stages of `blind_spot` with two exposures of each subject, and with unknown noise."""

import copy
import functools

import numpy as np
import pytest
import torch
from torch import nn

from engine.messages import InputError
from methods import blind_spot_estimated, blind_spot_on_test, noise2noise_likelihood
from methods.blind_spot import chosen_at, picked
from noise.likelihood import log_likelihood
from noise.models import corrupt
from recipes.blind_spot_estimated import ANCHOR, BlindSpotEstimated, mosaic
from recipes.blind_spot_on_test import BlindSpotOnTest
from recipes.noise2noise_likelihood import Noise2NoiseLikelihood
from recipes.supervised import flipped
from test_blind_spot import densities
from test_denoisers import GAUSSIAN, draw, recipe_of, smooth_images
from test_training import CPU, assert_equal, whole_and_resumed
from training.posterior import NormalLikelihoods

OTHER = {"distribution": "gaussian", "factor": 0.1, "mean": 0, "std": 1}
DETECTOR = {"distribution": "poisson_gaussian", "dose": 50, "electronic": 0.05}
TINY = {"widths": [4], "blocks": 1, "partitions": 2, "stages": 2}
PLUGINS = {
    "noise2noise_likelihood": (noise2noise_likelihood, Noise2NoiseLikelihood, GAUSSIAN),
    "blind_spot_estimated": (blind_spot_estimated, BlindSpotEstimated, DETECTOR),
}
each_plugin = pytest.mark.parametrize("name", PLUGINS)


@functools.cache
def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    plugin, _, noise = PLUGINS[name]
    network = plugin.build_network(TINY, noise)
    nn.init.normal_(network.first.network.tail.weight, std=0.05)
    return network


def recipe_with(name: str, clean=None, **training):
    _, kind, noise = PLUGINS[name]
    clean = smooth_images(32, 16) if clean is None else clean  # enough to estimate noise of
    return recipe_of(kind, copy.deepcopy(made(name)), clean, noise, **training)


# ------------------------------------------------------------------------------------------- both


@each_plugin
def test_clean_images_can_not_reach_the_training(name):
    clean = smooth_images(12, 32).astype(np.float32)
    ours, untouched = recipe_with(name, clean), recipe_with(name, clean.copy())
    clean[:] = np.nan
    for recipe in (ours, untouched):
        for step in range(12):
            recipe.take(step)
    assert_equal(ours.kept(), untouched.kept())
    assert "clean" not in ours.images and "clean" not in ours.arrays


@each_plugin
@pytest.mark.parametrize("stopped", [10, 30])
def test_interrupted_training_ends_bit_identical(tmp_path, name, stopped):
    (whole, done), (resumed, rest) = whole_and_resumed(
        lambda: recipe_with(name, first=0.5, steps=40), tmp_path, stopped
    )
    assert rest.history == done.history
    assert_equal(resumed.kept(), whole.kept())


# ---------------------------------------------------------------------------------- two exposures


def test_what_is_seen_is_one_exposure_and_what_is_observed_the_other_one():
    recipe, orders = recipe_with("noise2noise_likelihood"), set()
    pairs = [recipe.arrays[name] for name in ("exposures", "other exposures")]
    assert not np.array_equal(*pairs)
    for step in range(8):
        recipe.prepare(step)
        recipe.indices.copy_(torch.from_numpy(recipe.chosen(step)))
        seen, weighing, observed = (images.squeeze(1).numpy() for images in recipe.shown())
        np.testing.assert_array_equal(weighing, seen)
        for place, *given in zip(recipe.indices.tolist(), seen, observed, strict=True):
            found = [
                (order, mirror)
                for order in ((0, 1), (1, 0))
                for mirror in (1, -1)
                if all(
                    np.array_equal(pairs[which][place][:, ::mirror], image)
                    for which, image in zip(order, given, strict=True)
                )
            ]
            assert len(found) == 1
            orders.add(found[0])
    assert len(orders) == 4


def likely(noisy: np.ndarray) -> np.ndarray:
    """The likelihood of noisy values at 64 levels."""
    return np.exp(log_likelihood(GAUSSIAN, noisy[..., None], np.linspace(0, 1, 64), 1e-9))


def test_the_loss_is_what_the_other_exposure_is_likely_to_be():
    recipe = recipe_with("noise2noise_likelihood")
    recipe.indices.copy_(torch.arange(4))
    recipe.prepare(0)
    loss, _ = recipe.losses()
    recipe.prepare(0)  # the same again
    seen, _, observed = recipe.shown()
    chosen = chosen_at(recipe.rng.integers(0, 4, (4, 8, 8)))
    one, other = (
        likely(picked(images, chosen).numpy().astype(float)) for images in (seen, observed)
    )
    found = densities(recipe.network.first.density(seen, chosen)) * one
    expected = -np.log((found * other).sum(-1) / found.sum(-1)).mean()
    assert loss.item() == pytest.approx(expected, abs=2e-3)


def test_answers_use_both_exposures_in_both_orders():
    recipe = recipe_with("noise2noise_likelihood")
    first, levels = recipe.network.first.eval(), np.linspace(0, 1, 64)
    pairs = [recipe.arrays[name].astype(float) for name in ("exposures", "other exposures")]
    expected = np.zeros(pairs[0].shape)
    with torch.no_grad():
        for seen, observed in (pairs, pairs[::-1]):
            for mirror in (1, -1):
                images = torch.from_numpy(np.float32(seen[..., ::mirror].copy())).unsqueeze(1)
                weights = densities(first.density(images))
                weights = weights * likely(seen[..., ::mirror]) * likely(observed[..., ::mirror])
                mean = (weights * levels).sum(-1) / weights.sum(-1)
                expected += mean[..., ::mirror] / 4
    # The table's likelihoods are those of what a level stands for.
    np.testing.assert_allclose(recipe.answers(), expected.clip(0, 1), atol=1e-3)


def test_a_single_exposure_is_answered_by_the_density_and_itself():
    first = copy.deepcopy(made("noise2noise_likelihood")).first.eval()
    noisy, means = torch.rand(1, 1, 16, 16), []
    with torch.no_grad():
        for images in (noisy, noisy.flip(-1)):
            weights = densities(first.density(images)) * likely(images[:, 0].numpy().astype(float))
            means.append(weights @ np.linspace(0, 1, 64) / weights.sum(-1))
        np.testing.assert_allclose(
            first(noisy)[:, 0], (means[0] + means[1][..., ::-1]) / 2, atol=1e-3
        )


# --------------------------------------------------------------------------- noise that is unknown


def test_likelihoods_of_noise_that_is_told_are_those_of_normal_noise():
    known, rng = NormalLikelihoods(64), draw("normal")
    observed = np.concatenate([[[0, 1], [1, 0]], rng.random((2, 30))], 1)
    gain, deviation = np.array([0.05, 0.01]), np.array([0.02, 0.2])
    told = (torch.from_numpy(each).float() for each in (gain, deviation))
    found = known(torch.from_numpy(observed).float(), *told).detach().numpy()
    for image in range(2):
        for level in (3, 31, 60):
            std = np.sqrt(gain[image] * level / 63 + deviation[image] ** 2)
            noise = {"distribution": "gaussian", "factor": 1, "mean": 0, "std": std}
            expected = log_likelihood(noise, observed[image], level / 63, 1 / 63)
            np.testing.assert_allclose(found[image, :, level], expected, rtol=2e-3, atol=2e-3)


def test_corrections_of_the_noise_are_learned():
    """Of what was told as half of the gain and twice the deviation, from the clean values alone."""
    known, rng = NormalLikelihoods(64), draw("corrections")
    clean = rng.integers(5, 60, (1, 20000)) / 63
    noisy = corrupt(clean, {"distribution": "poisson_gaussian", "dose": 50, "electronic": 0.1}, rng)
    told = torch.tensor([0.01]), torch.tensor([0.2])
    places = torch.from_numpy(np.rint(63 * clean).astype(int)).unsqueeze(-1)
    optimizer = torch.optim.Adam(known.parameters(), 0.05)
    for _ in range(150):
        optimizer.zero_grad()
        found = known(torch.from_numpy(noisy).float(), *told)
        (-found.gather(-1, places).mean()).backward()
        optimizer.step()
    gain, deviation = (each.item() for each in known.corrected(*told))
    assert gain == pytest.approx(0.02, rel=0.2)
    assert deviation == pytest.approx(0.1, rel=0.1)


def test_the_noise_is_estimated_of_all_exposures_together():
    recipe = recipe_with("blind_spot_estimated", smooth_images(40, 64))
    assert recipe.arrays["gain"].shape == recipe.arrays["deviation"].shape == (40,)
    gain, deviation = recipe.network.estimated.tolist()
    for grey in (0.1, 0.5, 0.9):
        expected = np.sqrt(grey / 50 + 0.05**2)
        assert np.sqrt(gain * grey + deviation**2) == pytest.approx(expected, rel=0.1)
    told = [each.tolist() for each in recipe.told()]
    assert told == [[pytest.approx(gain)] * 4, [pytest.approx(deviation)] * 4]


def test_corrections_of_the_noise_cost_the_first_stage():
    recipe = recipe_with("blind_spot_estimated")
    corrections, found = recipe.network.first.likelihoods.corrections, []
    for value in (0.0, 0.3, 1.0):
        corrections.data[:] = value
        recipe.prepare(0)
        found.append(recipe.losses()[0].item())
    assert found[1] - found[0] > 0.9 * ANCHOR * 2 * 0.3**2
    assert found[2] - found[0] > 0.9 * ANCHOR * 2


def test_the_second_stage_draws_the_noise_that_was_found_and_is_told_it():
    recipe = recipe_with("blind_spot_estimated", first=0.5, steps=20)
    for step in range(11):
        recipe.take(step)
    recipe.network.first.likelihoods.corrections.data[:] = torch.tensor([0.5, -0.5])
    expected = recipe.network.estimated * recipe.network.first.likelihoods.corrections.exp()
    seen = []
    recipe.network.second.register_forward_hook(lambda _, given, __: seen.append(given))
    recipe.prepare(11)
    recipe.indices.copy_(torch.arange(4))
    recipe.losses()[0].backward()
    (noisy, *told), _ = seen[0], recipe.prepare(11)
    for values, value in zip(told, expected, strict=True):
        torch.testing.assert_close(values, value.expand(4, 1, 1, 1))
    answer = flipped(recipe.batch_of("answers"), recipe.rng)
    inside = (noisy > 0) & (noisy < 1)
    variance = expected[0] * answer + expected[1] ** 2
    ratio = ((noisy - answer).square() / variance)[inside].mean()
    assert ratio.item() == pytest.approx(0.9, abs=0.2)  # less than 1, since the tails are left out
    assert recipe.network.first.likelihoods.corrections.grad is None

    network = recipe.network.eval()
    with torch.no_grad():
        images = torch.rand(3, 1, 16, 16)
        (alone,) = network.second(images[:1], *(each.view(1, 1, 1, 1) for each in expected))
        torch.testing.assert_close(network(images)[0], alone)


def test_noise_of_another_kind_is_refused():
    with pytest.raises(InputError, match="is not given by a gain and a deviation"):
        blind_spot_estimated.build_network(TINY, GAUSSIAN)  # whose mean is not 0


def test_what_learns_from_the_test_images_sees_them_as_they_are():
    network = blind_spot_on_test.build_network(TINY, GAUSSIAN)
    recipe = recipe_of(BlindSpotOnTest, network)
    noisy = corrupt(smooth_images(10, 16), GAUSSIAN, draw("pairs"))  # as `recipe_of` gives them
    assert list(recipe.arrays) == ["exposures"]
    np.testing.assert_array_equal(recipe.arrays["exposures"], noisy.astype(np.float32))


def test_images_side_by_side_as_one():
    images = np.arange(7 * 4 * 32).reshape(7, 4, 32)
    found = mosaic(images)
    assert found.shape == (12, 64)
    assert np.array_equal(found[4:8, 32:], images[3])
    assert np.array_equal(mosaic(images[:1]), images[0])
    assert mosaic(np.zeros((3, 100, 100))).shape == (300, 100)


def test_denoised_images_beat_the_noisy_ones_in_the_first_stage_alone():
    torch.manual_seed(0)
    settings = TINY | {"widths": [8, 16], "stages": 1}
    network = blind_spot_estimated.build_network(settings, OTHER)
    recipe = recipe_of(
        BlindSpotEstimated, network, smooth_images(24), DETECTOR, steps=150, learning_rate=4e-3
    )
    for step in range(150):
        recipe.take(step)
    network.load_state_dict(recipe.kept())
    clean = smooth_images(6, name="test")
    noisy = corrupt(clean, DETECTOR, draw("test"))
    found = CPU.evaluated(network, noisy).numpy()
    before, after = (np.square(each - clean).mean() for each in (noisy, found))
    assert after < before / 2
