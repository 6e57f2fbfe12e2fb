"""Where and how networks run: layout, precision, and steps that are recorded as a CUDA graph."""

import gc
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from engine.messages import InputError
from methods import (
    autoencoder,
    blind_spot,
    blind_spot_estimated,
    dncnn,
    noise2noise,
    noise2noise_likelihood,
    noise2void,
    unet,
    unet_any,
    unet_lattice,
)
from noise.seeds import generator
from test_denoisers import DETECTOR, GAUSSIAN, POISSON, built
from test_denoisers import recipe_of as recipe_with
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

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SMALL = {"widths": [4, 8], "blocks": 1}
CASES = [
    (autoencoder, {"tail": [4]}, GAUSSIAN),
    (unet, SMALL, GAUSSIAN),
    (unet, SMALL, DETECTOR),
    (unet_any, SMALL, DETECTOR),
    (unet_any, SMALL | {"conditioning": "stabilised"}, DETECTOR),
    (unet_lattice, SMALL, POISSON),
    (dncnn, {"depth": 3, "width": 4}, GAUSSIAN),
    (noise2noise, SMALL, POISSON),
    (noise2void, SMALL, GAUSSIAN),
    (blind_spot, SMALL | {"partitions": 1, "stages": 1}, POISSON),
    (blind_spot, SMALL | {"partitions": 1, "stages": 2}, GAUSSIAN),
    (noise2noise_likelihood, SMALL | {"stages": 2}, GAUSSIAN),
    (
        blind_spot_estimated,
        SMALL | {"partitions": 1, "stages": 2},
        DETECTOR,
    ),
]
each_network = pytest.mark.parametrize(("plugin", "settings", "noise"), CASES)


def recipe_of(plugin, settings, noise, processor):
    """Return a short training; the published one's last batch of an epoch is small."""
    clean, network = generator(1, "processor").random((25, 16, 16)), built(plugin, settings, noise)
    training = {"batch": 6, "learning_rate": 3e-3, "keep": "last", "augmentation": "deformations"}
    training |= {"patch": 8, "magnification": 2, "texture": 0.01}
    training["optimizer"] = "muon" if "conditioning" in settings else "adamw"
    training |= {"gain": [0.01, 0.05], "deviation": [0.02, 0.1], "first": 0.9}
    return recipe_with(recipe_class(plugin.RECIPE), network, clean, noise, processor, **training)


def trained(folder, case, processors):
    """Return the histories and the weights of short trainings, one with each processor."""
    histories, weights = [], []
    for number, processor in enumerate(processors):
        recipe = recipe_of(*case, processor)
        done = train(recipe, checkpoint=folder / f"{number}.pt", identity="test", name="test")
        histories.append(done.history)
        weights.append(recipe.kept())
    return histories, weights


def test_images_of_one_channel_tell_their_layout():
    """The strides of an axis of length 1 say it, and a convolution passes it on."""
    kernels = torch.rand(8, 1, 3, 3)
    for layout, memory in LAYOUTS.items():
        batch = Processor(CPU, layout=layout).batch(np.zeros((2, 16, 16)))
        assert batch.shape == (2, 1, 16, 16)
        assert batch.dtype == torch.float32
        assert conv2d(batch, kernels).is_contiguous(memory_format=memory)


@each_network
def test_the_layout_changes_rounding_at_most(tmp_path, plugin, settings, noise):
    processors = [Processor(CPU, layout=layout) for layout in LAYOUTS]
    histories, weights = trained(tmp_path, (plugin, settings, noise), processors)
    losses = [[line["loss"] for line in history] for history in histories]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    torch.testing.assert_close(*weights, rtol=0.01, atol=1e-3)


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
    cuda, numbers = MagicMock(), torch.Generator()
    for name in ("CUDAGraph", "graph", "Stream", "current_stream", "stream"):
        monkeypatch.setattr(f"torch.cuda.{name}", getattr(cuda, name))
    captured = Captured(cuda.function, numbers)

    def called(times):
        cuda.reset_mock()
        for _ in range(times):
            captured()
        return [name for name, *_ in cuda.mock_calls]

    waits = ["current_stream", "Stream().wait_stream"], ["current_stream().wait_stream"]
    beside = ["stream", "stream().__enter__", "function", "stream().__exit__"]
    assert called(EAGER_CALLS) == [*waits[0], *beside, *waits[1]] * EAGER_CALLS
    recording = ["graph", "graph().__enter__", "function", "graph().__exit__"]
    registered, replayed = "CUDAGraph().register_generator_state", "CUDAGraph().replay"
    assert called(2) == ["CUDAGraph", registered, *recording, replayed, replayed]
    cuda.CUDAGraph().register_generator_state.assert_called_once_with(numbers)
    waiting = RuntimeError("operation not permitted when stream is capturing")
    captured = Captured(Mock(side_effect=[None] * EAGER_CALLS + [waiting]), numbers)
    called(EAGER_CALLS)
    with pytest.raises(InputError, match=r"not permitted.*set capture: false"):
        captured()
    assert gc.isenabled()


@pytest.mark.gpu
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@each_network
def test_recorded_steps_are_the_same_steps(tmp_path, plugin, settings, noise, autocast):
    torch.backends.cudnn.deterministic = True
    processors = [Processor(CUDA, autocast, capture=capture) for capture in (False, True)]
    histories, weights = trained(tmp_path, (plugin, settings, noise), processors)
    assert histories[0] == histories[1]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


@pytest.mark.gpu
@each_network
def test_nothing_in_a_step_waits_for_the_gpu(plugin, settings, noise):
    """Not when its kernels are launched one by one, and not when they are replayed."""
    recipe = recipe_of(plugin, settings, noise, Processor(CUDA, torch.bfloat16, capture=True))
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
