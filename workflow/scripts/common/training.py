"""The training loop: pairs of noisy and clean images, mean squared error, Adam."""

import contextlib
import ctypes
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

from common.files import replacing
from common.job import InputError, Progress, log

BETAS, EPSILON = (0.9, 0.999), 1e-7  # Keras' Adam
VALIDATION_SHARE = 0.2  # of the training arrays, their tail, as in the published experiment
REPORT_STEPS = 20  # steps a line of the history stands for
CHECKPOINT_SECONDS = 30
EVALUATION_BATCH = 16

State = dict[str, torch.Tensor]


@dataclass
class Recipe:
    """How a network is trained; the configuration's `training` settings."""

    steps: int
    batch: int
    learning_rate: float
    keep: str
    threads: int
    precision: str


@dataclass
class Progressed:
    """How far a training has come: all that is needed to go on with it exactly."""

    identity: str
    step: int = 0
    summed_loss: float = 0.0
    summed_images: int = 0
    history: list[dict[str, float | int | None]] = field(default_factory=list)
    best_loss: float = float("inf")
    best_state: State | None = None


def train(
    network: nn.Module,
    noisy: np.ndarray,
    clean: np.ndarray,
    recipe: Recipe,
    shuffled: Callable[[int, int], np.ndarray],
    *,
    device: torch.device,
    autocast: torch.dtype | None,
    checkpoint: Path,
    identity: str,
    name: str,
) -> tuple[State, list[dict[str, float | int | None]]]:
    """Train `network` in place, going on from `checkpoint` if it is of this very training.

    Args:
        network: Takes and returns tensors of shape (N, 1, H, W).
        noisy: Its inputs, shape (N, H, W), values in [0, 1]. The last fifth only gives the
            validation loss.
        clean: The ground truth, of the same shape.
        recipe: Number of steps, batch size and so on.
        shuffled: Gives the order of `n` training images in an epoch: `shuffled(epoch, n)`.
        device: Where to train.
        autocast: Dtype of the mixed precision, None for plain fp32.
        checkpoint: File to save progress in about every 30 seconds; deleted by the caller.
        identity: What a checkpoint must carry to be gone on from.
        name: What the training is called in messages.

    Returns:
        The kept weights, and a history with one line every 20 steps: `step`, `epoch`, `images`
        (image passes so far), `loss` (mean since the line before) and `validation_loss` (at
        the end of an epoch and of the training, else None).

    Raises:
        InputError: When the loss is no longer finite.
    """
    training = int(len(noisy) * (1 - VALIDATION_SHARE))
    steps_an_epoch = -(-training // recipe.batch)
    network.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate, betas=BETAS)
    state = _resumed(checkpoint, identity, network, optimizer) or Progressed(identity)
    if state.step:
        log.info("%s: goes on after step %d from its checkpoint", name, state.step)
    progress = Progress(name, recipe.steps, done=state.step)
    saved = time.monotonic()

    while state.step < recipe.steps:
        epoch, within = divmod(state.step, steps_an_epoch)
        if within == 0 or state.step == progress.first:
            order = shuffled(epoch, training)
        chosen = order[within * recipe.batch : (within + 1) * recipe.batch]

        network.train()
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            output = network(_batch(noisy, chosen, device))
        loss = mse_loss(output.float(), _batch(clean, chosen, device))
        optimizer.zero_grad()
        loss.backward()
        state.step += 1
        # Keras adds epsilon before the bias correction, PyTorch after it. The gradients of the
        # first steps are as small as epsilon, so this matters.
        optimizer.param_groups[0]["eps"] = EPSILON / (1 - BETAS[1] ** state.step) ** 0.5
        optimizer.step()

        state.summed_loss += loss.item() * len(chosen)
        state.summed_images += len(chosen)
        ends_epoch = state.step % steps_an_epoch == 0 or state.step == recipe.steps
        if ends_epoch or state.step % REPORT_STEPS == 0:
            _report(state, epoch)
        if ends_epoch:
            held_out = slice(training, None)
            _validate(state, network, noisy[held_out], clean[held_out], device, autocast)
        progress.advance(note=f"loss {loss.item():.5f}")
        if time.monotonic() - saved > CHECKPOINT_SECONDS and state.step < recipe.steps:
            _save(checkpoint, state, network, optimizer)
            saved = time.monotonic()

    kept = state.best_state if recipe.keep == "best" else _copied(network)
    return kept, state.history


@torch.no_grad()
def apply(
    network: nn.Module,
    images: np.ndarray,
    device: torch.device,
    autocast: torch.dtype | None = None,
) -> np.ndarray:
    """Return the network's output for images of shape (N, H, W), as float32 of that shape."""
    network.eval()
    network.to(device, memory_format=torch.channels_last)
    outputs = []
    for start in range(0, len(images), EVALUATION_BATCH):
        chosen = np.arange(start, min(start + EVALUATION_BATCH, len(images)))
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            output = network(_batch(images, chosen, device))
        outputs.append(output.float().squeeze(1).cpu().numpy())
    return np.concatenate(outputs)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step instead of handing it back.

    Activations are larger than glibc's limit for that; fetching them anew from the system, page
    by page, took a fifth of a training step. Does nothing on other C libraries.
    """
    trim_threshold, mmap_max = -1, -4
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


def _batch(images: np.ndarray, chosen: np.ndarray, device: torch.device) -> torch.Tensor:
    batch = torch.from_numpy(np.asarray(images[chosen], dtype=np.float32))
    return batch.unsqueeze(1).to(device)


def _report(state: Progressed, epoch: int) -> None:
    loss = state.summed_loss / state.summed_images
    _check_finite("loss", loss, state.step)
    images = state.summed_images + (state.history[-1]["images"] if state.history else 0)
    state.history.append(
        {
            "step": state.step,
            "epoch": epoch,
            "images": images,
            "loss": loss,
            "validation_loss": None,
        }
    )
    state.summed_loss, state.summed_images = 0.0, 0


def _check_finite(what: str, loss: float, step: int) -> None:
    if not np.isfinite(loss):
        raise InputError(
            f"the {what} is {loss} at step {step}: training diverged; "
            "a smaller learning_rate or precision: fp32 may help"
        )


def _validate(
    state: Progressed,
    network: nn.Module,
    noisy: np.ndarray,
    clean: np.ndarray,
    device: torch.device,
    autocast: torch.dtype | None,
) -> None:
    error = apply(network, noisy, device, autocast) - clean
    loss = float(np.mean(np.square(error, dtype=np.float64)))
    _check_finite("validation loss", loss, state.step)
    state.history[-1]["validation_loss"] = loss
    if loss < state.best_loss:
        state.best_loss, state.best_state = loss, _copied(network)


def _copied(network: nn.Module) -> State:
    return {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}


def _save(
    path: Path, state: Progressed, network: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    content: dict[str, Any] = {
        "progressed": asdict(state),
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with replacing(path) as temporary:
        torch.save(content, temporary)


def _resumed(
    path: Path, identity: str, network: nn.Module, optimizer: torch.optim.Optimizer
) -> Progressed | None:
    """Load a checkpoint of the same training; say so and return None when it can't be used."""
    if not path.exists():
        return None
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        state = Progressed(**content["progressed"])
    except Exception as error:
        log.warning("%s can't be read (%s): the training starts again", path, error)
        return None
    if state.identity != identity:
        log.info("%s is of another training: this one starts at the beginning", path)
        return None
    network.load_state_dict(content["network"])
    optimizer.load_state_dict(content["optimizer"])
    return state
