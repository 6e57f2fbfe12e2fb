"""Learning from single noisy exposures with hidden pixels and the noise's exact likelihood."""

import copy
import functools
import json
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from engine.messages import InputError
from engine.methods import methods_of
from methods import blind_spot
from methods.blind_spot import DensityUNet, chosen_at, partition, picked
from noise.likelihood import log_likelihood
from noise.models import corrupt
from recipes.blind_spot import BlindSpot
from results.scores import scores
from test_configuration import CONFIG, METHODS, checked
from test_denoisers import GAUSSIAN, POISSON, draw, recipe_of, smooth_images
from test_likelihood import NOISE
from test_training import CPU, assert_equal, whole_and_resumed
from training.posterior import PLACES, Likelihoods, log_evidence, posterior_mean
from training.processor import Processor

TINY = {"widths": [4], "blocks": 1, "partitions": 2, "stages": 2}
SMALL = TINY | {"widths": [8, 16]}


@functools.cache  # the tables of a noise setting take a while
def made(text: str) -> nn.Module:
    torch.manual_seed(0)
    network = blind_spot.build_network(*json.loads(text))
    nn.init.normal_(network.first.network.tail.weight, std=0.05)
    return network


def built(settings=TINY, noise=GAUSSIAN) -> nn.Module:
    """The networks, always the same; their answers depend on what they see."""
    return copy.deepcopy(made(json.dumps([settings, noise])))


def recipe_with(settings=TINY, clean=None, noise=GAUSSIAN, **training) -> BlindSpot:
    return recipe_of(BlindSpot, built(settings, noise), clean, noise, **training)


# -------------------------------------------------------------------------------- the likelihoods


@pytest.mark.parametrize("noise", NOISE, ids=lambda n: "-".join(map(str, n.values())))
def test_the_table_has_the_likelihoods_of_any_value(noise):
    """Against the distribution's own, at levels far denser than the table's."""
    known, count, finer = Likelihoods(noise, 33), 33, 16
    observed = np.concatenate([[0, 1], corrupt(np.full(40, 11 / 32), noise, draw("table"))])
    found = known(torch.from_numpy(observed).float()).exp().numpy()
    places = (np.arange(count)[:, None] + np.arange(1 - finer, finer) / finer) / 32
    weights = (finer - np.abs(np.arange(1 - finer, finer))) / finer**2
    observed = observed.astype(np.float32).astype(float)
    exact = log_likelihood(noise, observed[:, None, None], places.clip(0, 1), 1 / 32 / finer)
    expected = np.exp(exact) @ weights
    # How much of what a level stands for is black or white itself depends on how fine that is.
    found, expected = (each / each.max(1, keepdims=True) for each in (found, expected))
    np.testing.assert_allclose(found, expected, atol=0.06)


def test_a_table_between_its_places_and_at_its_ends():
    known = Likelihoods(GAUSSIAN, 9)
    places = torch.tensor([0.0, 100 / PLACES, 100.25 / PLACES, 101 / PLACES, 1.0])
    found = known(places)
    torch.testing.assert_close(found[0], known.table[PLACES + 1])
    torch.testing.assert_close(found[4], known.table[PLACES + 2])
    torch.testing.assert_close(found[2], 0.75 * found[1] + 0.25 * found[3], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[0], known.table[0])
    assert not list(known.state_dict())


def densities(found: torch.Tensor) -> np.ndarray:
    """The densities over 64 levels that `log_evidence` is about, each adding up to 1."""
    found, levels = found.detach().double().numpy(), np.linspace(0, 1, 64)
    share = 1 / (1 + np.exp(-found[..., :1]))
    each = [
        np.exp(-0.5 * ((levels - found[..., n : n + 1]) / found[..., n + 2 : n + 3]) ** 2)
        for n in (1, 2)
    ]
    first, second = (normal / normal.sum(-1, keepdims=True) for normal in each)
    return share * first + (1 - share) * second


def test_sums_and_means_are_those_of_density_times_likelihood():
    rng, levels = draw("densities"), np.linspace(0, 1, 64)
    given = [rng.normal(0, 2, 50), *rng.uniform(-0.2, 1.2, (2, 50)), *rng.uniform(0.02, 1, (2, 50))]
    found, likely = torch.tensor(np.array(given).T).float(), rng.normal(0, 3, (50, 64))
    product = densities(found) * np.exp(likely)
    given = found, torch.linspace(0, 1, 64), torch.tensor(likely).float()
    total, mean = log_evidence(*given), posterior_mean(*given)
    np.testing.assert_allclose(total, np.log(product.sum(-1)), atol=1e-4)
    np.testing.assert_allclose(mean, product @ levels / product.sum(-1), atol=1e-5)


