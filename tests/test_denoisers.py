"""The methods that are trained: their networks, their recipes, what they gain."""

import itertools
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity as reference
from torch import nn

from conftest import PROCESSORS
from engine.messages import InputError
from engine.plugins import declarations, plugins
from methods import (
    autoencoder,
    blind_spot,
    blind_spot_estimated,
    blind_spot_on_test,
    dncnn,
    noise2noise,
    noise2noise_likelihood,
    noise2void,
    unet,
    unet_any,
    unet_lattice,
)
from noise.device_random import DeviceGenerator
from noise.models import corrupt
from noise.seeds import generator
from recipes.noise2noise import Noise2Noise
from recipes.noise2void import Noise2Void, with_hidden_pixels
from recipes.supervised import Supervised, flipped, rate_at, structural_similarity
from results.scores import scores
from test_training import CPU, Gain, assert_equal, whole_and_resumed
from train_denoiser import recipe_class
from training.loop import train
from training.muon import Muon, orthogonal
from training.processor import Processor

GAUSSIAN = {"distribution": "gaussian", "factor": 0.2, "mean": 1, "std": 1}
POISSON = {"distribution": "poisson", "factor": 0.2, "lambda": 1}
DETECTOR = {"distribution": "poisson_gaussian", "dose": 20, "electronic": 0.1}
SMALL = {"widths": [8, 16], "blocks": 1}


def smooth_images(count: int, size: int = 32, name: str = "train") -> np.ndarray:
    """Blobs of all greys with sharp edges here and there, shape (count, size, size)."""
    rng = generator(1, "smooth images", name)
    blobs = gaussian_filter(rng.normal(size=(count, size, size)), (0, 4, 4))
    edges = gaussian_filter(rng.normal(size=(count, size, size)), (0, 6, 6)) > 0
    blobs = blobs / (4 * blobs.std()) + 0.35 + 0.3 * edges
    return np.clip(blobs, 0.02, 0.98)


draw = partial(generator, 3)
TINY = unet, {"widths": [4], "blocks": 1}
TINY_DNCNN = dncnn, {"depth": 3, "width": 4}


def built(plugin, settings, noise=GAUSSIAN):
    """The plug-in's network, always the same."""
    torch.manual_seed(0)
    return plugin.build_network(settings, noise)


def recipe_of(kind, network=None, clean=None, noise=GAUSSIAN, processor=CPU, **settings):
    clean = smooth_images(10, 16) if clean is None else clean
    images = {"clean": clean, "noisy": corrupt(clean, noise, draw("pairs"))}
    settings = {"steps": 12, "batch": 4, "learning_rate": 1e-3} | settings
    return kind(network or built(*TINY), images, noise, settings, draw, processor)


CASES = [
    (autoencoder, {"tail": [8]}, GAUSSIAN),
    (unet, SMALL, GAUSSIAN),
    (unet, SMALL, DETECTOR),
    (unet_any, SMALL, DETECTOR),
    (unet_any, SMALL | {"conditioning": "stabilised"}, DETECTOR),
    (unet_lattice, SMALL, POISSON),
    (dncnn, {"depth": 4, "width": 8}, GAUSSIAN),
    # These two learn the mean of noisy values, so it should be the clean one.
    (noise2noise, SMALL, {"distribution": "gaussian", "factor": 0.2, "mean": 0, "std": 1}),
    (noise2void, SMALL, {"distribution": "gaussian", "factor": 0.2, "mean": 0, "std": 1}),
    (noise2noise_likelihood, SMALL | {"stages": 2}, GAUSSIAN),
    (blind_spot, SMALL | {"partitions": 1, "stages": 2}, GAUSSIAN),
    (blind_spot_on_test, SMALL | {"partitions": 1, "stages": 2}, GAUSSIAN),
    (
        blind_spot_estimated,
        SMALL | {"partitions": 1, "stages": 2},
        DETECTOR,
    ),
]


