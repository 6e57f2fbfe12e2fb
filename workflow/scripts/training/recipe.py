"""What a recipe is. Recipes are files in `workflow/scripts/recipes/`, found by their names.

A recipe says which images a step sees, the loss, the optimizer, and which weights are kept. What
all trainings share is in the loop, `training.loop`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from noise.device_random import DeviceGenerator
from noise.models import Noise
from training.processor import Captured, Processor

State = dict[str, Any]
HELD = 8e9  # bytes


def copied(weights: State) -> State:
    """Return a copy of weights, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in weights.items()}


@dataclass(eq=False)
class Recipe:
    """How a network is trained. Each file in `recipes/` has a subclass of that name.

    A subclass sets `optimizer`; its learning rate is a tensor, so that a graph can read it.

    Attributes:
        network: Takes and returns tensors of shape (N, 1, H, W), values in [0, 1].
        images: The arrays of the rule's input by name, each of shape (N, H, W), or mapped files
            of them. They are kept on the processor's device in single precision, up to `HELD`
            bytes; if there are more, each step reads its own.
        settings: The configuration's `training` settings.
        draw: Gives the random generator of a purpose, `draw("shuffle", epoch)`; so the randomness
            of a step does not depend on how often the training was interrupted.
    """

    network: nn.Module
    images: Mapping[str, np.ndarray | torch.Tensor]
    noise: Noise
    settings: Mapping[str, Any]
    draw: Callable[..., np.random.Generator]
    processor: Processor

    def __post_init__(self) -> None:
        self.processor.ready(self.network)
        self.steps, self.batch = self.settings["steps"], self.settings["batch"]
        self.arrays, device = self.images, self.processor.device
        self.are_held = 4 * sum(array.size for array in self.arrays.values()) <= HELD
        self.images = {
            name: self.processor.tensor(np.array(array, np.float32))
            if self.are_held
            else torch.zeros((self.batch, *array.shape[1:]), device=device)
            for name, array in self.arrays.items()
        }
        self.rng = DeviceGenerator(device)
        self.indices = torch.zeros(self.batch, dtype=torch.int64, device=device)
        self.summed_error = torch.zeros((), dtype=torch.float64, device=device)
        captured = self.processor.capture
        self.repeated_step = Captured(self.step, self.rng.torch) if captured else self.step

    def take(self, step: int) -> int:
        """Do a step, the first is 0, and return its number of images.

        All that differs from step to step is set here, in tensors that `step` reads.
        """
        self.prepare(step)
        places = self.chosen(step)
        if not self.are_held:
            for name, array in self.arrays.items():
                self.images[name][: len(places)] = torch.from_numpy(np.array(array[places]))
            places = np.arange(len(places))
        chosen = torch.from_numpy(places)
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
        rate = self.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"].fill_(rate)

    def chosen(self, step: int) -> np.ndarray:
        """Return which images this step sees: at most `batch` places in the arrays."""
        raise NotImplementedError

    def learning_rate(self, step: int) -> float:
        """Return the optimizer's learning rate in this step."""
        raise NotImplementedError

    def batch_of(self, name: str) -> torch.Tensor:
        """Return this step's images of the array `name`, shape (batch, 1, H, W)."""
        return self.processor.batch(self.images[name][self.indices])

    def part_of(self, name: str, part: slice) -> torch.Tensor:
        """Return some images of the array `name`, shape (N, H, W), on the device."""
        if self.are_held:
            return self.images[name][part]
        return self.processor.tensor(np.array(self.arrays[name][part], np.float32))

    def losses(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of the images `indices`, and their mean squared error for the history."""
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
        """Return a copy of the weights that the trained network will have."""
        return copied(self.network.state_dict())

    def state(self) -> State:
        """Return what a checkpoint needs besides the network and the optimizer."""
        return {}

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
