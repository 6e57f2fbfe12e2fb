"""The published network and its training, exactly."""

import itertools
import pickle
import re
import sys
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock, call

import numpy as np
import pytest
import torch
from torch import nn

import train_denoiser
from conftest import PROCESSORS, ROOT
from engine.messages import InputError
from files.atomic import copies, forget
from files.tables import read_table
from methods import unet
from methods.autoencoder import build_network
from noise.seeds import digest, generator
from recipes.published import Published
from recipes.supervised import Supervised
from training.loop import CHECKPOINT_SECONDS, train
from training.processor import Processor

sys.path.insert(0, str(ROOT / "benchmarks"))

from trainers import Plain  # "same" padding as Keras defines it: below and on the right


def autoencoder(tail=(32, 16, 8)):
    torch.manual_seed(0)
    return build_network({"tail": tail}, {})


@pytest.mark.parametrize("shape", [(128, 128), (16, 24)])
def test_padding_is_keras_pixel_by_pixel(monkeypatch, shape):
    network = autoencoder().double()
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3)  # biases too: they show at borders
    x = torch.rand(2, 1, *shape, dtype=torch.float64)
    expected = Plain(network)(x)
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-12)
    monkeypatch.setattr("methods.autoencoder.mirrored", lambda x: x)  # as PyTorch pads
    assert (network(x) - expected).abs().max() > 1e-3


def test_size_and_initial_weights():
    """Which are Glorot's, uniform; biases are zero."""
    network, smaller = autoencoder(), autoencoder([16, 8])
    counts = [sum(p.numel() for p in each.parameters()) for each in (network, smaller)]
    assert counts == [71_169, 57_313]
    for layer in [*network.encoder, *network.decoder, *network.tail]:
        limit = (6 / (9 * (layer.in_channels + layer.out_channels))) ** 0.5
        assert 0.9 * limit < layer.weight.abs().max() <= limit
        assert layer.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.2)
        assert not layer.bias.any()


class Gain(nn.Module):
    """The smallest network there is: one factor. It calls `before` at each pass."""

    def __init__(self, gain=0.0, scale=1, before=lambda: None):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([gain]))
        self.scale, self.before = scale, before

    def forward(self, x):
        self.before()
        return self.gain * x * self.scale


def training_pairs():
    """Clean and noisy images, of which 20 train and 5 validate."""
    rng = np.random.default_rng(0)
    clean = rng.random((25, 8, 8))
    noisy = np.clip(clean + 0.1 * rng.normal(size=clean.shape), 0, 1)
    return {"clean": clean.astype(np.float32), "noisy": noisy.astype(np.float32)}


CPU = Processor(torch.device("cpu"))
assert_equal = partial(torch.testing.assert_close, rtol=0, atol=0)


def run_training(
    folder, network=None, shuffled=np.random.default_rng, processor=CPU, identity="test", **changes
):
    """Train with the published recipe; `shuffled(epoch)` gives a generator with `permutation`."""
    settings = {"steps": 27, "batch": 4, "learning_rate": 1e-2, "keep": "last"} | changes
    given = (training_pairs(), {}, settings, lambda purpose, epoch: shuffled(epoch), processor)
    recipe = Published(network or autoencoder([4]), *given)
    done = train(recipe, checkpoint=folder / "checkpoint.pt", identity=identity, name="test")
    return recipe.kept(), done.history


def losses(history, which="validation_loss"):
    return [line[which] for line in history]


IN_ORDER = Mock(permutation=np.arange)  # a generator that shuffles nothing


def test_last_fifth_only_validates_and_history_has_the_mean_loss_of_each_shuffled_epoch(tmp_path):
    """Of a network that returns zeros, and learns nothing; an epoch's last batch is small."""
    shuffled = Mock(return_value=IN_ORDER)
    _, history = run_training(tmp_path, Gain(), shuffled, steps=11, batch=6, learning_rate=0)
    assert shuffled.mock_calls == [call(0), call(1), call(2)]  # 20 of 25 train: four steps each
    square = training_pairs()["clean"].astype(float) ** 2
    assert history == [
        pytest.approx(
            {"step": step, "epoch": epoch, "images": images}
            | {"loss": square[:count].mean(), "validation_loss": square[20:].mean()}
        )
        for epoch, (step, images, count) in enumerate([(4, 20, 20), (8, 40, 20), (11, 58, 18)])
    ]


