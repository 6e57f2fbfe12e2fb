"""Networks that are told the noise, how they are trained, and deformed training images."""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import ROOT
from distributions import poisson_gaussian
from engine.configuration import checked, read_file
from engine.messages import InputError
from engine.methods import methods_of
from methods.unet import Scale, UNet, zeros
from methods.unet_any import LEAST, Anscombe, build_network
from noise.device_random import DeviceGenerator
from noise.models import corrupt, gain_and_deviation
from noise.seeds import generator
from recipes.any_noise import POWER, AnyNoise, patches, windows
from recipes.supervised import Supervised
from results.scores import scores
from test_training import CPU
from training import augmentation
from training.augmentation import deformed, sampled, textured
from training.networks import network_of
from training.processor import Processor

DETECTOR = {"distribution": "poisson_gaussian", "dose": 50, "electronic": 0.03}
GAUSSIAN = {"distribution": "gaussian", "factor": 0.1, "mean": 0, "std": 1}
NETWORK = {"widths": [4, 8], "blocks": 1}
TRAINING = {
    **{"steps": 6, "batch": 3, "learning_rate": 2e-3, "augmentation": "flips", "patch": 16},
    **{"gain": [1e-3, 0.05], "deviation": [0.01, 0.2], "magnification": 2, "texture": 0},
}


def seeded(seed: int = 1) -> DeviceGenerator:
    rng = DeviceGenerator(torch.device("cpu"))
    rng.seed(seed)
    return rng


def films(count: int = 3, height: int = 32, width: int = 32) -> torch.Tensor:
    """Smooth images with a white frame, shape (count, 1, height, width)."""
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 2, width), indexing="ij")
    images = 0.5 + 0.3 * torch.sin(3 * x + torch.arange(count).view(-1, 1, 1)) * torch.cos(2 * y)
    images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1] = 1, 1, 1, 1
    return images.unsqueeze(1)


# ------------------------------------------------------------------------------- deformed images


@pytest.mark.parametrize("shape", [(32, 32), (48, 33)])
def test_deformed_images_stay_images_and_differ_from_each_other(shape):
    images = films(1, *shape).expand(4, 1, *shape)
    found = deformed(images, seeded())
    assert found.shape == images.shape
    assert found.min() >= 0 and found.max() <= 1
    for one in range(4):
        assert (found[one] - images[one]).abs().mean() > 0.01
        assert all((found[one] - found[two]).abs().mean() > 0.01 for two in range(one))
    assert torch.equal(found, deformed(images, seeded()))
    assert not torch.equal(found, deformed(images, seeded(2)))


def test_the_frame_of_a_film_stays_where_it_is(monkeypatch):
    monkeypatch.setattr(augmentation, "TONE", 0.0)
    images = films(8, 64, 64)
    found = deformed(images, seeded())
    edges = [(..., 0, slice(None)), (..., -1, slice(None)), (..., 0), (..., -1)]
    for edge in edges:
        assert (found[edge] - images[edge]).abs().mean() < 0.02
    assert (found - images)[..., 16:-16, 16:-16].abs().mean() > 0.05
    monkeypatch.setattr(augmentation, "EDGE", 1e-3)
    assert min((deformed(images, seeded())[e] - images[e]).abs().mean() for e in edges) > 0.1


@pytest.mark.parametrize("name", ["TURN", "SCALE", "ASPECT", "SHIFT", "TONE", "BENT"])
def test_each_way_to_deform_moves_something(monkeypatch, name):
    for other in {"TURN", "SCALE", "ASPECT", "SHIFT", "TONE", "BENT"} - {name}:
        monkeypatch.setattr(augmentation, other, 0.0)
    images = films(4, 64, 64)
    assert (deformed(images, seeded()) - images)[..., 16:-16, 16:-16].abs().mean() > 0.005
    monkeypatch.setattr(augmentation, name, 0.0)
    torch.testing.assert_close(deformed(images, seeded()), images, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("augmentation", "changed"), [("flips", False), ("deformations", True)])