@pytest.mark.parametrize(("plugin", "settings", "noise"), CASES)
def test_each_trained_denoiser_improves_on_its_input(tmp_path, plugin, settings, noise):
    network = built(plugin, settings, noise)
    # The sigmoids of the one start on a plateau; the others are not told the noise.
    steps = {autoencoder: 600, noise2void: 300, blind_spot_estimated: 300}.get(plugin, 150)
    training = {"steps": steps, "learning_rate": 3e-3, "keep": "last"}
    if plugin is unet_any:
        training |= {"patch": 16, "magnification": 2, "texture": 0.01}
        training |= {"gain": [0.02, 0.1], "deviation": [0.05, 0.2]}
    recipe = recipe_of(recipe_class(plugin.RECIPE), network, smooth_images(24), noise, **training)
    train(recipe, checkpoint=tmp_path / "c.pt", identity="test", name="test")
    network.load_state_dict(recipe.kept())
    clean = smooth_images(8, name="test")
    noisy = corrupt(clean, noise, draw("test"))
    denoised = CPU.evaluated(network, noisy).numpy()
    before, after = scores(clean, noisy), scores(clean, denoised)
    assert after["psnr"].mean() > before["psnr"].mean() + 3
    assert after["ssim"].mean() > before["ssim"].mean() + 0.1
    assert denoised.shape == clean.shape
    assert 0 <= denoised.min() <= denoised.max() <= 1


def test_every_trained_plugin_is_tested_above():
    tested = {plugin.__name__.removeprefix("methods.") for plugin, *_ in CASES}
    found = [n for n in plugins("methods") if "build_network" in declarations("methods", n)]
    assert set(found) == tested


def test_similarity_is_scikit_images():
    rng = generator(1, "similarity")
    x, y = rng.random((2, 3, 40, 33))
    y = 0.7 * x + 0.3 * y
    expected = np.mean([reference(a, b, data_range=1) for a, b in zip(x, y, strict=True)])
    ours = structural_similarity(*(torch.from_numpy(a).unsqueeze(1) for a in (x, y)))
    assert ours.item() == pytest.approx(expected, abs=1e-12)


def test_unet_starts_as_the_linear_estimate_and_is_symmetric_in_the_end():
    network = built(unet, {"widths": [4, 6, 8], "blocks": 2})
    noisy = torch.rand(2, 1, 32, 48)
    network.train()
    torch.testing.assert_close(network(noisy), network.slope * noisy + network.offset)
    nn.init.normal_(network.network.tail.weight, std=0.1)
    network.eval()
    torch.testing.assert_close(network(noisy.flip(-1)), network(noisy).flip(-1))
    network.train()
    assert not torch.allclose(network(noisy.flip(-1)), network(noisy).flip(-1), atol=1e-3)


def test_unet_blocks_rectify_before_each_convolution():
    block, x = unet.Block(1), torch.tensor([-2.0, 3.0]).view(1, 1, 1, 2)
    for layer in (block.first, block.second):
        nn.init.zeros_(layer.bias)
        nn.init.dirac_(layer.weight)
    torch.testing.assert_close(block(x), x + x.relu())
    block.first.weight.data.neg_()
    torch.testing.assert_close(block(x), x)


def test_unet_passes_details_around_the_coarse_levels():
    network = built(unet, SMALL).network
    nn.init.normal_(network.tail.weight)
    for layer in network.up:
        unet.zeros(layer)
    assert network(torch.rand(1, 3, 16, 16)).std() > 0.01


@pytest.mark.parametrize("model", [TINY, TINY_DNCNN])
@pytest.mark.parametrize("value", [5, -5])
def test_answers_are_grey_levels_once_trained(model, value):
    network, noisy = built(*model), torch.rand(1, 1, 16, 16)
    *_, last = network.modules()
    nn.init.constant_(last.bias, value)
    assert network.train()(noisy).abs().max() > 3
    answer = network.eval()(noisy)
    assert 0 <= answer.min() <= answer.max() <= 1


@pytest.mark.parametrize(("widths", "size"), [([8], 3_500), ([32, 64, 128, 192], 2_387_364)])
def test_unet_shapes(widths, size):
    network = built(unet, {"widths": widths, "blocks": 1})
    assert sum(p.numel() for p in network.parameters()) == size
    assert network(torch.rand(2, 1, 32, 16)).shape == (2, 1, 32, 16)


def test_unet_finds_saturated_pixels():
    seen = built(unet, SMALL).inputs(torch.tensor([0.0, 0.3, 1.0]).view(1, 1, 1, 3))
    assert seen[0, :, 0].tolist() == [pytest.approx([0, 0.3, 1]), [0, 0, 1], [1, 0, 0]]


def test_dncnn_has_the_published_size():
    network = built(dncnn, {"depth": 17, "width": 64})
    convolutions = [layer for layer in network.noise if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 17
    assert sum(p.numel() for p in network.parameters()) == 556_097
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in network.noise) == 15
    assert convolutions[1].weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert network(torch.rand(1, 1, 20, 24)).shape == (1, 1, 20, 24)