def test_optimizer_is_keras_adam(tmp_path):
    """The first steps of Keras' Adam, worked out by hand, where epsilon matters."""
    clean, noisy = (images.astype(float) for images in training_pairs().values())
    gain, m, v = np.zeros((3, 2))  # as Keras computes them, and PyTorch
    for step in range(1, 6):
        x, y = 1e-7 * noisy[4 * step - 4 : 4 * step], clean[4 * step - 4 : 4 * step]
        gradient = np.array([(2 * (each * x - y) * x).mean() for each in gain])
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        # Keras folds the bias correction into the rate, and adds epsilon to the plain root.
        correction = (1 - 0.999**step) ** 0.5
        epsilon = 1e-7 * np.array([1, correction])
        gain -= 0.01 * correction / (1 - 0.9**step) * m / (v**0.5 + epsilon)
    faint = Gain(scale=1e-7)  # gradients are about as small as epsilon
    state, _ = run_training(tmp_path, faint, lambda epoch: IN_ORDER, steps=5)
    assert state["gain"].item() == pytest.approx(gain[0], rel=1e-4)
    assert gain[0] != pytest.approx(gain[1], rel=0.1)


@contextmanager
def interrupted(steps):
    """Stop the training within after some steps, of which each is saved; an epoch has five."""
    advance = Mock(side_effect=[None] * steps + [KeyboardInterrupt])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.loop.CHECKPOINT_SECONDS", -1)
        patch.setattr("training.loop.Progress.advance", advance)
        with pytest.raises(KeyboardInterrupt):
            yield


def whole_and_resumed(made, folder, steps):
    """Train what `made` returns without a stop, and with one after some steps.

    Returns:
        For each the recipe, and what `train` returned.
    """

    def training(name):
        recipe = made()
        return recipe, train(recipe, checkpoint=folder / name, identity="test", name="test")

    whole = training("whole.pt")
    with interrupted(steps):
        training("c.pt")
    return whole, training("c.pt")