def test_a_training_sees_deformed_images_if_it_should(augmentation, changed):
    settings = TRAINING | {"augmentation": augmentation}
    network = build_network(NETWORK, DETECTOR)
    images = {"clean": films()[:, 0].numpy()}
    recipe = Supervised(network, images, GAUSSIAN, settings, partial(generator, 1), CPU)
    recipe.prepare(0)
    target = recipe.pair()[1]
    seen = recipe.batch_of("clean")
    kept = [
        torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in zip(target, seen, strict=True)
    ]
    assert not any(kept) if changed else all(kept)


# ------------------------------------------------------------------------------------ the patches


def test_patches_are_parts_of_the_images_at_all_their_resolutions():
    images, side = torch.rand(120, 1, 48, 48), 16
    twice = sampled(images, windows(images, 96, 0.5, Corner()))
    resolutions = [twice, images, torch.nn.functional.avg_pool2d(images, 2)]
    found, whole = patches(images, side, seeded(), deforms=False)
    counts, places = [0] * 3, set()
    assert found.shape == (120, 1, side, side)
    for one, patch in enumerate(found):
        for which, part in enumerate(resolutions):
            windows_of_it = part[one, 0].unfold(0, side, 1).unfold(1, side, 1)
            same = (windows_of_it - patch[0]).abs().amax((-2, -1)) < 1e-4
            counts[which] += bool(same.any())
            assert not same.any() or bool(whole[one]) == (which == 2)
            places |= {(which, *place) for place in same.nonzero().tolist()}
    assert sum(counts) == 120, "each is found once"
    assert min(counts[:2]) > 18
    assert 45 < counts[2] < 75, "the lowest resolution has half of them"
    assert len(places) > 75, "they are drawn from everywhere"


class Corner:
    """Draws the least number always: patches of the upper left corner."""

    def integers(self, low, _, size):
        return torch.full(size, low)


def test_an_image_as_large_as_a_patch_is_a_patch_or_seen_from_nearer():
    images = torch.rand(60, 1, 16, 16)
    found, _ = patches(images, 16, seeded(), deforms=False)
    whole = (found - images).abs().amax((1, 2, 3)) < 1e-5
    assert 15 < whole.sum() < 45
    assert (found.diff().abs().mean((1, 2, 3)) < 0.8 * images.diff().abs().mean((1, 2, 3))).equal(
        ~whole
    )


def test_patches_may_be_magnified_four_times():
    """Of a slope, which tells the resolution."""
    images = (torch.arange(64.0) / 64).expand(200, 1, 64, 64)
    found, _ = patches(images, 16, seeded(), deforms=False, magnification=4)
    steps = 64 * (found[:, 0, 8, 12] - found[:, 0, 8, 4]) / 8
    counts = [int((steps - step).abs().lt(0.1 * step).sum()) for step in (0.25, 0.5, 1, 2, 4)]
    assert sum(counts) == 200
    assert min(counts[:4]) > 10 and 80 < counts[4] < 120


@pytest.mark.parametrize("spacing", [0.5, 1.0])
def test_the_patches_of_deformed_images_are_what_is_cut_from_these(spacing):
    images = films(3, 32, 48)
    places = windows(images, 16, spacing, seeded(3))
    found = deformed(images, seeded(), places)
    assert found.shape == (3, 1, 16, 16)
    assert (found - sampled(deformed(images, seeded()), places)).abs().mean() < 0.01
    assert (found - sampled(images, places)).abs().mean() > 0.03


def recipe_with(conditioning: str = "maps", **changes) -> AnyNoise:
    torch.manual_seed(0)
    network = build_network(NETWORK | {"conditioning": conditioning}, DETECTOR)
    images = {"clean": films()[:, 0].numpy()}
    return AnyNoise(network, images, DETECTOR, TRAINING | changes, partial(generator, 1), CPU)


def test_a_patch_larger_than_the_images_is_refused():
    with pytest.raises(InputError, match="patch: 33 is more than the images' 32 pixels"):
        recipe_with(patch=33)