@pytest.mark.parametrize("lam", [1, 5])
def test_lattice_step_is_exact_where_the_guess_is_near(lam):
    """A guess that is off by less than half a factor leads to the very clean value."""
    clean = smooth_images(2, name="lattice")
    noisy = corrupt(clean, POISSON | {"lambda": lam}, draw("lattice"))
    off = draw("off").uniform(-0.09, 0.09, clean.shape)
    tensors = [torch.from_numpy(a).unsqueeze(1) for a in (noisy, clean + off)]
    sure = torch.full_like(tensors[0], 1e4)
    found = unet_lattice.lattice_mean(*tensors, sure, 0.2).squeeze(1).numpy()
    free = noisy < 1
    assert 0.01 < free.mean() < 0.9
    np.testing.assert_allclose(found[free], clean[free], atol=1e-9)
    np.testing.assert_array_equal(found[~free], (clean + off)[~free])


def test_lattice_mean_weighs_the_candidates_by_the_guess():
    pixels = torch.tensor([0.5, 0.35, 5], dtype=torch.float64)
    noisy, guess, precision = pixels.view(3, 1, 1, 1, 1)
    candidates = np.array([0.5, 0.3, 0.1])  # the next would be negative
    weights = np.exp(-0.5 * (5 * (candidates - 0.35)) ** 2)
    expected = (weights * candidates).sum() / weights.sum()
    found = unet_lattice.lattice_mean(noisy, guess, precision, 0.2).item()
    assert found == pytest.approx(expected, abs=1e-6)
    nearest = unet_lattice.lattice_mean(noisy, guess, 1e4 * precision, 0.2).item()
    assert nearest == pytest.approx(0.3, abs=1e-6)


