"""The training loop, which all recipes share: progress, history, checkpoints."""

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.messages import MORE_MEMORY, InputError, Progress, log, out_of_memory
from files.atomic import copies
from files.tensors import load_tensors, save_tensors
from training.processor import Processor
from training.recipe import Recipe

REPORT_STEPS = 20  # steps a line of the history stands for
LARGEST_ERROR = 1.0  # of images in [0, 1]; what an untrained network makes may leave that range
CHECKPOINT_SECONDS = 30


@dataclass
class Progressed:
    """How far a training has come; `identity` is what a checkpoint must carry to resume it."""

    identity: str
    step: int = 0
    summed_images: int = 0
    images: int = 0
    seconds: float = 0.0
    history: list[dict[str, float | int | None]] = field(default_factory=list)


def identity_of(
    processor: Processor, arrays: Iterable[np.ndarray | torch.Tensor], *made_of: object
) -> str:
    """Return a digest of all that makes a training what it is, as `train` wants it.

    Args:
        processor: Where it runs, since settings may say `auto`.
        arrays: What it learns and starts from.
        made_of: All else, of which JSON can be made.
    """
    settled = [processor.device.type, str(processor.autocast), torch.__version__]
    found = hashlib.sha256(json.dumps([*made_of, *settled], sort_keys=True).encode())
    for array in arrays:
        found.update(np.ascontiguousarray(array))
    return found.hexdigest()


def train(recipe: Recipe, *, checkpoint: Path, identity: str, name: str) -> Progressed:
    """Train the recipe's network in place; resume from `checkpoint` if it is of this training.

    Progress is saved in that file after 20 steps, then about every 30 seconds, and after the last
    step; the one before is kept beside it. Both remain, since what is made of the training may have
    to be made again. The training is called `name` in messages.

    Returns:
        How it went: `images` passed through the network, `seconds` it took (of processor time on a
        CPU, else of the clock), and `history`, one line every 20 steps: `step`, `epoch`, `images`
        so far, `loss` (mean squared error, mean since the line before) and `validation_loss` (in
        steps that have one, else None).

    Raises:
        InputError: When training diverges, or memory does not suffice.
    """
    clock = time.process_time if recipe.processor.device.type == "cpu" else time.monotonic
    state = _resumed(checkpoint, identity, recipe)
    if state.step:
        log.info("%s: resumes after step %d from its checkpoint", name, state.step)
    progress = Progress(name, recipe.steps, done=state.step)
    saved, started = time.monotonic(), clock() - state.seconds

    while state.step < recipe.steps:
        try:
            count = recipe.take(state.step)
            validation_loss = recipe.validation_loss(state.step)
        except Exception as error:
            if fault := out_of_memory(error):
                fault += f" with a batch of {recipe.batch} images"
                remedy = f"set a smaller `batch` in the method's training, or {MORE_MEMORY}"
                raise InputError(f"{fault}: {remedy}") from error
            raise
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


def _report(state: Progressed, recipe: Recipe, validation: float | None, checkpoint: Path) -> None:
    loss = recipe.summed_error.item() / state.summed_images
    losses = {"loss": loss, "validation_loss": validation}
    for what, value in losses.items():
        if value is not None and _has_diverged(value, state, what):
            fault = f"the {what.replace('_', ' ')} is {value:.4g} at step {state.step}"
            remedy = "a smaller learning_rate or precision: fp32 may help"
            remedy += _last_good_weights(state, recipe, checkpoint)
            raise InputError(f"{fault}: training diverged; {remedy}")
    line = {"step": state.step, "epoch": recipe.epoch(state.step - 1), "images": state.images}
    state.history.append(line | losses)
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
            weights = f"weights of step {content['progressed']['step']} are in {path}"
            return f". The {weights}, as `network`; with them the loss is {loss:.4g}"
    return ""


def _is_sound(state: Progressed, recipe: Recipe) -> bool:
    """Say whether training is sound so far; a checkpoint that is not would be of no use."""
    loss = recipe.summed_error.item() / max(1, state.summed_images)
    weights = recipe.network.state_dict().values()
    return not _has_diverged(loss, state) and all(bool(w.isfinite().all()) for w in weights)


def _save(path: Path, state: Progressed, recipe: Recipe) -> None:
    content = {"progressed": asdict(state), "summed_error": recipe.summed_error}
    content |= {"network": recipe.network.state_dict(), "recipe": recipe.state()}
    content["optimizer"] = recipe.optimizer.state_dict()
    newest, before = copies(path)
    if newest.exists():
        newest.replace(before)
    save_tensors(newest, content)


def _resumed(checkpoint: Path, identity: str, recipe: Recipe) -> Progressed:
    """Load the newest checkpoint of this training that can be read, if there is one."""
    for _, content in _sound_files(checkpoint, identity):
        recipe.network.load_state_dict(content["network"])
        recipe.optimizer.load_state_dict(content["optimizer"])
        for group in recipe.optimizer.param_groups:  # loading leaves the rate on the CPU
            group["lr"] = group["lr"].to(recipe.processor.device)
        recipe.summed_error.copy_(content["summed_error"])
        recipe.restore(content["recipe"])
        return Progressed(**content["progressed"])
    return Progressed(identity)


def _sound_files(checkpoint: Path, identity: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the checkpoints of a training, the newest first, with what they hold.

    One that can't be read is deleted, so that it never takes the place of the one before it.
    """
    for path in filter(Path.exists, copies(checkpoint)):
        try:
            content = load_tensors(path)
            state = Progressed(**content["progressed"])
        except (InputError, KeyError, TypeError) as error:
            log.warning("%s: the checkpoint before it is used, if there is one", error)
            path.unlink(missing_ok=True)
            continue
        if state.identity == identity:
            yield path, content
        else:
            log.info("%s is of another training: not used", path)