def test_texture_has_the_same_power_however_large_its_pixels_are():
    """A film that is scanned with pixels twice as large shows the same texture, averaged."""
    grey, rng = torch.full((400, 1, 64, 64), 0.5), seeded()
    added = textured(grey, 0.02, torch.ones(400), rng) - grey
    halves = textured(grey, 0.02, torch.full((400,), 2.0), rng) - grey
    power, power_of_halves = (
        torch.fft.rfft2(each).abs().square().mean(0)[0] / 64**2 for each in (added, halves)
    )
    places = [(1, 1), (0, 3), (4, 0), (3, 6), (8, 2)]
    for down, right in places:  # the same frequencies of the film
        found, expected = power_of_halves[2 * down, 2 * right], power[down, right] / 4
        assert found == pytest.approx(expected, rel=0.35)
    octave = 0.02**2 / 3 * 4 * torch.pi * torch.tensor(augmentation.WIDTHS) ** 2
    assert power[0, 1] == pytest.approx(float(octave.sum()), rel=0.3)
    assert power[0, 1] > 30 * power[0, 32], "it is no white noise"


def test_texture_belongs_to_an_image_and_leaves_its_black_and_its_white():
    images = torch.tensor([0.0, 0.1, 0.5, 1.0]).repeat_interleave(16).expand(6, 1, 64, 64)
    found = textured(images, 0.03, torch.ones(6), seeded())
    assert torch.equal(found, textured(images, 0.03, torch.ones(6), seeded()))
    added = (found - images).view(6, 64, 4, 16).std((1, 3))
    assert (added[:, [0, 3]] == 0).all()
    assert (added[:, 1] > 0.4 * added[:, 2]).all() and (added[:, 1] < 0.9 * added[:, 2]).all()
    assert added[:, 2].max() > 1.3 * added[:, 2].min(), "each has its own strength"
    assert torch.equal(textured(images, 0.0, torch.ones(6), seeded()), images)


def test_a_training_sees_texture_if_it_should():
    smooth = torch.full((3, 1, 64, 64), 0.5)
    for texture, most in ((0, 1e-6), (0.03, 0.1)):
        found = patches(smooth, 16, seeded(), deforms=True, texture=texture)[0] - 0.5
        varied = (found - found.mean((-2, -1), keepdim=True)).std((1, 2, 3))
        assert (varied <= most).all() and (varied > 1e-3).all() == (texture > 0)


# --------------------------------------------------------------------------------------- the noise


@pytest.mark.parametrize("noise", [DETECTOR, GAUSSIAN])
def test_gain_and_deviation_give_the_variance_of_the_noise(noise):
    gain, deviation = gain_and_deviation(noise)
    for grey in (0.5, 0.7):  # far from where it is clipped
        drawn = corrupt(np.full(10**5, grey), noise, np.random.default_rng(0))
        assert drawn.var() == pytest.approx(gain * grey + deviation**2, rel=0.03)


@pytest.mark.parametrize(
    "noise",
    [
        {"distribution": "poisson", "factor": 0.2, "lambda": 1},
        GAUSSIAN | {"mean": 1},
    ],
)
def test_other_noise_has_no_gain_and_is_refused(noise):
    with pytest.raises(InputError, match=r"not given by a gain and a deviation; name .* `only`"):
        build_network(NETWORK, noise)


def test_a_step_draws_noise_over_the_whole_range_and_tells_it(monkeypatch):
    recipe, told = recipe_with(), []

    def output(network, noisy, gain, deviation):
        told.append((noisy, gain, deviation))
        return network(noisy, gain, deviation)

    monkeypatch.setattr(type(recipe.processor), "output", lambda self, *args: output(*args))
    monkeypatch.setattr(recipe, "batch_of", lambda name: torch.full((3, 1, 64, 64), 0.5))
    for step in range(60):
        recipe.prepare(step)
        recipe.losses()
    noisy, gain, deviation = (torch.cat(each) for each in zip(*told, strict=True))
    for values, (low, high) in ((gain, TRAINING["gain"]), (deviation, TRAINING["deviation"])):
        assert values.shape == (180, 1, 1, 1)
        assert low <= values.min() < 1.2 * low and high / 1.2 < values.max() <= high
    weak = (0.5 * gain + deviation**2 < 0.01).flatten()  # so that nothing is clipped
    expected = (0.5 * gain + deviation**2).flatten()[weak]
    np.testing.assert_allclose(noisy[weak].var((1, 2, 3)), expected, rtol=0.45)
    assert weak.sum() > 40


