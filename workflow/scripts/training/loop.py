"""The training loop, which all recipes share: progress, history, checkpoints.

What differs is a recipe, a file in `workflow/scripts/recipes/`: which images a step sees, the loss, the
optimizer, and which weights are kept.
"""

import contextlib
import ctypes
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.job import MORE_MEMORY, InputError, Progress, log, out_of_memory
from files.tensors import load_tensors, save_tensors
from noise.device_random import DeviceGenerator
from noise.models import Noise
from training.checkpoints import copies
from training.processor import Processor

REPORT_STEPS = 20  # steps a line of the history stands for
# Images are in [0, 1]: no image whatever has a larger squared error, unless it leaves that range, as what
# an untrained network makes may.
LARGEST_ERROR = 1.0
CHECKPOINT_SECONDS = 30
# Pixels that are evaluated at once: what the caches hold, what fills a GPU.
EVALUATED = {"cpu": 16 * 128**2, "cuda": 128 * 128**2}

State = dict[str, Any]
Draw = Callable[..., np.random.Generator]


class Recipe:
    """How a network is trained. Each file in `recipes/` has a subclass of that name.

    Args:
        network: Takes and returns tensors of shape (N, 1, H, W), values in [0, 1].
        images: The arrays of the rule's input by name, each of shape (N, H, W). They stay on the
            processor's device, in single precision.
        noise: The noise setting.
        settings: The configuration's `training` settings.
        draw: Gives the random generator of a purpose, `draw("shuffle", epoch)`; so the randomness
            of a step does not depend on how often the training was interrupted.
        processor: Where to train.
    """

    optimizer: torch.optim.Optimizer  # its learning rate is a tensor, so that a graph can read it

    def __init__(
        self,
        network: nn.Module,
        images: Mapping[str, np.ndarray],
        noise: Noise,
        settings: Mapping[str, Any],
        draw: Draw,
        processor: Processor,
    ) -> None:
        self.network = processor.ready(network)
        self.images = {name: processor.tensor(array) for name, array in images.items()}
        self.noise, self.settings = noise, settings
        self.draw, self.processor = draw, processor
        self.steps: int = settings["steps"]
        self.batch: int = settings["batch"]
        self.rng = DeviceGenerator(processor.device)
        self.indices = torch.zeros(self.batch, dtype=torch.int64, device=processor.device)
        self.summed_error = torch.zeros((), dtype=torch.float64, device=processor.device)
        self.repeated_step = processor.repeated(self.step, self.rng.torch)

    def take(self, step: int) -> int:
        """Do a step, the first is 0, and return its number of images.

        All that differs from step to step is set here, in tensors that `step` reads.
        """
        self.prepare(step)
        chosen = torch.from_numpy(self.chosen(step))
        if len(chosen) == self.batch:
            self.indices.copy_(chosen, non_blocking=True)  # else a GPU is waited for
            self.repeated_step()
        else:  # the last of an epoch may be smaller, and fits no graph
            whole, self.indices = self.indices, chosen.to(self.indices.device)
            self.step()
            self.indices = whole
        return len(chosen)

    def step(self) -> None:
        """Update the weights once. The same code on every device; waits for nothing on a GPU."""
        self.network.train()
        self.optimizer.zero_grad()
        loss, error = self.losses()
        loss.backward()
        self.before_update()
        self.optimizer.step()
        self.after_update()
        self.summed_error += error.detach() * len(self.indices)

    def prepare(self, step: int) -> None:
        """Set what a step needs besides its images."""
        self.optimizer.param_groups[0]["lr"].fill_(self.learning_rate(step))

    def chosen(self, step: int) -> np.ndarray:
        """Return which images this step sees: at most `batch` places in the arrays."""
        raise NotImplementedError

    def learning_rate(self, step: int) -> float:
        """Return the optimizer's learning rate in this step."""
        raise NotImplementedError

    def shown(self, name: str) -> torch.Tensor:
        """Return this step's images of the array `name`, shape (batch, 1, H, W)."""
        return self.processor.batch(self.images[name][self.indices])

    def losses(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of the images `indices`, and their mean squared error for the history.

        Noise is drawn from `rng`.
        """
        raise NotImplementedError

    def epoch(self, step: int) -> int:
        """Return the number of times that all images were seen before this step."""
        raise NotImplementedError

    def before_update(self) -> None:
        """Change the gradients, if need be."""

    def after_update(self) -> None:
        """Do what follows an update of the weights."""

    def validation_loss(self, step: int) -> float | None:
        """Return the loss of held-out images after this step, or None if none is due."""
        return None

    def kept(self) -> State:
        """Return the weights that the trained network will have."""
        raise NotImplementedError

    def state(self) -> State:
        """Return what a checkpoint needs besides the network and the optimizer."""
        return {}

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""


@dataclass
class Progressed:
    """How far a training has come."""

    identity: str
    step: int = 0
    summed_images: int = 0
    images: int = 0
    seconds: float = 0.0
    history: list[dict[str, float | int | None]] = field(default_factory=list)


def train(recipe: Recipe, *, checkpoint: Path, identity: str, name: str) -> Progressed:
    """Train the recipe's network in place, going on from `checkpoint` if it is of this training.

    Args:
        recipe: Says what a step is.
        checkpoint: File to save progress in, after 20 steps, then about every 30 seconds, and after the
            last step. The one before is kept beside it. Both remain, for as long as what is made of the
            training may have to be made again.
        identity: What a checkpoint must carry to be gone on from.
        name: What the training is called in messages.

    Returns:
        How it went: `images` passed through the network, `seconds` it took (of processor time on a
        CPU, else of the clock), and `history`, one line every 20 steps: `step`, `epoch`, `images`
        so far, `loss` (mean squared error, mean since the line before) and `validation_loss` (in
        steps that have one, else None).

    Raises:
        InputError: When training diverges, or memory does not suffice.
    """
    clock = time.process_time if recipe.processor.device.type == "cpu" else time.monotonic
    state = _resumed(checkpoint, identity, recipe) or Progressed(identity)
    if state.step:
        log.info("%s: goes on after step %d from its checkpoint", name, state.step)
    progress = Progress(name, recipe.steps, done=state.step)
    saved, started = time.monotonic(), clock() - state.seconds

    while state.step < recipe.steps:
        step = state.step
        with _enough_memory(recipe):
            count = recipe.take(step)
            validation_loss = recipe.validation_loss(step)
        state.step += 1
        state.images += count
        state.summed_images += count
        last = state.step == recipe.steps
        if state.step % REPORT_STEPS == 0 or validation_loss is not None or last:
            _report(state, recipe, validation_loss, checkpoint)
        progress.advance(note=f"loss {state.history[-1]['loss']:.5f}" if state.history else "")
        state.seconds = clock() - started
        due = state.step == REPORT_STEPS or time.monotonic() - saved > CHECKPOINT_SECONDS
        if last or (due and _is_sound(state, recipe)):
            _save(checkpoint, state, recipe)
            saved = time.monotonic()
    return state


@torch.no_grad()
def applied(
    network: nn.Module, images: np.ndarray | torch.Tensor, processor: Processor
) -> torch.Tensor:
    """Return the network's output for images of shape (N, H, W), of that shape, on the device."""
    processor.ready(network).eval()
    size = max(1, EVALUATED[processor.device.type] // (images.shape[-2] * images.shape[-1]))
    outputs = [
        processor.output(network, processor.batch(images[start : start + size])).squeeze(1)
        for start in range(0, len(images), size)
    ]
    return torch.cat(outputs)


def apply(network: nn.Module, images: np.ndarray, processor: Processor) -> np.ndarray:
    """Return the network's output for images of shape (N, H, W), as float32 of that shape."""
    return applied(network, images, processor).cpu().numpy()


def copied(network: nn.Module) -> State:
    """Return a copy of the network's weights, on the CPU."""
    return {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}


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


def _report(
    state: Progressed, recipe: Recipe, validation_loss: float | None, checkpoint: Path
) -> None:
    loss = recipe.summed_error.item() / state.summed_images
    for what, value in (("loss", loss), ("validation_loss", validation_loss)):
        if value is not None and _has_diverged(value, state, what):
            message = f"the {what.replace('_', ' ')} is {value:.4g} at step {state.step}"
            raise InputError(
                f"{message}: training diverged; a smaller learning_rate or precision: fp32 may help"
                + _last_good_weights(state, recipe, checkpoint)
            )
    state.history.append(
        {
            "step": state.step,
            "epoch": recipe.epoch(state.step - 1),
            "images": state.images,
            "loss": loss,
            "validation_loss": validation_loss,
        }
    )
    recipe.summed_error.zero_()
    state.summed_images = 0


def _has_diverged(loss: float, state: Progressed, what: str = "loss") -> bool:
    """Say whether a loss, after those in the history, shows that training will come to nothing."""
    before = (line[what] for line in state.history)
    lowest = min((value for value in before if value is not None), default=math.inf)
    return not math.isfinite(loss) or loss > max(LARGEST_ERROR, 2 * lowest)


def _last_good_weights(state: Progressed, recipe: Recipe, checkpoint: Path) -> str:
    """Say where the last weights are with which this step's images still have a sound loss."""
    for path, content in _sound_files(checkpoint, state.identity):
        recipe.network.load_state_dict(content["network"])
        with torch.no_grad():
            loss = recipe.losses()[1].item()
        if not _has_diverged(loss, state):
            step = content["progressed"]["step"]
            return f". The weights of step {step} are in {path}, as `network`; with them the loss is {loss:.4g}"
    return ""


@contextlib.contextmanager
def _enough_memory(recipe: Recipe) -> Iterator[None]:
    """Say what to change when memory does not suffice."""
    try:
        yield
    except Exception as error:
        if fault := out_of_memory(error):
            remedy = "set a smaller `batch` in the method's training"
            raise InputError(
                f"{fault} with a batch of {recipe.batch} images: {remedy}, or {MORE_MEMORY}"
            ) from error
        raise


def _is_sound(state: Progressed, recipe: Recipe) -> bool:
    """Say whether training is sound so far; a checkpoint that is not would be of no use."""
    loss = recipe.summed_error.item() / max(1, state.summed_images)
    weights = recipe.network.state_dict().values()
    return not _has_diverged(loss, state) and all(bool(w.isfinite().all()) for w in weights)


def _save(path: Path, state: Progressed, recipe: Recipe) -> None:
    content = {
        "progressed": asdict(state),
        "network": recipe.network.state_dict(),
        "optimizer": recipe.optimizer.state_dict(),
        "summed_error": recipe.summed_error,
        "recipe": recipe.state(),
    }
    newest, before = copies(path)
    if newest.exists():
        newest.replace(before)
    save_tensors(newest, content)


def _resumed(checkpoint: Path, identity: str, recipe: Recipe) -> Progressed | None:
    """Load the newest checkpoint of this training that can be read, or return None."""
    for _, content in _sound_files(checkpoint, identity):
        recipe.network.load_state_dict(content["network"])
        recipe.optimizer.load_state_dict(content["optimizer"])
        group = recipe.optimizer.param_groups[0]
        group["lr"] = group["lr"].to(recipe.processor.device)  # loading leaves it on the CPU
        recipe.summed_error.copy_(content["summed_error"])
        recipe.restore(content["recipe"])
        return Progressed(**content["progressed"])
    return None


def _sound_files(checkpoint: Path, identity: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the checkpoints of a training, the newest first, with what they hold.

    One that can't be read is deleted, so that it never takes the place of the one before it.
    """
    for path in copies(checkpoint):
        try:
            content = load_tensors(path)
            state = Progressed(**content["progressed"])
        except FileNotFoundError:
            continue
        except (InputError, KeyError, TypeError) as error:
            log.warning("%s: the checkpoint before it is used, if there is one", error)
            path.unlink(missing_ok=True)
            continue
        if state.identity == identity:
            yield path, content
        else:
            log.info("%s is of another training: not used", path)
