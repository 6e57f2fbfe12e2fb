"""Training on clean images, with noise drawn anew in each step from the noise model.

The loss is that of the score: structural similarity with the published settings, and some mean
squared error; or, on request, the squared error alone. AdamW, the rate warming up and then falling along a cosine; the kept weights are their
moving average.
"""

import math
from typing import Any

import numpy as np
import torch
from torch.nn.functional import mse_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common.noise_models import corrupt
from common.training import Recipe, State, copied

DATA = "clean"
USES = ["clean images", "noise model"]
ESTIMATES = "clean image"
SETTINGS = {
    "properties": {
        "steps": {"type": "integer", "minimum": 1},
        "batch": {"type": "integer", "minimum": 1},
        "learning_rate": {"type": "number", "exclusiveMinimum": 0, "description": "the highest"},
        "loss": {
            "enum": ["similarity", "squared error"],
            "description": "what is minimised; default: similarity, which includes some squared error",
        },
    },
    "required": ["steps", "batch", "learning_rate"],
}
BETAS, WEIGHT_DECAY, CLIP = (0.9, 0.95), 0.01, 1.0
WARM_UP = 0.05  # of the steps
AVERAGED = 0.1  # of the steps: how far back the moving average of the weights reaches
SQUARED_ERROR = 10.0  # weight of the mean squared error beside 1 - SSIM
WINDOW = 7  # of the structural similarity, pixels


class Supervised(Recipe):
    """Epochs over the array `clean`, each image flipped left-right with even chances."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments)
        parameters = list(self.network.parameters())
        self.optimizer = torch.optim.AdamW(
            parameters,
            lr=self.settings["learning_rate"],
            betas=BETAS,
            weight_decay=WEIGHT_DECAY,
            fused=True,
        )
        decay = max(0.0, 1 - 1 / (AVERAGED * self.steps))
        self.average = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
        )
        self.orders: dict[int, np.ndarray] = {}

    @property
    def count(self) -> int:
        """The number of training images."""
        return len(next(iter(self.images.values())))

    def epoch(self, step: int) -> int:
        return step * self.batch // self.count

    def chosen(self, step: int) -> np.ndarray:
        """Return the indices of a step's images: each is seen once before any is seen again."""
        places = np.arange(step * self.batch, (step + 1) * self.batch)
        epochs = np.unique(places // self.count)
        for epoch in set(epochs.tolist()) - self.orders.keys():
            self.orders[epoch] = self.draw("shuffle", epoch).permutation(self.count)
        return np.array([self.orders[p // self.count][p % self.count] for p in places.tolist()])

    def pair(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a step's inputs and targets, each of shape (batch, H, W)."""
        rng = self.draw("step", step)
        clean = flipped(self.images["clean"][self.chosen(step)], rng)
        return corrupt(clean, self.noise, rng), clean

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return what is minimised, of tensors of shape (N, 1, H, W)."""
        error = mse_loss(output, target)
        if self.settings.get("loss") == "squared error":
            return error
        return SQUARED_ERROR * error + 1 - structural_similarity(output, target)

    def losses(self, step: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        noisy, target = map(self.processor.batch, self.pair(step))
        output = self.processor.output(self.network, noisy)
        error = mse_loss(output.detach(), target)
        return self.loss(output, target), error, len(noisy)

    def before_update(self, step: int) -> None:
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        rate = self.settings["learning_rate"] * rate_at(step / self.steps)
        self.optimizer.param_groups[0]["lr"] = rate

    def after_update(self, step: int) -> None:
        self.average.update_parameters(self.network)

    def kept(self) -> State:
        return copied(self.average.module)

    def state(self) -> State:
        return {"average": self.average.state_dict()}

    def restore(self, state: State) -> None:
        self.average.load_state_dict(state["average"])


def flipped(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return images of shape (N, ..., H, W), each of the N flipped left-right with even chances."""
    mirror = rng.random(len(images)) < 0.5
    return np.where(mirror.reshape(-1, *[1] * (images.ndim - 1)), images[..., ::-1], images)


def rate_at(done: float) -> float:
    """Return the learning rate as a share of the highest, when a share of the steps is done."""
    if done < WARM_UP:
        return done / WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))


def structural_similarity(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean structural similarity, differentiable, of tensors of shape (N, 1, H, W).

    The same value as `skimage.metrics.structural_similarity(..., data_range=1)`: a uniform window
    of 7 x 7 pixels, sample covariance, borders cropped.
    """

    means = torch.stack([output, target, output * output, target * target, output * target])
    for axis in (-2, -1):  # far faster than avg_pool2d, which adds 49 values one by one
        inside = means.shape[axis] - WINDOW + 1
        means = sum(means.narrow(axis, shift, inside) for shift in range(WINDOW)) / WINDOW
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = means
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    variance_x = unbiased * (mean_xx - mean_x * mean_x)
    variance_y = unbiased * (mean_yy - mean_y * mean_y)
    covariance = unbiased * (mean_xy - mean_x * mean_y)
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (similarity / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))).mean()