def test_what_is_sure_and_wrong_has_a_finite_loss_that_can_be_learned_from():
    found = torch.tensor([[20, 0.4, 0.5, 0.004, 0.004]], requires_grad=True)
    likely = Likelihoods({"distribution": "gaussian", "factor": 0.1, "mean": 0, "std": 0.1}, 64)
    total = log_evidence(found, likely.levels, likely(torch.tensor([0.1])))
    total.backward()
    assert -500 < total.item() < -100
    assert found.grad.isfinite().all()
    assert found.grad[0, 1] < 0 < found.grad[0, 3], "it should be darker, and less sure"


def test_noise_without_likelihood_is_refused_before_training(monkeypatch):
    foggy = ModuleType("foggy")
    foggy.draw = lambda image, rng: image + rng.normal(0, 0.1, image.shape)
    monkeypatch.setitem(sys.modules, "distributions.foggy", foggy)
    with pytest.raises(InputError, match="foggy does not say"):
        built(noise={"distribution": "foggy"})


# ------------------------------------------------------------------------------- the hidden pixels


def test_each_pixel_is_hidden_once_in_a_partition_and_one_of_each_block():
    sets = partition(8, 12, 3)
    assert sets.shape == (4, 1, 4, 4, 6)
    assert torch.equal(sets.sum(0), torch.ones(1, 4, 4, 6))
    assert torch.equal(sets.sum(2), torch.ones(4, 1, 4, 6))
    assert torch.equal(sets, partition(8, 12, 3))
    assert not torch.equal(sets, partition(8, 12, 4))
    assert len({tuple(block.flatten().tolist()) for block in sets[:, 0].unbind(-1)}) > 1
    images = torch.arange(96.0).view(1, 1, 8, 12)
    found = torch.cat([picked(images, hidden).flatten() for hidden in sets])
    assert sorted(found.tolist()) == list(range(96))


def test_a_hidden_pixel_says_nothing_of_itself():
    """Whatever it is; a visible one says something of those beside it."""
    network = built().first
    noisy, hidden = torch.rand(2, 1, 16, 16), chosen_at(torch.randint(0, 4, (2, 8, 8)))
    mask = nn.functional.pixel_shuffle(hidden, 2) > 0
    assert mask.float().mean() == 0.25
    before = network.density(noisy, hidden)
    for other in (torch.rand(noisy.shape), torch.zeros(noisy.shape), torch.ones(noisy.shape)):
        assert torch.equal(network.density(torch.where(mask, other, noisy), hidden), before)
    moved = network.density(torch.where(mask, noisy, 1 - noisy), hidden)
    assert (moved - before).abs().amax(-1).min() > 1e-3


def test_a_network_sees_means_of_visible_neighbours_and_what_is_saturated():
    noisy = torch.tensor([[0.1, 0.3, 0.0, 0.2], [0.5, 0.7, 1.0, 0.9]]).view(1, 1, 2, 4)
    hidden = chosen_at(torch.tensor([[[0, 2]]]))  # the first of one block, the third of the other
    seen, filled = built().first.inputs(noisy, hidden)
    expected = torch.tensor([[0.5, 0.3, 0, 0.2], [0.5, 0.7, 2.1 / 5, 0.9]])
    torch.testing.assert_close(filled[0, 0], expected)
    torch.testing.assert_close(seen[0, 0], expected)
    zeros = torch.zeros(2, 4)
    assert torch.equal(seen[0, 1], zeros), "the only white pixel is hidden"
    assert seen[0, 2].nonzero().tolist() == [[0, 2]]
    assert seen[0, 3].nonzero().tolist() == [[0, 0], [1, 2]]


def test_the_answer_is_the_mean_of_density_times_likelihood():
    network = built(TINY | {"partitions": 2}).first.eval()
    noisy = torch.rand(2, 1, 16, 16)
    noisy[0, 0, :4], noisy[1, 0, 3:6] = 1, 0
    levels, expected = np.linspace(0, 1, 64), np.zeros((2, 16, 16))
    with torch.no_grad():
        for number in range(2):
            images = noisy.flip(-1) if number else noisy
            found = np.zeros((2, 16, 16))
            for hidden in partition(16, 16, number):
                density = densities(network.density(images, hidden))
                values = picked(images, hidden).double().numpy()
                likely = log_likelihood(GAUSSIAN, values[..., None], levels, 1e-9)
                weights = density * np.exp(likely)
                mean = (weights * levels).sum(-1) / weights.sum(-1)
                inside = nn.functional.pixel_shuffle(hidden, 2)[0, 0].numpy() > 0
                found[:, inside] = mean.reshape(2, -1)[:, order_of(hidden)]
            expected += (found[..., ::-1] if number else found) / 2
        answer = network(noisy).squeeze(1)
    # The table's likelihoods are those of what a level stands for.
    np.testing.assert_allclose(answer, expected, atol=1e-3)


