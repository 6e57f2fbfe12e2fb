"""Where and how networks run: layout, precision, and steps that are recorded as a CUDA graph."""

import gc
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from engine.messages import InputError
from methods import autoencoder, dncnn, noise2noise, noise2void, unet, unet_lattice
from noise.seeds import generator
from train_denoiser import recipe_class
from training.loop import train
from training.processor import (
    EAGER_CALLS,
    EVALUATED,
    LAYOUTS,
    Captured,
    Processor,
    chosen_processor,
)

CPU = torch.device("cpu")
GAUSSIAN = {"distribution": "gaussian", "factor": 0.2, "mean": 0, "std": 1}
POISSON = {"distribution": "poisson", "factor": 0.2, "lambda": 1}
SMALL = {"widths": [4, 8], "blocks": 1}
CASES = [
    (autoencoder, {"tail": [4]}, GAUSSIAN),
    (unet, SMALL, GAUSSIAN),
    (unet, SMALL, {"distribution": "poisson_gaussian", "dose": 20, "electronic": 0.1}),
    (unet_lattice, SMALL, POISSON),
    (dncnn, {"depth": 3, "width": 4}, GAUSSIAN),
    (noise2noise, SMALL, POISSON),
    (noise2void, SMALL, GAUSSIAN),
]


def recipe_of(plugin, settings, noise, processor, steps=12):
    """Return a short training; the published one's last batch of an epoch is small."""
    clean = generator(1, "processor").random((25, 16, 16)).astype(np.float32)
    images = {"clean": clean}
    if plugin.RECIPE == "published":
        images["noisy"] = np.clip(clean + 0.1, 0, 1)
    torch.manual_seed(0)
    network = plugin.build_network(settings, noise)
    training = {"steps": steps, "batch": 6, "learning_rate": 3e-3, "keep": "last"}
    return recipe_class(plugin.RECIPE)(
        network, images, noise, training, lambda *purpose: generator(2, *purpose), processor
    )


def trained(folder, *arguments):
    """Return the history and the weights of a short training."""
    recipe = recipe_of(*arguments)
    done = train(recipe, checkpoint=folder / "c.pt", identity="test", name="test")
    return done.history, recipe.kept()


def test_images_of_one_channel_tell_their_layout():
    """The strides of an axis of length 1 say it, and a convolution passes it on."""
    kernels = torch.rand(8, 1, 3, 3)
    for layout, memory in LAYOUTS.items():
        batch = Processor(CPU, layout=layout).batch(np.zeros((2, 16, 16)))
        assert batch.shape == (2, 1, 16, 16)
        assert batch.dtype == torch.float32
        assert conv2d(batch, kernels).is_contiguous(memory_format=memory)


@pytest.mark.parametrize(("plugin", "settings", "noise"), CASES)
def test_the_layout_changes_rounding_at_most(tmp_path, plugin, settings, noise):
    (history, weights), (other_history, other_weights) = (
        trained(tmp_path / layout, plugin, settings, noise, Processor(CPU, layout=layout))
        for layout in LAYOUTS
    )
    losses = [[line["loss"] for line in lines] for lines in (history, other_history)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    torch.testing.assert_close(weights, other_weights, rtol=0.01, atol=1e-3)


def test_settings_choose_how_a_network_runs(caplog):
    caplog.set_level("INFO")
    auto = chosen_processor("cpu", {"precision": "fp32"})
    assert auto == Processor(CPU, None, "channels_last", capture=False)
    assert "runs on CPU" in caplog.text
    assert "fp32, channels_last, step by step" in caplog.text
    other = chosen_processor("cpu", {"precision": "bf16", "layout": "contiguous", "capture": True})
    assert other == Processor(CPU, torch.bfloat16, "contiguous", capture=False)  # no graphs on CPUs
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no usable GPU"):
            chosen_processor("cuda", {"precision": "auto"})


def test_steps_are_recorded_on_a_gpu_unless_capture_is_off(monkeypatch):
    monkeypatch.setattr("training.processor.torch_device", torch.device)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "a GPU")
    assert chosen_processor("cuda", {"precision": "fp32"}).capture
    assert not chosen_processor("cuda", {"precision": "fp32", "capture": False}).capture


def test_all_images_are_evaluated_batch_by_batch_in_evaluation_mode(monkeypatch):
    monkeypatch.setitem(EVALUATED, "cpu", 3 * 16 * 16)
    images = torch.rand(8, 16, 16)
    found = Processor(CPU).evaluated(nn.Dropout().train(), images)  # which then drops nothing
    assert torch.equal(found, images)


def test_a_step_is_recorded_after_a_few_calls_and_replayed_from_then_on(monkeypatch):
    """With a stand-in for CUDA: what is called when."""
    events = []

    class Graph:
        def register_generator_state(self, generator):
            events.append(("registered", generator))

        def replay(self):
            events.append("replayed")

    @contextmanager
    def graph(_):
        events.append("recording")
        yield

    class Stream:
        def wait_stream(self, _):
            events.append("waits")

    monkeypatch.setattr("torch.cuda.CUDAGraph", Graph)
    monkeypatch.setattr("torch.cuda.graph", graph)
    monkeypatch.setattr("torch.cuda.Stream", Stream)
    monkeypatch.setattr("torch.cuda.current_stream", Stream)
    monkeypatch.setattr("torch.cuda.stream", lambda _: contextmanager(lambda: iter([None]))())
    numbers = torch.Generator()
    captured = Captured(lambda: events.append("called"), numbers)
    for _ in range(EAGER_CALLS):
        captured()
    assert events == ["waits", "called", "waits"] * EAGER_CALLS
    events.clear()
    captured()
    captured()
    assert events == [("registered", numbers), "recording", "called", "replayed", "replayed"]

    def waiting():
        if captured.calls > EAGER_CALLS:
            raise RuntimeError("operation not permitted when stream is capturing")

    captured = Captured(waiting, numbers)
    for _ in range(EAGER_CALLS):
        captured()
    with pytest.raises(InputError, match=r"not permitted.*set capture: false"):
        captured()
    assert gc.isenabled()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize(("plugin", "settings", "noise"), CASES)
def test_recorded_steps_are_the_same_steps(tmp_path, plugin, settings, noise, autocast):
    torch.backends.cudnn.deterministic = True
    (history, weights), (recorded_history, recorded_weights) = (
        trained(
            tmp_path / str(capture),  # a finished training would be resumed
            *(plugin, settings, noise),
            Processor(torch.device("cuda"), autocast, capture=capture),
        )
        for capture in (False, True)
    )
    assert recorded_history == history
    torch.testing.assert_close(recorded_weights, weights, rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("plugin", "settings", "noise"), CASES)
def test_nothing_in_a_step_waits_for_the_gpu(plugin, settings, noise):
    """Not when its kernels are launched one by one, and not when they are replayed."""
    recipe = recipe_of(
        plugin, settings, noise, Processor(torch.device("cuda"), torch.bfloat16, capture=True)
    )
    for step in range(EAGER_CALLS):  # the first ones set up libraries and the optimizer's state
        recipe.take(step)
    torch.cuda.set_sync_debug_mode("error")
    try:
        recipe.step()
        torch.cuda.set_sync_debug_mode("default")
        recipe.take(4)  # records the graph, which waits
        torch.cuda.set_sync_debug_mode("error")
        for step in (5, 6, 8):  # not 7, the smaller batch at the end of a published epoch
            recipe.take(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