def test_noise_is_log_uniform_for_parts_and_strong_more_often_for_whole_images():
    recipe, whole = recipe_with(), torch.arange(8000).view(-1, 1, 1, 1) < 4000
    recipe.prepare(0)
    found = recipe.strength(0.01, 0.2, whole)
    assert found.shape == whole.shape
    for which, uniform in ((~whole, torch.log), (whole, lambda each: each**POWER)):
        low, high = uniform(torch.tensor([0.01, 0.2]))
        shares = (uniform(found[which]) - low) / (high - low)
        assert shares.min() >= -1e-6 and shares.max() <= 1 + 1e-6
        tenths = torch.arange(1, 10) / 10
        torch.testing.assert_close(shares.quantile(tenths), tenths, rtol=0, atol=0.03)
    assert found[whole].median() > 1.5 * found[~whole].median()


# ------------------------------------------------------------------------------------- the network


BOTH = pytest.mark.parametrize("conditioning", ["maps", "stabilised"])


def trained_a_little(conditioning: str = "maps") -> torch.nn.Module:
    recipe = recipe_with(conditioning)
    for step in range(6):
        recipe.take(step)
    return recipe.network.eval()


@BOTH
def test_what_a_network_is_told_counts_for_each_image(conditioning):
    network, noisy = trained_a_little(conditioning), torch.rand(2, 1, 32, 32)
    told = torch.tensor([0.01, 0.05]).view(2, 1, 1, 1), torch.tensor([0.02, 0.2]).view(2, 1, 1, 1)
    both = network(noisy, *told)
    for one in range(2):
        alone = network(noisy[one : one + 1], *(float(each[one]) for each in told))
        torch.testing.assert_close(both[one : one + 1], alone, rtol=0, atol=1e-6)
    assert (network(noisy, 0.01, 0.02) - both)[1].abs().mean() > 0.01
    assert (network(noisy, 0.01, 0.02) - network(noisy, 0.05, 0.02)).abs().mean() > 1e-3


@pytest.mark.parametrize(
    ("told", "fits"),
    [((0.05, 0.2), True), ((0.0, 0.0), True), ((0.06, 0.1), False), ((0, 0.3), False)],
)
def test_noise_beyond_the_training_is_refused(told, fits):
    settings = {"plugin": "unet_any", "settings": NETWORK, "noise": DETECTOR, "training": TRAINING}
    weights = build_network(NETWORK, DETECTOR).state_dict()
    trained = network_of(settings | {"weights": weights, "cost": {}}, "some.pt")
    images = np.full((1, 16, 16), 0.5)
    if fits:
        assert trained.estimates(CPU, images, told).shape == images.shape
    else:
        words = "trained for gains from 0.001 to 0.05 and deviations from 0.01 to 0.2: take another"
        with pytest.raises(InputError, match=words):
            trained.estimates(CPU, images, told)


def test_strong_estimates_are_taken_as_the_strongest_and_weak_noise_is_told(monkeypatch, caplog):
    settings = {"plugin": "unet_any", "settings": NETWORK, "noise": DETECTOR, "training": TRAINING}
    weights = trained_a_little().state_dict()
    trained = network_of(settings | {"weights": weights, "cost": {}}, "some.pt")
    images = np.random.default_rng(0).random((1, 16, 16))
    monkeypatch.setattr("training.networks.estimated", lambda image: (0.02, 0.9))
    found = trained.estimates(CPU, images)
    assert "seems stronger than in training (gain 0.02, deviation 0.9)" in caplog.text
    np.testing.assert_array_equal(found, trained.estimates(CPU, images, (0.02, 0.2)))
    assert "weaker" not in caplog.text
    trained.estimates(CPU, images, (0.0, 0.005))
    assert "weaker than in the network's training" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gain": [0.05, 1e-3]}, r"gain: from 0.05 to 0.001 is no range"),
        ({"deviation": [0.01, 0.02]}, r"has 0.03, more than 0.02, the greatest in training"),
    ],
)
def test_a_range_that_does_not_suit_is_refused_before_training(changes, words):
    with pytest.raises(InputError, match=words):
        recipe_with(**changes)