def order_of(hidden: torch.Tensor) -> np.ndarray:
    """Which block each hidden pixel is of, in the order of the image's rows."""
    blocks = torch.arange(64.0).view(1, 1, 8, 8).repeat_interleave(2, -1).repeat_interleave(2, -2)
    inside = nn.functional.pixel_shuffle(hidden, 2) > 0
    return blocks[inside].long().numpy()


# -------------------------------------------------------------------------------------- the recipe


def weights_after(recipe: BlindSpot, steps: int) -> dict:
    for step in range(steps):
        recipe.take(step)
    return recipe.kept()


def test_clean_images_can_not_reach_the_training():
    """They are only there to draw the exposures from: once, and then not looked at."""
    clean = smooth_images(10, 16).astype(np.float32)
    ours, untouched = recipe_with(clean=clean), recipe_with(clean=clean.copy())
    assert list(ours.images) == list(ours.arrays) == ["exposures"]
    exposures = ours.arrays["exposures"]
    expected = [corrupt(image, GAUSSIAN, draw("exposure", n, 0)) for n, image in enumerate(clean)]
    np.testing.assert_array_equal(exposures, np.array(expected, np.float32))
    clean[:] = np.nan
    found = weights_after(ours, 12)
    assert_equal(found, weights_after(untouched, 12))
    assert all(bool(value.isfinite().all()) for value in found.values())
    assert set(ours.images) == {"exposures", "answers"}


def test_a_first_step_sees_exposures_as_they_are_and_hides_a_quarter(monkeypatch):
    recipe, seen = recipe_with(), []
    whole = DensityUNet.density

    def density(self, noisy, hidden):
        seen.append((noisy.squeeze(1).numpy(), hidden))
        return whole(self, noisy, hidden)

    monkeypatch.setattr(DensityUNet, "density", density)
    for step in range(3):
        recipe.take(step)
        noisy, hidden = seen[-1]
        for place, image in zip(recipe.indices.tolist(), noisy, strict=True):
            known = recipe.arrays["exposures"][place]
            assert any(np.array_equal(known[:, ::f], image) for f in (1, -1))
        assert torch.equal(hidden.sum(1), torch.ones(4, 8, 8))
    assert not torch.equal(seen[0][1], seen[1][1])


def test_the_loss_is_what_the_hidden_pixels_are_likely_to_be():
    recipe = recipe_with()
    recipe.indices.copy_(torch.arange(4))
    recipe.prepare(0)
    loss, error = recipe.losses()
    recipe.prepare(0)  # the same again
    noisy = recipe.batch_of("exposures")
    mirrored = recipe.rng.random((4,)) < 0.5
    noisy = torch.where(mirrored.view(-1, 1, 1, 1), noisy.flip(-1), noisy)
    hidden = chosen_at(recipe.rng.integers(0, 4, (4, 8, 8)))
    found = recipe.network.first.density(noisy, hidden).detach()
    values, levels = picked(noisy, hidden).numpy().astype(float), np.linspace(0, 1, 64)
    likely = np.exp(log_likelihood(GAUSSIAN, values[..., None], levels, 1e-9))
    total = (densities(found) * likely).sum(-1)
    assert loss.item() == pytest.approx(-np.log(total).mean(), abs=2e-3)
    share, one, other = found[..., :3].double().numpy().transpose(3, 0, 1, 2)
    share = 1 / (1 + np.exp(-share))
    guess = np.clip(share * one + (1 - share) * other, 0, 1)
    assert error.item() == pytest.approx(((guess - values) ** 2).mean(), rel=1e-4)