@pytest.mark.parametrize(("device", "autocast"), PROCESSORS)
@pytest.mark.parametrize("keep", ["last", "best"])
def test_interrupted_training_ends_bit_identical(tmp_path, monkeypatch, device, autocast, keep):
    monkeypatch.setattr("torch.backends.cudnn.deterministic", True)
    processor = Processor(torch.device(device), autocast, capture=device == "cuda")
    arguments = {"processor": processor, "keep": keep}
    uninterrupted = run_training(tmp_path / "whole", **arguments)
    with interrupted(13):
        run_training(tmp_path, **arguments)
    shuffled = Mock(side_effect=np.random.default_rng)
    assert_equal(run_training(tmp_path, shuffled=shuffled, **arguments), uninterrupted)
    assert shuffled.mock_calls == [call(epoch) for epoch in (2, 3, 4, 5)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a training returns that was not interrupted."""
    return run_training(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def stopped(tmp_path):
    """The two copies of the checkpoint of this training, which was stopped after 13 steps."""
    with interrupted(13):
        run_training(tmp_path)
    return copies(tmp_path / "checkpoint.pt")


def test_training_lowers_the_loss_and_is_reproducible(tmp_path, whole):
    assert losses(whole[1], "loss")[-1] < losses(whole[1], "loss")[0]
    assert_equal(run_training(tmp_path), whole)


def test_checkpoint_of_another_training_is_not_used(tmp_path, whole, caplog):
    caplog.set_level("INFO")
    with interrupted(13):
        run_training(tmp_path, learning_rate=1e-3)
    assert_equal(run_training(tmp_path, identity="another"), whole)
    assert "is of another training" in caplog.text


@pytest.mark.parametrize("damage", ["cut", "bit", "pickle", "empty"])
def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, whole, stopped, caplog, damage):
    caplog.set_level("INFO")
    content = stopped[0].read_bytes()
    half, rest = content[: len(content) // 2], content[len(content) // 2 :]
    flipped = half + bytes([rest[0] ^ 1]) + rest[1:]
    damaged = {"cut": half, "bit": flipped, "pickle": pickle.dumps(SystemExit), "empty": b""}
    stopped[0].write_bytes(damaged[damage])
    assert_equal(run_training(tmp_path), whole)
    assert "checkpoint.pt can't be read" in caplog.text
    assert "the checkpoint before it is used" in caplog.text
    assert "resumes after step 12" in caplog.text  # 13 steps were done


def test_a_damaged_checkpoint_never_takes_the_place_of_the_one_before(stopped, monkeypatch):
    newest, before = stopped
    newest.write_bytes(newest.read_bytes()[:-1000])
    sound = before.read_bytes()
    monkeypatch.setattr("training.loop.save_tensors", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run_training(newest.parent)
    assert not newest.exists()
    assert before.read_bytes() == sound


def test_training_that_was_stopped_after_its_last_step_does_none_again(tmp_path, caplog):
    caplog.set_level("INFO")
    done = run_training(tmp_path)
    assert_equal(run_training(tmp_path, shuffled=Mock(side_effect=AssertionError)), done)
    assert "resumes after step 27" in caplog.text


def test_without_any_sound_checkpoint_training_starts_again(tmp_path, whole, stopped, caplog):
    for path in stopped:
        path.write_bytes(path.read_bytes()[:-1000])
    assert_equal(run_training(tmp_path), whole)
    assert caplog.text.count("can't be read") == 2


def test_checkpoints_are_saved_at_once_and_every_half_minute(tmp_path, monkeypatch):
    passes, saved = [], []  # of the network, each of half a second; at which times
    monkeypatch.setattr("training.loop.time.monotonic", lambda: len(passes) / 2)
    monkeypatch.setattr("training.loop.save_tensors", lambda *_: saved.append(len(passes) / 2))
    run_training(tmp_path, Gain(before=lambda: passes.append(1)), steps=201)
    assert saved[0] < 20
    assert all(0 < later - sooner < 32 for sooner, later in itertools.pairwise(saved))
    assert saved[-1] == len(passes) / 2  # after the last step


def test_forgotten_checkpoints_are_gone(tmp_path, stopped):
    assert sorted(tmp_path.iterdir()) == sorted(stopped)
    forget(stopped[0])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job that trains a small U-Net."""
    monkeypatch.setattr("torch.set_num_threads", Mock())
    np.save(tmp_path / "clean.npy", training_pairs()["clean"].repeat(2, 1).repeat(2, 2))
    training = {"steps": 25, "batch": 4, "learning_rate": 1e-2, "precision": "fp32", "threads": 3}
    return SimpleNamespace(
        input={"clean": tmp_path / "clean.npy"},
        output=SimpleNamespace(
            model=tmp_path / "results/run/models/some/small.pt", history=tmp_path / "history.csv"
        ),
        wildcards=SimpleNamespace(noise="some", method="small", training=""),
        params=SimpleNamespace(
            **{"plugin": "unet", "seed": 7, "device": "cpu", "code": "some digest"},
            learns_from="phantom",
            settings={"widths": [4], "blocks": 1, "training": training},
            noise={"distribution": "gaussian", "factor": 0.1, "mean": 0, "std": 1},
        ),
    )


def test_job_trains_what_its_settings_say_and_keeps_the_weights_of_the_recipe(job, tmp_path):
    train_denoiser.main(job)
    torch.set_num_threads.assert_called_once_with(3)
    noise, training = job.params.noise, job.params.settings["training"]
    torch.manual_seed(digest(7, "initialise", "some", "small"))
    network = unet.build_network(job.params.settings, noise)
    draw = partial(generator, 7, "supervised", "some", "small")
    images = {"clean": np.load(job.input["clean"])}
    recipe = Supervised(network, images, noise, training, draw, CPU)
    done = train(recipe, checkpoint=tmp_path / "other.pt", identity="test", name="test")
    model = torch.load(job.output.model, weights_only=True)
    assert_equal(model["weights"], recipe.kept())
    assert {k: model[k] for k in ("plugin", "noise")} == {"plugin": "unet", "noise": noise}
    assert model["settings"] == {"widths": [4], "blocks": 1}
    assert 0 < model["cost"].pop("training_seconds") < 60
    count = sum(weights.numel() for weights in network.parameters())
    assert model["cost"] == {"parameters": count, "training_images": 100}
    lines = read_table(job.output.history)
    assert [float(loss) for loss in losses(lines, "loss")] == losses(done.history, "loss")


def test_job_resumes_only_what_has_the_same_settings_images_code_and_precision(job, monkeypatch):
    def identity():
        monkeypatch.setattr("training.loop.train", trained := Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train_denoiser.main(job)
        return trained.call_args.kwargs["identity"]

    bf16 = "torch.cpu._is_avx512_bf16_supported"
    monkeypatch.setattr(bf16, lambda: True)
    found, params = [identity()], job.params
    params.settings = settings = dict(reversed(params.settings.items()))
    assert identity() == found[0]
    for change in (
        partial(settings.update, widths=[8]),
        partial(params.noise.update, mean=1),
        partial(setattr, params, "seed", 8),
        partial(setattr, params, "code", "another digest"),
        partial(settings["training"].update, precision="auto"),
        partial(monkeypatch.setattr, bf16, lambda: False),  # where it comes to another precision
        partial(monkeypatch.setattr, "torch.__version__", "0.1"),
        partial(np.save, job.input["clean"], np.load(job.input["clean"])[::-1]),
    ):
        change()
        found.append(identity())
    assert len(set(found)) == len(found)


def overshooting(folder, keep="best", **changes):
    return run_training(folder, Gain(), keep=keep, learning_rate=0.5, steps=20, **changes)


def test_best_model_is_kept_on_request_and_through_an_interruption(tmp_path):
    best, history = overshooting(tmp_path)
    least, latest = min(losses(history)), losses(history)[-1]
    assert least < 0.8 * latest, "does not overshoot: the test shows nothing"
    clean, noisy = (images[20:] for images in training_pairs().values())
    error = CPU.evaluated(Gain(best["gain"].item()), noisy).numpy() - clean
    assert np.square(error).mean() == pytest.approx(least, rel=1e-5)
    last, _ = overshooting(tmp_path, keep="last", identity="another")
    assert last["gain"] != best["gain"]
    with interrupted(13):
        overshooting(tmp_path / "c")
    resumed, _ = overshooting(tmp_path / "c")
    assert resumed["gain"] == best["gain"]
    assert losses(history)[1] == least  # after step 10, of 5, 10, 15 and 20


def leaps(steps, factor):
    """A network, sound for some steps; then each step multiplies the weight by `factor`."""
    passes = itertools.count()

    def leap():
        if network.training and torch.is_grad_enabled() and next(passes) >= steps:
            network.gain.data.mul_(factor)

    network = Gain(before=leap)
    return network


def diverged(folder, words, *arguments, **changes):
    """The message of a training that diverges, in which these words are."""
    with pytest.raises(InputError, match=f"{words}: training diverged; a smaller") as caught:
        run_training(folder, *arguments, **changes)
    return str(caught.value)


# Every step is saved, or those that must be.
@pytest.mark.parametrize(("seconds", "saved"), [(-1, 23), (CHECKPOINT_SECONDS, 20)])
@pytest.mark.parametrize("factor", [np.nan, np.inf, 1e6])
def test_diverged_training_says_where_and_keeps_the_last_good_weights(
    tmp_path, monkeypatch, factor, seconds, saved
):
    """The weights leap in step 24, an epoch has five; step 20 is always saved."""
    good, _ = run_training(tmp_path / "good", Gain(), steps=saved)
    monkeypatch.setattr("training.loop.CHECKPOINT_SECONDS", seconds)
    message = diverged(tmp_path, "at step 25", leaps(23, factor))
    where = rf"The weights of step {saved} are in (\S+), as `network`; with them the loss is (\S+)$"
    file, loss = re.search(where, message).groups()
    assert torch.equal(torch.load(file, weights_only=True)["network"]["gain"], good["gain"])
    assert float(loss) < 1


def test_a_leap_between_two_reports_is_not_saved_over_the_good_weights(tmp_path, monkeypatch):
    """Each step is saved that may be; those after the leap, in step 21, may not."""
    monkeypatch.setattr("training.loop.CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(Published, "validation_loss", lambda *_: None)
    message = diverged(tmp_path, "at step 40", leaps(20, 1e3), steps=40)
    assert "The weights of step 20 are in" in message


def test_only_weights_of_this_training_are_called_the_last_good_ones(tmp_path):
    assert "The weights" not in diverged(tmp_path, "the loss is nan at step 5", leaps(0, np.nan))
    run_training(tmp_path, Gain(), steps=20, identity="another")
    assert "The weights" not in diverged(tmp_path, "", leaps(3, np.nan))


def test_a_bad_start_and_a_loss_that_doubles_among_grey_levels_are_no_divergence(tmp_path):
    _, history = run_training(tmp_path / "bad", Gain(3.0), steps=10)
    assert history[0]["loss"] > 1
    _, history = run_training(tmp_path, leaps(23, 2), steps=24, learning_rate=0.1)
    assert 2 * min(losses(history)) < losses(history)[-1] < 1


@pytest.mark.parametrize(
    ("allocate", "words"),
    [
        (lambda: torch.empty(10**15), "--cores 1"),
        (lambda: np.empty(10**15), "--cores 1"),
        (Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory")), "on the GPU, device: cpu"),
        (Mock(side_effect=RuntimeError("CUDA error: out of memory")), "on the GPU, device: cpu"),
    ],
)
def test_out_of_memory_says_what_to_set(tmp_path, allocate, words):
    with pytest.raises(InputError, match=r"out of memory .*with a batch of 4 images") as caught:
        run_training(tmp_path, Gain(before=allocate))
    assert all(word in str(caught.value) for word in ["`batch`", *words.split(", ")])


def test_other_errors_of_a_step_are_not_called_want_of_memory(tmp_path):
    with pytest.raises(RuntimeError, match="size"):
        run_training(tmp_path, Gain(before=lambda: torch.rand(2) @ torch.zeros(3)))


def test_mixed_precision_trains_as_well(tmp_path):
    plain, history = run_training(tmp_path / "a", steps=40)
    processor = Processor(CPU.device, torch.bfloat16)
    mixed, mixed_history = run_training(tmp_path / "b", steps=40, processor=processor)
    assert all(weights.dtype == torch.float32 for weights in mixed.values())
    np.testing.assert_allclose(losses(history, "loss"), losses(mixed_history, "loss"), rtol=0.1)
    assert any(not torch.equal(plain[key], mixed[key]) for key in plain)