def configuration(*files: str) -> dict:
    """That of `make model`, and of files after it."""
    return checked(*(read_file(Path(f)) for f in ("config.yaml", "config/model.yaml", *files)))


def test_networks_for_one_noise_are_trained_as_the_one_for_all_is_but_for_that_noise(monkeypatch):
    monkeypatch.chdir(ROOT)
    whole = methods_of(configuration())["unet_any"].settings["quantum_100"]
    config = configuration("config/one-noise.yaml")
    assert len(config["select"]["noise"]) == 5
    for noise in config["select"]["noise"]:
        settings = methods_of(config)["unet_any"].settings[noise]
        gain, deviation = gain_and_deviation(config["noise"][noise])
        ranges = {"gain": 2 * [max(gain, 1e-6)], "deviation": 2 * [deviation]}
        assert settings == whole | {"training": whole["training"] | ranges}


def test_trained_again_it_scores_the_same_within_a_thousandth_whatever_the_rounding(monkeypatch):
    """`make model` in miniature: to the bit as before, also with the rounding of bf16 instructions.

    With other draws the scores differ more, so a thousandth is little.
    """
    monkeypatch.chdir(ROOT)
    settings = dict(methods_of(configuration())["unet_any"].settings["quantum_100"])
    training = settings.pop("training") | {"steps": 300, "patch": 32}
    settings |= {"widths": NETWORK["widths"]}
    clean, other = films(12, 64, 64)[:, 0].numpy(), films(16, 64, 64)[12:, 0].numpy()

    def means(seed: int = 1, processor: Processor = CPU) -> list[float]:
        torch.manual_seed(seed)
        network, draw = build_network(settings, DETECTOR), partial(generator, seed)
        recipe = AnyNoise(network, {"clean": clean}, DETECTOR, training, draw, processor)
        for step in range(training["steps"]):
            recipe.take(step)
        found = []
        for noise in (DETECTOR, GAUSSIAN):
            noisy = torch.tensor(corrupt(other, noise, generator(1)), dtype=torch.float32)
            answers = network.eval()(noisy.unsqueeze(1), *gain_and_deviation(noise))
            found.append(np.mean(scores(other, answers.squeeze(1).detach().numpy())["ssim"]))
        return found

    before, halves = means(), Processor(torch.device("cpu"), torch.bfloat16)
    assert means() == before
    np.testing.assert_allclose(means(processor=halves), before, rtol=0, atol=1e-3)
    assert np.abs(np.subtract(means(seed=2), before)).max() > 1e-3


GIVEN = {"plugin": "unet_any", "learned_from": "phantom", "noise": DETECTOR}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"plugin": "unet"}, "is a network of unet_any, not of unet: set `plugin: unet_any`"),
        (
            {"learned_from": "mine"},
            "learned from phantom, not from mine: set `trained_on: phantom`",
        ),
        ({"noise": GAUSSIAN}, None),  # it is told the noise
    ],
)
def test_a_given_network_must_be_what_its_entry_says(changes, words):
    weights = build_network(NETWORK, DETECTOR).state_dict()
    saved = GIVEN | {"settings": NETWORK, "weights": weights, "cost": {}, "training": TRAINING}
    trained = network_of(saved, "some.pt")
    if words is None:
        trained.require(**GIVEN | changes)
        others = dataclasses.replace(trained, conditioned=False), changes.get("noise", DETECTOR)
        if others[1] != DETECTOR:
            with pytest.raises(InputError, match=r"was trained for the noise .* with `only`"):
                others[0].require(**GIVEN | changes)
    else:
        with pytest.raises(InputError, match=words):
            trained.require(**GIVEN | changes)


@BOTH
def test_a_network_that_is_told_nothing_takes_the_noise_that_it_was_built_for(conditioning):
    network, noisy = trained_a_little(conditioning), torch.rand(1, 1, 32, 32)
    assert torch.equal(network(noisy), network(noisy, *gain_and_deviation(DETECTOR)))
    torch.testing.assert_close(network(noisy.flip(-1)).flip(-1), network(noisy))