def test_the_second_stage_learns_from_the_answers_with_fresh_noise():
    recipe = recipe_with(first=0.5, steps=60)  # so many that an average differs from the last
    for step in range(30):
        recipe.take(step)
    first = {k: v for k, v in recipe.kept().items() if k.startswith("first")}
    untrained = {k: v for k, v in built().state_dict().items() if k.startswith("second")}
    assert_equal({k: recipe.kept()[k] for k in untrained}, untrained)
    for step in range(30, 60):
        recipe.take(step)
    done = recipe.kept()
    assert_equal({k: done[k] for k in first}, first)
    assert any(not torch.equal(done[k], v) for k, v in untrained.items())
    recipe.network.load_state_dict(done)
    answers = CPU.evaluated(recipe.network.first, recipe.arrays["exposures"]).clamp(0, 1)
    torch.testing.assert_close(recipe.images["answers"], answers)
    answers = recipe.images["answers"]
    recipe.prepare(31)
    noisy, target = (images.squeeze(1) for images in recipe.pair())
    for place, image in zip(recipe.indices.tolist(), target, strict=True):
        assert any(torch.equal(each, image) for each in (answers[place], answers[place].flip(-1)))
    assert (noisy - target).abs().mean() > 0.05
    recipe.prepare(32)
    assert not torch.equal(recipe.pair()[0].squeeze(1), noisy)


def test_each_stage_warms_up_and_its_rate_falls_to_nothing():
    recipe = recipe_with(steps=400, first=0.25)
    rates = [recipe.learning_rate(step) / 1e-3 for step in (0, 5, 99, 100, 115, 399)]
    assert rates == pytest.approx([0, 1, 0, 0, 1, 0], abs=1e-3)
    assert recipe.first_steps == 100
    assert recipe_with(steps=2, first=0.9).first_steps == 1


@pytest.mark.parametrize(
    ("stopped", "optimizer"), [(10, "adamw"), (36, "adamw"), (50, "adamw"), (36, "muon")]
)
def test_interrupted_training_ends_bit_identical(tmp_path, stopped, optimizer):
    """In the first stage, right between the two, and in the second."""
    (whole, done), (resumed, rest) = whole_and_resumed(
        lambda: recipe_with(first=0.6, steps=60, optimizer=optimizer), tmp_path, stopped
    )
    assert rest.history == done.history
    assert rest.images == done.images == 240
    assert_equal(resumed.kept(), whole.kept())
    assert not torch.equal(*(w.kept()["second.network.tail.bias"] for w in (whole, recipe_with())))


def test_images_that_are_too_many_for_memory_train_the_same(monkeypatch):
    held = weights_after(recipe_with(), 12)
    monkeypatch.setattr("training.recipe.HELD", 0)
    recipe = recipe_with()
    assert_equal(weights_after(recipe, 12), held)
    assert {len(each) for each in recipe.images.values()} == {4}


@pytest.mark.gpu
def test_recorded_steps_of_both_stages_are_the_same_steps(monkeypatch):
    monkeypatch.setattr("torch.backends.cudnn.deterministic", True)
    found = []
    for capture in (False, True):
        processor = Processor(torch.device("cuda"), torch.bfloat16, capture=capture)
        recipe = recipe_of(
            BlindSpot, built(), noise=GAUSSIAN, processor=processor, steps=16, first=0.5
        )
        found.append(weights_after(recipe, 16))
    assert_equal(*found)


@pytest.mark.parametrize("noise", [GAUSSIAN, POISSON], ids=["gaussian", "poisson"])
def test_training_lowers_the_loss_and_the_answers_beat_the_noisy_images(noise):
    """The network that never saw a clean image; its first stage alone."""
    recipe = recipe_with(
        SMALL | {"stages": 1}, smooth_images(24), noise, steps=120, learning_rate=4e-3
    )

    def loss() -> float:
        recipe.indices.copy_(torch.arange(4))
        recipe.rng.seed(1)
        return recipe.losses()[0].item()

    before = loss()
    weights = weights_after(recipe, 120)
    recipe.network.load_state_dict(weights)
    assert loss() < before - 0.1
    assert recipe.network.second is None
    clean = smooth_images(6, name="test")
    noisy = corrupt(clean, noise, draw("test"))
    denoised = CPU.evaluated(recipe.network, noisy).numpy()
    assert 0 <= denoised.min() <= denoised.max() <= 1
    after, before = (scores(clean, each) for each in (denoised, noisy))
    assert after["psnr"].mean() > before["psnr"].mean() + 4
    assert after["ssim"].mean() > before["ssim"].mean() + 0.1


def test_the_tables_say_that_it_uses_the_noise_and_no_clean_images():
    config = checked(CONFIG, METHODS)
    method = methods_of(config)["blind_spot"]
    assert method.uses == ("noise model",)
    assert not method.inversion
    assert "blind_spot" not in config["select"]["methods"]
    settings = method.settings["gaussian_0.2_0_1"]
    assert (settings["stages"], settings["training"]["first"]) == (2, 0.6)
    assert settings["training"]["steps"] * settings["training"]["batch"] == 19_600
