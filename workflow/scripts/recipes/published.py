"""The published training: fixed pairs of noisy and clean images, mean squared error, Keras' Adam."""

from typing import Any

import numpy as np
import torch
from torch.nn.functional import mse_loss

from common.training import Recipe, State, apply, check_finite, copied

DATA = "pairs"
USES = ["clean images"]
ESTIMATES = "clean image"
SETTINGS = {
    "properties": {
        "steps": {"type": "integer", "minimum": 1},
        "batch": {"type": "integer", "minimum": 1},
        "learning_rate": {"type": "number", "exclusiveMinimum": 0},
        "keep": {
            "enum": ["last", "best"],
            "description": "the last model, or the one of the best validation loss",
        },
    },
    "required": ["steps", "batch", "learning_rate", "keep"],
}
BETAS, EPSILON = (0.9, 0.999), 1e-7  # Keras' Adam
VALIDATION_SHARE = 0.2  # of the training arrays, their tail


class Published(Recipe):
    """Epochs over the first four fifths of the arrays `clean` and `noisy`; the others validate."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments)
        self.training = int(len(self.images["noisy"]) * (1 - VALIDATION_SHARE))
        self.steps_an_epoch = -(-self.training // self.batch)
        self.shuffled: tuple[int, np.ndarray] = (-1, np.empty(0))  # an epoch and its order
        self.best_loss, self.best_state = float("inf"), None
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=self.settings["learning_rate"], betas=BETAS
        )

    def epoch(self, step: int) -> int:
        return step // self.steps_an_epoch

    def losses(self, step: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        epoch, within = divmod(step, self.steps_an_epoch)
        if self.shuffled[0] != epoch:
            self.shuffled = epoch, self.draw("shuffle", epoch).permutation(self.training)
        chosen = self.shuffled[1][within * self.batch : (within + 1) * self.batch]
        noisy, clean = (self.processor.batch(self.images[k][chosen]) for k in ("noisy", "clean"))
        loss = mse_loss(self.processor.output(self.network, noisy), clean)
        return loss, loss.detach(), len(chosen)

    def before_update(self, step: int) -> None:
        # Keras adds epsilon before the bias correction, PyTorch after it. The gradients of the
        # first steps are as small as epsilon, so this matters.
        self.optimizer.param_groups[0]["eps"] = EPSILON / (1 - BETAS[1] ** (step + 1)) ** 0.5

    def validation_loss(self, step: int) -> float | None:
        if (step + 1) % self.steps_an_epoch and step + 1 < self.steps:
            return None
        noisy, clean = (self.images[k][self.training :] for k in ("noisy", "clean"))
        error = apply(self.network, noisy, self.processor) - clean
        loss = float(np.mean(np.square(error, dtype=np.float64)))
        check_finite("validation loss", loss, step + 1)
        if loss < self.best_loss:
            self.best_loss, self.best_state = loss, copied(self.network)
        return loss

    def kept(self) -> State:
        best = self.settings["keep"] == "best" and self.best_state is not None
        return self.best_state if best else copied(self.network)

    def state(self) -> State:
        return {"best_loss": self.best_loss, "best_state": self.best_state}

    def restore(self, state: State) -> None:
        self.best_loss, self.best_state = state["best_loss"], state["best_state"]