@BOTH
def test_the_untrained_network_answers_with_the_best_linear_guess(conditioning):
    clean = torch.rand(1, 1, 256, 256)
    noisy = clean + 0.3 * torch.randn(clean.shape)
    network = build_network(NETWORK | {"conditioning": conditioning}, DETECTOR)
    guess = network.train()(noisy, 0.0, 0.3)
    error = (guess - clean).square().mean()
    for slope in (0.9, 1.1):  # of a linear guess, none is better
        assert error < (slope * (guess - 0.5) + 0.5 - clean).square().mean()


def told_network() -> tuple[UNet, torch.Tensor, torch.Tensor]:
    """A network without biases with weights at random, and what it sees and is told."""
    network = UNet(5, 1, [4, 8], 1, told=3)
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    return network, torch.randn(2, 5, 16, 16), torch.randn(2, 3)


def test_without_biases_twice_the_contrast_and_noise_have_twice_the_answer():
    network, seen, told = told_network()
    once = network(seen, told)
    torch.testing.assert_close(network(2 * seen, told), 2 * once)
    assert (network(seen, told.flip(0)) - once).abs().mean() > 1e-3


def test_what_is_told_scales_the_channels_of_blocks_and_between_them():
    network, seen, told = told_network()
    changes = [each.change for each in network.modules() if isinstance(each, Scale)]
    assert len(changes) == 4 + 3, "of four blocks, and of head, skip and tail"
    for change in changes:
        before = network(seen, told)
        zeros(change)
        assert (network(seen, told) - before).abs().mean() > 1e-4
    assert torch.equal(network(seen, told), network(seen, told.flip(0)))


def numbers(*values: float) -> tuple[torch.Tensor, ...]:
    return tuple(torch.full((1, 1, 1, 1), value) for value in values)


STRENGTHS = [(0.04, 0.01), (0.0025, 0.01), (0.06, 0.004), (1e-6, 0.1), (0.0, 0.2), (0.01, 0.05)]


@pytest.mark.parametrize(("gain", "deviation"), STRENGTHS)
def test_stabilised_noise_has_one_strength_and_the_transform_has_a_way_back(gain, deviation):
    transform = Anscombe(*numbers(gain, deviation))
    grey = torch.linspace(0, 1, 65).view(1, 1, 1, -1)
    stable = transform.forward(grey)
    assert (stable[..., [0, -1]] - grey[..., [0, -1]]).abs().max() < 1e-6
    assert (stable.diff() > 0).all()
    torch.testing.assert_close(transform.inverse(stable), grey, rtol=0, atol=1e-6)
    if gain == 0:
        torch.testing.assert_close(stable, grey)
    noise = {"dose": 1 / max(gain, 1e-6), "electronic": deviation}
    bright = grey[..., 24:].expand(1, 1, 20_000, -1)
    noisy = poisson_gaussian.draw(bright, seeded(), **noise)
    spread = transform.forward(noisy).std((0, 1, 2))
    torch.testing.assert_close(
        spread, transform.sigma.expand(1, 1, 1, 41).flatten(), rtol=0.07, atol=0
    )


def test_far_below_black_nothing_becomes_brighter_again():
    transform = Anscombe(*numbers(0.04, 0.01))
    assert (transform.inverse(torch.linspace(-2, 1, 301)).diff() >= 0).all()


def test_what_a_network_is_told_says_how_strong_noise_is_and_of_which_kind():
    def told(gain, deviation):
        return Anscombe(*numbers(gain, deviation)).told()

    assert told(0.04, 0.01).shape == (1, 2)
    assert (told(0.04, 0.01) > told(0.0025, 0.01)).all(), "stronger, and more of it quanta"
    assert told(0.0, 0.1)[0, 1] == -1
    torch.testing.assert_close(told(1e-6, 0.1), told(0.0, 0.1), rtol=0, atol=1e-3)
    torch.testing.assert_close(told(0.0, 0.0), told(0.0, LEAST))
