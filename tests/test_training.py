"""The published network and its training, exactly."""

import pickle
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
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


@pytest.mark.parametrize("shape", [(128, 128), (16, 24)])
def test_padding_is_keras_pixel_by_pixel(monkeypatch, shape):
    torch.manual_seed(0)
    network = build_network({"tail": [32, 16, 8]}, {}).double()
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3)  # biases too: they show at borders
    x = torch.rand(2, 1, *shape, dtype=torch.float64)
    expected = Plain(network)(x)
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-12)
    monkeypatch.setattr("methods.autoencoder.mirrored", lambda x: x)  # as PyTorch pads
    assert (network(x) - expected).abs().max() > 1e-3


@pytest.mark.parametrize(("tail", "count"), [([32, 16, 8], 71_169), ([16, 8], 57_313)])
def test_parameter_counts(tail, count):
    assert sum(p.numel() for p in build_network({"tail": tail}, {}).parameters()) == count


def test_initial_weights_are_glorot_uniform_and_biases_zero():
    torch.manual_seed(0)
    network = build_network({"tail": [32, 16, 8]}, {})
    for layer in [*network.encoder, *network.decoder, *network.tail]:
        ins, outs = layer.in_channels, layer.out_channels
        limit = (6 / (9 * (ins + outs))) ** 0.5
        assert layer.weight.abs().max() <= limit
        assert layer.weight.abs().max() > 0.9 * limit
        assert layer.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.2)
        assert not layer.bias.any()


class Gain(nn.Module):
    """The smallest network there is: one factor."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * x


def training_pairs() -> tuple[np.ndarray, np.ndarray]:
    """Clean and noisy images, of which 20 train and 5 validate."""
    rng = np.random.default_rng(0)
    clean = rng.random((25, 8, 8)).astype(np.float32)
    noisy = np.clip(clean + 0.1 * rng.normal(size=clean.shape), 0, 1).astype(np.float32)
    return clean, noisy


CPU = Processor(torch.device("cpu"))
assert_equal = partial(torch.testing.assert_close, rtol=0, atol=0)


def run_training(
    folder, steps=30, network=None, shuffled=None, processor=CPU, identity="test", **changes
):
    """Train with the published recipe; `shuffled(epoch)` gives a generator with `permutation`."""
    settings = {"steps": steps, "batch": 4, "learning_rate": 1e-2, "keep": "last"} | changes
    clean, noisy = training_pairs()
    torch.manual_seed(0)
    recipe = Published(
        build_network({"tail": [4]}, {}) if network is None else network,
        {"clean": clean, "noisy": noisy},
        {},
        settings,
        lambda purpose, epoch: (shuffled or np.random.default_rng)(epoch),
        processor,
    )
    done = train(recipe, checkpoint=folder / "checkpoint.pt", identity=identity, name="test")
    return recipe.kept(), done.history


IN_ORDER = Mock(permutation=np.arange)  # a generator that shuffles nothing


def test_last_fifth_only_validates_and_each_epoch_is_shuffled(tmp_path):
    shuffled = Mock(return_value=IN_ORDER)
    _, history = run_training(tmp_path, steps=11, network=Gain(), shuffled=shuffled)
    assert shuffled.mock_calls == [call(0), call(1), call(2)]  # 20 of 25 train: five steps each
    assert [line["step"] for line in history] == [5, 10, 11]
    assert [line["images"] for line in history] == [20, 40, 44]
    assert all(line["validation_loss"] is not None for line in history)


def test_history_has_the_mean_loss_of_each_epoch_also_where_its_last_batch_is_small(tmp_path):
    """Of a network that returns zeros, and learns nothing."""
    _, history = run_training(tmp_path, steps=8, batch=6, network=Gain(), learning_rate=0)
    square = training_pairs()[0].astype(float) ** 2
    means = {"loss": square[:20].mean(), "validation_loss": square[20:].mean()}
    assert history == [
        pytest.approx({"step": 4, "epoch": 0, "images": 20} | means),
        pytest.approx({"step": 8, "epoch": 1, "images": 40} | means),
    ]


def test_optimizer_is_keras_adam(tmp_path):
    """The first steps of Keras' Adam, worked out by hand, where epsilon matters."""

    class Faint(Gain):
        def forward(self, x):
            return super().forward(x) * 1e-7  # gradients are about as small as epsilon

    def path(epsilon_of):
        gain, m, v = 0.0, 0.0, 0.0
        clean, noisy = (a.astype(float) for a in training_pairs())
        for step in range(1, 6):
            x, y = (1e-7 * noisy[4 * step - 4 : 4 * step], clean[4 * step - 4 : 4 * step])
            gradient = (2 * (gain * x - y) * x).mean()
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            # Keras folds the bias correction into the rate, and adds epsilon to the plain root.
            rate = 0.01 * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
            gain -= rate * m / (v**0.5 + epsilon_of(step))
        return gain

    state, _ = run_training(tmp_path, steps=5, network=Faint(), shuffled=lambda epoch: IN_ORDER)
    keras = path(lambda step: 1e-7)
    pytorch = path(lambda step: 1e-7 * (1 - 0.999**step) ** 0.5)
    assert state["gain"].item() == pytest.approx(keras, rel=1e-4)
    assert keras != pytest.approx(pytorch, rel=0.1)


