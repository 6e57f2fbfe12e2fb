"""The published training: fixed pairs of noisy and clean images, squared error, Keras' Adam."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

from training.recipe import Recipe, State

DATA = "pairs"
USES = ["clean images"]
SETTINGS = {
    "steps": {"type": "integer", "minimum": 1},
    "batch": {"type": "integer", "minimum": 1},
    "learning_rate": {"type": "number", "exclusiveMinimum": 0},
    "keep": {"enum": ["last", "best"]},  # the last model, or that of the best validation loss
}
BETAS, EPSILON = (0.9, 0.999), 1e-7  # Keras' Adam
VALIDATED = 2**26  # pixels at a time
VALIDATION_SHARE = 0.2  # of the training arrays, their tail


class Published(Recipe):
    """Epochs over the first four fifths of the arrays `clean` and `noisy`; the others validate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.train_count = int(len(self.arrays["noisy"]) * (1 - VALIDATION_SHARE))
        self.steps_an_epoch = -(-self.train_count // self.batch)
        self.shuffled: tuple[int, np.ndarray] = (-1, np.empty(0))  # an epoch and its order
        self.best_loss, self.best_state = float("inf"), None
        self.optimizer = KerasAdam(self.network.parameters(), self.processor.device)

    def epoch(self, step: int) -> int:
        return step // self.steps_an_epoch

    def chosen(self, step: int) -> np.ndarray:
        epoch, within = divmod(step, self.steps_an_epoch)
        if self.shuffled[0] != epoch:
            self.shuffled = epoch, self.draw("shuffle", epoch).permutation(self.train_count)
        return self.shuffled[1][within * self.batch : (within + 1) * self.batch]

    def learning_rate(self, step: int) -> float:
        # Keras has the bias correction of both moments in the rate.
        corrections = [1 - beta ** (step + 1) for beta in BETAS]
        return self.settings["learning_rate"] * corrections[1] ** 0.5 / corrections[0]

    def losses(self) -> tuple[torch.Tensor, torch.Tensor]:
        output = self.processor.output(self.network, self.batch_of("noisy"))
        loss = mse_loss(output, self.batch_of("clean"))
        return loss, loss

    def validation_loss(self, step: int) -> float | None:
        if (step + 1) % self.steps_an_epoch and step + 1 < self.steps:
            return None
        count, height, width = self.arrays["clean"].shape
        size, summed = max(1, VALIDATED // (height * width)), 0.0
        for start in range(self.train_count, count, size):
            part = slice(start, start + size)
            denoised = self.processor.evaluated(self.network, self.part_of("noisy", part))
            summed += (denoised - self.part_of("clean", part)).double().square().sum().item()
        loss = summed / ((count - self.train_count) * height * width)
        if loss < self.best_loss:
            self.best_loss = loss
            if self.settings["keep"] == "best":
                self.best_state = super().kept()
        return loss

    def kept(self) -> State:
        return self.best_state or super().kept()

    def state(self) -> State:
        return {"best_loss": self.best_loss, "best_state": self.best_state}

    def restore(self, state: State) -> None:
        self.best_loss, self.best_state = state["best_loss"], state["best_state"]


class KerasAdam(torch.optim.Optimizer):
    """Adam as Keras computes it: epsilon is added before the bias correction, not after it.

    The gradients of the first steps are as small as epsilon, so this matters. The bias correction
    is the caller's, in the learning rate, which is a tensor.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], device: torch.device) -> None:
        super().__init__(parameters, {"lr": torch.zeros((), device=device)})

    @torch.no_grad()
    def step(self) -> None:
        """Update the weights by their gradients."""
        (group,) = self.param_groups
        weights, gradients = group["params"], [p.grad for p in group["params"]]
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] |= {k: torch.zeros_like(weight) for k in ("mean", "square")}
        means, squares = ([self.state[w][k] for w in weights] for k in ("mean", "square"))
        torch._foreach_lerp_(means, gradients, 1 - BETAS[0])
        torch._foreach_mul_(squares, BETAS[1])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - BETAS[1])
        scales = torch._foreach_sqrt(squares)
        torch._foreach_add_(scales, EPSILON)
        changes = torch._foreach_div(means, scales)
        torch._foreach_mul_(changes, group["lr"])
        torch._foreach_sub_(weights, changes)