def test_each_image_is_seen_once_before_any_is_seen_again():
    recipe = recipe_of(Supervised)
    seen = np.concatenate([recipe.chosen(step) for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert [recipe.epoch(step) for step in range(6)] == [0, 0, 0, 1, 1, 2]
    out_of_turn = recipe_of(Supervised).chosen(3)
    np.testing.assert_array_equal(out_of_turn, recipe.chosen(3))


def pair_of(recipe, step):
    """A step's inputs and targets, arrays of shape (batch, H, W), and the places of its images."""
    recipe.indices.copy_(torch.from_numpy(recipe.chosen(step)))
    recipe.prepare(step)
    noisy, target = (images.squeeze(1).numpy() for images in recipe.pair())
    return noisy, target, recipe.indices.tolist()


def device_generator(seed):
    rng = DeviceGenerator(CPU.device)
    rng.seed(seed)
    return rng


def test_supervised_noise_is_fresh_in_each_step_and_the_same_in_each_process():
    recipe = recipe_of(Supervised, batch=10)
    noisy, target, order = pair_of(recipe, 0)
    other, *_ = pair_of(recipe, 1)
    assert not np.array_equal(noisy, other)
    recipe.prepare(0)
    drawn = recipe.rng.random((9,))
    recipe.prepare(1)
    assert not torch.equal(recipe.rng.random((9,)), drawn)
    np.testing.assert_array_equal(pair_of(recipe_of(Supervised, batch=10), 1)[0], other)
    clean = torch.from_numpy(smooth_images(10, 16)).float()
    assert_some_are_mirrored(clean[order], torch.from_numpy(target))


def assert_some_are_mirrored(before, after):
    pairs = list(zip(before, after, strict=True))
    kept = [torch.equal(b, a) for b, a in pairs]
    assert kept == [not torch.equal(b.flip(-1), a) for b, a in pairs]
    assert len(set(kept)) == 2


def test_flips_keep_pairs_together():
    pairs = torch.arange(2 * 3 * 4 * 5).reshape(3, 2, 4, 5)
    assert_some_are_mirrored(pairs, flipped(pairs, device_generator(1)))


def test_noise2noise_sees_two_fixed_exposures_and_never_the_clean_image():
    recipe = recipe_of(Noise2Noise, batch=10)
    assert list(recipe.images) == ["exposures"]
    exposures = recipe.images["exposures"].numpy()
    assert exposures.shape == (10, 2, 16, 16)
    clean = smooth_images(10, 16)
    assert all(abs(exposures[:, k] - clean).max() > 0.1 for k in (0, 1))
    firsts = set()
    for step in range(6):
        noisy, target, order = pair_of(recipe, step)
        for index, a, b in zip(order, noisy, target, strict=True):
            known = [exposures[index, k][:, ::f] for k in (0, 1) for f in (1, -1)]
            found = [next(n for n, e in enumerate(known) if np.array_equal(e, x)) for x in (a, b)]
            assert abs(found[0] - found[1]) == 2  # the other exposure, flipped alike
            firsts.add(found[0] // 2)
    assert firsts == {0, 1}


def test_noise2void_hides_the_pixels_that_it_asks_for():
    images = torch.from_numpy(generator(1, "hidden").random((4, 40, 50)))
    hidden, mask = (x.numpy() for x in with_hidden_pixels(images, device_generator(2)))
    images = images.numpy()
    assert mask.mean() == pytest.approx(1 / 32, rel=0.2)
    np.testing.assert_array_equal(hidden[~mask], images[~mask])
    assert (hidden[mask] != images[mask]).all()  # never itself, at borders neither
    offsets = set()
    for n, y, x in np.argwhere(mask):
        near = images[n, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        assert hidden[n, y, x] in near
        if 2 <= y < 38 and 2 <= x < 48:
            offsets.add(tuple(np.argwhere(near == hidden[n, y, x])[0] - 2))
    assert len(offsets) == 24
    _, mask = with_hidden_pixels(torch.rand(50, 4, 4), device_generator(2))
    assert (mask.sum((1, 2)) >= 1).all()  # one at least, however small the image


def test_noise2void_loss_is_blind_to_the_pixels_it_shows():
    recipe = recipe_of(Noise2Void, Gain(1.0))
    assert recipe.images["exposures"].shape == (10, 1, 16, 16)
    recipe.prepare(0)
    loss, error = recipe.losses()
    # Only hidden pixels count: those that are shown are answered without any error.
    recipe.prepare(0)
    target = flipped(recipe.images["exposures"][recipe.indices, 0], recipe.rng)
    hidden, mask = with_hidden_pixels(target, recipe.rng)
    expected = ((hidden - target)[mask] ** 2).mean().item()
    assert loss.item() == error.item() == pytest.approx(expected, rel=1e-5)
    assert expected > 10 * ((hidden - target) ** 2).mean()


def test_squared_error_alone_on_request():
    output, target = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    error = ((output - target) ** 2).mean()
    plain = recipe_of(Supervised, loss="squared error").loss(output, target)
    torch.testing.assert_close(plain, error)
    torch.testing.assert_close(recipe_of(Noise2Noise).loss(output, target), error)
    default = recipe_of(Supervised).loss(output, target)
    torch.testing.assert_close(default, 10 * error + 1 - structural_similarity(output, target))


def test_lattice_that_is_too_fine_is_refused():
    built(unet_lattice, SMALL, POISSON | {"factor": 0.01})
    with pytest.raises(InputError, match=r"0.01 or more, not 0.001"):
        built(unet_lattice, SMALL, POISSON | {"factor": 0.001})


def test_lattice_unet_also_sees_where_a_pixel_lies_between_two_points():
    network = built(unet_lattice, SMALL, POISSON)
    noisy = torch.tensor([0, 0.05, 0.1, 0.35, 0.4]).view(1, 1, 1, 5)
    *_, sine, cosine = network.inputs(noisy)[0, :, 0]
    torch.testing.assert_close(sine, torch.tensor([0.0, 1, 0, -1, 0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(cosine, torch.tensor([1.0, 0, -1, 0, 1]), rtol=0, atol=1e-6)


def test_lattice_unet_starts_with_the_linear_estimate_and_a_precision_of_ten():
    network = built(unet_lattice, SMALL, POISSON)
    noisy = torch.rand(1, 1, 16, 16)
    guess = network.slope * noisy + network.offset
    expected = unet_lattice.lattice_mean(noisy, guess, torch.full_like(noisy, 10), 0.2)
    torch.testing.assert_close(network.estimate(noisy), expected)


def test_learning_rate_warms_up_and_falls_to_nothing():
    assert rate_at(0) < 0.05
    rates = [rate_at(done) for done in (0.05, 0.525, 1)]
    assert rates == pytest.approx([1, 0.5, 0], abs=1e-12)


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (40, 4, 3, 3), (4, 40, 1, 1)])
def test_muon_steps_as_pytorchs_own_does_with_convolutions_as_matrices(shape):
    """That one computes in bfloat16; what is no convolution is left to AdamW."""
    rng, rate = torch.Generator().manual_seed(1), torch.tensor(0.1)
    start, bias, *gradients = (torch.randn(shape, generator=rng) for _ in range(5))
    ours = [nn.Parameter(values.clone()) for values in (bias.flatten(), start)]
    matrix, vector = nn.Parameter(start.flatten(1).clone()), nn.Parameter(bias.flatten())
    decay = {"weight_decay": 0.1}
    optimizers = [
        Muon(ours, rate, **decay),
        torch.optim.Muon([matrix], 0.1, adjust_lr_fn="match_rms_adamw", **decay),
        torch.optim.AdamW([vector], 0.1, **decay),
    ]
    for gradient in gradients:
        for weights in (*ours, matrix, vector):
            weights.grad = gradient.reshape(weights.shape).clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours[0], vector)
    moved = matrix - start.flatten(1)
    assert (ours[1].flatten(1) - matrix).norm() < 0.02 * moved.norm()
    assert moved.square().mean().sqrt() > 0.03


@pytest.mark.parametrize("shape", [(6, 30), (30, 6)])
def test_muon_steps_in_all_directions_alike(shape):
    rng = torch.Generator().manual_seed(1)
    skewed = torch.randn(shape, generator=rng) * torch.logspace(0, -2, shape[1])
    sizes = torch.linalg.svdvals(orthogonal(skewed))
    assert 0.6 < sizes.min() < sizes.max() < 1.3


@pytest.mark.parametrize(("device", "autocast"), PROCESSORS)
@pytest.mark.parametrize(
    ("kind", "model", "settings"),
    [
        (Supervised, TINY, {}),
        (Supervised, TINY, {"optimizer": "muon"}),
        (Supervised, TINY_DNCNN, {}),  # has running means besides weights
        (Noise2Noise, TINY, {}),
        (Noise2Void, TINY, {}),
    ],
)
def test_interrupted_training_ends_bit_identical(
    tmp_path, monkeypatch, caplog, kind, model, settings, device, autocast
):
    monkeypatch.setattr("torch.backends.cudnn.deterministic", True)
    monkeypatch.setattr("time.process_time", Mock(side_effect=itertools.count()))
    processor = Processor(torch.device(device), autocast, capture=device == "cuda")
    caplog.set_level("INFO")
    (whole, done), (resumed, rest) = whole_and_resumed(
        lambda: recipe_of(kind, built(*model), processor=processor, **settings), tmp_path, 5
    )
    assert "resumes after step 5" in caplog.text
    assert rest.history == done.history
    assert rest.images == done.images == 48
    assert device == "cuda" or rest.seconds == done.seconds == 12  # a look at the clock a step
    assert_equal(resumed.kept(), whole.kept())


def test_kept_weights_are_the_moving_average():
    recipe = recipe_of(Supervised, steps=50)  # a tenth is five steps: the decay is .8
    weights = next(iter(recipe.network.parameters())).data
    expected = weights.clone()
    for step in range(4):
        weights += step + 1
        recipe.after_update()
        expected = 0.8 * expected + 0.2 * weights
    torch.testing.assert_close(next(iter(recipe.kept().values())), expected)


def test_a_training_of_few_steps_keeps_the_last_weights():
    recipe = recipe_of(Supervised, steps=5)  # a tenth is less than one
    recipe.network.eval()  # as validation leaves it
    recipe.take(0)
    assert recipe.network.training
    recipe.take(1)
    assert_equal(recipe.kept(), dict(recipe.network.state_dict()))


def test_updates_have_bounded_gradients_and_decay_the_weights():
    recipe = recipe_of(Supervised, steps=20)
    parameters = list(recipe.network.parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 100)
    recipe.before_update()
    norm = torch.stack([parameter.grad.norm() for parameter in parameters]).norm()
    assert norm.item() == pytest.approx(1, rel=1e-4)
    recipe.optimizer.zero_grad(set_to_none=False)
    expected = parameters[0].detach() * (1 - 1e-3 * 0.01)
    recipe.prepare(1)  # a twentieth of the steps: the highest rate
    recipe.optimizer.step()
    torch.testing.assert_close(parameters[0].detach(), expected, rtol=0, atol=1e-9)
    assert recipe.optimizer.defaults["betas"] == (0.9, 0.95)