def test_training_lowers_the_loss_and_is_reproducible(tmp_path):
    first, history = run_training(tmp_path / "first", steps=60)
    assert history[-1]["loss"] < history[0]["loss"]
    assert_equal(run_training(tmp_path / "second", steps=60), (first, history))


@contextmanager
def interrupted(steps: int) -> Iterator[None]:
    """Stop the training within after some steps, of which each is saved; an epoch has five."""
    advance = Mock(side_effect=[None] * steps + [KeyboardInterrupt])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.loop.CHECKPOINT_SECONDS", -1)
        patch.setattr("training.loop.Progress.advance", advance)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.parametrize(("device", "autocast"), PROCESSORS)
@pytest.mark.parametrize("keep", ["last", "best"])
def test_interrupted_training_ends_bit_identical(tmp_path, monkeypatch, device, autocast, keep):
    monkeypatch.setattr("torch.backends.cudnn.deterministic", True)
    processor = Processor(torch.device(device), autocast, capture=device == "cuda")
    arguments = {"steps": 27, "processor": processor, "keep": keep}
    uninterrupted = run_training(tmp_path / "whole", **arguments)
    with interrupted(13):
        run_training(tmp_path, **arguments)
    shuffled = Mock(side_effect=np.random.default_rng)
    assert_equal(run_training(tmp_path, shuffled=shuffled, **arguments), uninterrupted)
    assert shuffled.mock_calls == [call(epoch) for epoch in (2, 3, 4, 5)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a training of 27 steps returns that was not interrupted."""
    return run_training(tmp_path_factory.mktemp("whole"), steps=27)


@pytest.fixture
def stopped(tmp_path):
    """The two copies of the checkpoint of this training, which was stopped after 13 steps."""
    with interrupted(13):
        run_training(tmp_path, steps=27)
    return copies(tmp_path / "checkpoint.pt")


def test_checkpoint_of_another_training_is_not_used(tmp_path, whole, caplog):
    caplog.set_level("INFO")
    with interrupted(13):
        run_training(tmp_path, steps=27, learning_rate=1e-3)
    assert_equal(run_training(tmp_path, steps=27, identity="another"), whole)
    assert "is of another training" in caplog.text


@pytest.mark.parametrize("damage", ["cut", "bit", "pickle", "empty"])
def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, whole, stopped, caplog, damage):
    caplog.set_level("INFO")
    content = stopped[0].read_bytes()
    middle = len(content) // 2
    stopped[0].write_bytes(
        {
            "cut": content[:middle],
            "bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "pickle": pickle.dumps(SystemExit),
            "empty": b"",
        }[damage]
    )
    assert_equal(run_training(tmp_path, steps=27), whole)
    assert "checkpoint.pt can't be read" in caplog.text
    assert "the checkpoint before it is used" in caplog.text
    assert "resumes after step 12" in caplog.text  # 13 steps were done


def test_a_damaged_checkpoint_never_takes_the_place_of_the_one_before(
    tmp_path, monkeypatch, stopped
):
    newest, before = stopped
    newest.write_bytes(newest.read_bytes()[:-1000])
    sound = before.read_bytes()
    monkeypatch.setattr(
        "training.loop.save_tensors", Mock(side_effect=KeyboardInterrupt)
    )  # at the next one
    with pytest.raises(KeyboardInterrupt):
        run_training(tmp_path, steps=27)
    assert not newest.exists()
    assert before.read_bytes() == sound


def test_training_that_was_stopped_after_its_last_step_does_none_again(tmp_path, caplog):
    caplog.set_level("INFO")
    done = run_training(tmp_path, steps=27)
    no_step = Mock(side_effect=AssertionError)
    assert_equal(run_training(tmp_path, steps=27, shuffled=no_step), done)
    assert "resumes after step 27" in caplog.text


def test_without_any_sound_checkpoint_training_starts_again(tmp_path, whole, stopped, caplog):
    for path in stopped:
        path.write_bytes(path.read_bytes()[:-1000])
    assert_equal(run_training(tmp_path, steps=27), whole)
    assert caplog.text.count("can't be read") == 2


def test_checkpoints_are_saved_at_once_and_every_half_minute(tmp_path, monkeypatch):
    clock, saved = [0.0], []
    monkeypatch.setattr("training.loop.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("training.loop.save_tensors", lambda path, content: saved.append(clock[0]))

    class Slow(Gain):
        def forward(self, x):
            clock[0] += 0.5
            return super().forward(x)

    run_training(tmp_path, steps=201, network=Slow())
    assert saved[0] < 20
    assert all(0 < later - sooner < 32 for sooner, later in pairwise(saved))
    assert saved[-1] == clock[0]  # after the last step


def test_forgotten_checkpoints_are_gone(tmp_path, stopped):
    assert sorted(tmp_path.iterdir()) == sorted(stopped)
    forget(stopped[0])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def job(tmp_path):
    """A job that trains a small U-Net."""
    clean, _ = training_pairs()
    np.save(tmp_path / "clean.npy", clean[:, :8, :8].repeat(2, 1).repeat(2, 2))
    training = {"steps": 25, "batch": 4, "learning_rate": 1e-2, "precision": "fp32", "threads": 3}
    return SimpleNamespace(
        input={"clean": tmp_path / "clean.npy"},
        output=SimpleNamespace(
            model=tmp_path / "models/some/small.pt", history=tmp_path / "history.csv"
        ),
        wildcards=SimpleNamespace(noise="some", method="small"),
        params=SimpleNamespace(
            **{"plugin": "unet", "seed": 7, "device": "cpu", "code": "some digest"},
            settings={"widths": [4], "blocks": 1, "training": training},
            noise={"distribution": "gaussian", "factor": 0.1, "mean": 0, "std": 1},
        ),
    )


def test_job_trains_what_its_settings_say_and_keeps_the_weights_of_the_recipe(
    job, tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.set_num_threads", take_threads := Mock())
    train_denoiser.main(job)
    take_threads.assert_called_once_with(3)
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
    seconds = model["cost"].pop("training_seconds")
    assert 0 < seconds < 60
    count = sum(weights.numel() for weights in network.parameters())
    assert model["cost"] == {"parameters": count, "training_images": 100}
    lines = read_table(job.output.history)
    assert [float(line["loss"]) for line in lines] == [line["loss"] for line in done.history]


def test_job_resumes_only_what_has_the_same_settings_images_code_and_precision(job, monkeypatch):
    class Asked(Exception):
        pass

    def identity():
        trained = Mock(side_effect=Asked)
        monkeypatch.setattr("torch.set_num_threads", Mock())
        monkeypatch.setattr("training.loop.train", trained)
        with pytest.raises(Asked):
            train_denoiser.main(job)
        return trained.call_args.kwargs["identity"]

    first, settings = identity(), job.params.settings
    job.params.settings = dict(reversed(settings.items()))
    assert identity() == first
    found = [first]
    for name, other in (
        ("settings", {**settings, "widths": [8]}),
        ("noise", {**job.params.noise, "mean": 1}),
        ("seed", 8),
        ("code", "another digest"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(job.params, name, other)
            found.append(identity())
    settings["training"]["precision"] = "auto"
    for fast in (True, False):  # on machines where it comes to another precision
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda fast=fast: fast)
        found.append(identity())
    monkeypatch.setattr("torch.__version__", "0.1")
    found.append(identity())
    np.save(job.input["clean"], np.load(job.input["clean"])[::-1])
    found.append(identity())
    assert len(set(found)) == len(found)


def overshooting(steps):
    return {"network": Gain(), "learning_rate": 0.5, "steps": steps}


def test_best_model_is_kept_on_request(tmp_path):
    best, history = run_training(tmp_path, keep="best", **overshooting(30))
    losses = [line["validation_loss"] for line in history]
    assert min(losses) < 0.8 * losses[-1], "does not overshoot: the test shows nothing"
    network = Gain()
    network.load_state_dict(best)
    clean, noisy = (images[20:] for images in training_pairs())
    error = CPU.evaluated(network, noisy).numpy() - clean
    assert np.square(error).mean() == pytest.approx(min(losses), rel=1e-5)
    last, _ = run_training(tmp_path, identity="another", keep="last", **overshooting(30))
    assert last["gain"] != best["gain"]


def test_what_was_best_before_an_interruption_stays_the_best(tmp_path):
    best, _ = run_training(tmp_path, keep="best", **overshooting(10))
    with interrupted(13):
        run_training(tmp_path / "c", keep="best", **overshooting(20))
    resumed, history = run_training(tmp_path / "c", keep="best", **overshooting(20))
    assert resumed["gain"] == best["gain"]
    losses = [line["validation_loss"] for line in history]
    assert losses[1] == min(losses)  # after step 10, of 5, 10, 15 and 20


class Leaps(Gain):
    """Sound for some steps; then the gradient multiplies the weight by `factor`."""

    def __init__(self, steps: int, factor: float) -> None:
        super().__init__()
        self.left, self.factor = steps, factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and torch.is_grad_enabled():
            self.left -= 1
            if self.left < 0:
                self.gain.data.mul_(self.factor)
        return super().forward(x)


# Every step is saved, or those that must be.
@pytest.mark.parametrize("seconds", [-1, CHECKPOINT_SECONDS])
@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 1e6])
def test_diverged_training_says_where_and_keeps_the_last_good_weights(
    tmp_path, monkeypatch, factor, seconds
):
    """The weights leap in step 24, an epoch has five; step 20 is always saved."""
    good, _ = run_training(tmp_path / "good", steps=20 if seconds > 0 else 23, network=Gain())
    monkeypatch.setattr("training.loop.CHECKPOINT_SECONDS", seconds)
    with pytest.raises(InputError, match=r"at step 25: training diverged; a smaller") as caught:
        run_training(tmp_path, network=Leaps(23, factor))
    found = re.search(
        r"The weights of step (\d+) are in (\S+), as `network`; with them the loss is (\S+)$",
        str(caught.value),
    )
    assert int(found[1]) == (20 if seconds > 0 else 23)
    saved = torch.load(found[2], weights_only=True)
    assert torch.equal(saved["network"]["gain"], good["gain"])
    assert float(found[3]) < 1


def test_a_leap_between_two_reports_is_not_saved_over_the_good_weights(tmp_path, monkeypatch):
    """Each step is saved that may be; those after the leap, in step 21, may not."""
    monkeypatch.setattr("training.loop.CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(Published, "validation_loss", lambda *_: None)
    with pytest.raises(InputError, match="at step 40: training diverged") as caught:
        run_training(tmp_path, steps=40, network=Leaps(20, 1e3))
    assert "The weights of step 20 are in" in str(caught.value)


def test_weights_of_another_training_are_not_called_the_last_good_ones(tmp_path, monkeypatch):
    run_training(tmp_path, steps=20, network=Gain(), identity="another")
    with pytest.raises(InputError, match="training diverged") as caught:
        run_training(tmp_path, network=Leaps(3, float("nan")))
    assert "The weights" not in str(caught.value)


def test_training_that_is_broken_from_the_start_says_so(tmp_path):
    with pytest.raises(InputError, match="the loss is nan at step 5: training diverged") as caught:
        run_training(tmp_path, network=Leaps(0, float("nan")))
    assert "The weights" not in str(caught.value)


def test_a_loss_that_doubles_among_grey_levels_is_no_divergence(tmp_path):
    network = Leaps(23, 2)
    _, history = run_training(tmp_path, steps=24, learning_rate=0.1, network=network)
    losses = [line["validation_loss"] for line in history]
    assert 2 * min(losses) < losses[-1] < 1


def test_a_bad_start_is_no_divergence(tmp_path):
    network = Gain()
    network.gain.data.fill_(3)
    _, history = run_training(tmp_path, steps=10, network=network)
    assert history[0]["loss"] > 1


ON_A_GPU = ["on the GPU", "device: cpu"]


@pytest.mark.parametrize(
    ("allocate", "words"),
    [
        (lambda: torch.empty(10**15), ["--cores 1"]),
        (lambda: np.empty(10**15), ["--cores 1"]),
        (Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory")), ON_A_GPU),
        (Mock(side_effect=RuntimeError("CUDA error: out of memory")), ON_A_GPU),
    ],
)
def test_out_of_memory_says_what_to_set(tmp_path, allocate, words):
    class Large(Gain):
        def forward(self, x):
            allocate()

    with pytest.raises(InputError, match=r"out of memory .*with a batch of 4 images") as caught:
        run_training(tmp_path, network=Large())
    assert all(word in str(caught.value) for word in ["`batch`", *words])


def test_other_errors_of_a_step_are_not_called_want_of_memory(tmp_path):
    class Wrong(Gain):
        def forward(self, x):
            return x @ torch.zeros(3)

    with pytest.raises(RuntimeError, match="size"):
        run_training(tmp_path, network=Wrong())


def test_mixed_precision_trains_as_well(tmp_path):
    plain, history = run_training(tmp_path / "a", steps=40)
    mixed, mixed_history = run_training(
        tmp_path / "b", steps=40, processor=Processor(CPU.device, torch.bfloat16)
    )
    assert all(weights.dtype == torch.float32 for weights in mixed.values())
    losses = [[line["loss"] for line in lines] for lines in (history, mixed_history)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.1)
    assert any(not torch.equal(plain[key], mixed[key]) for key in plain)
