"""Training on clean images, with fresh noise in each step from the noise model.

The loss is that of the score: structural similarity with the published settings, and some mean
squared error; or, on request, the squared error alone. AdamW or Muon, the rate warming up and then
falling along a cosine; the kept weights are their moving average.
"""

import math

import numpy as np
import torch
from torch.nn.functional import mse_loss

from noise.device_random import DeviceGenerator
from noise.models import corrupt
from training.augmentation import deformed
from training.muon import Muon
from training.recipe import Recipe, State, copied

DATA = "clean"
USES = ["clean images", "noise model"]
BUDGET = {
    "steps": {"type": "integer", "minimum": 1},
    "batch": {"type": "integer", "minimum": 1},
    "learning_rate": {"type": "number", "exclusiveMinimum": 0, "description": "the highest"},
    "optimizer": {"enum": ["adamw", "muon"], "default": "adamw"},
}
SETTINGS = BUDGET | {
    # What is minimised; similarity includes some squared error.
    "loss": {"enum": ["similarity", "squared error"], "default": "similarity"},
    # Deformed images are also turned, scaled, shifted, bent, and have other tones, anew each step.
    "augmentation": {"enum": ["flips", "deformations"], "default": "flips"},
}
ADAMW = {"betas": (0.9, 0.95), "weight_decay": 0.01, "fused": True}
LARGEST_NORM = 1.0  # of the gradients
WARM_UP = 0.05  # of the steps
AVERAGED = 0.1  # of the steps: how far back the moving average of the weights reaches
SQUARED_ERROR = 10.0  # weight of the mean squared error beside 1 - SSIM
WINDOW = 7  # of the structural similarity, pixels


class Supervised(Recipe):
    """Epochs over the array `clean`, each image flipped left-right with even chances."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rate, weights = torch.zeros((), device=self.processor.device), self.network.parameters()
        capture = self.processor.capture
        kind = Muon if self.settings.get("optimizer") == "muon" else torch.optim.AdamW
        self.optimizer = kind(weights, rate, capturable=capture, **ADAMW)
        self.averaging = min(1.0, 1 / (AVERAGED * self.steps))
        self.averages = {name: value.clone() for name, value in self.averaged().items()}
        self.count = len(next(iter(self.arrays.values())))
        self.orders: dict[int, np.ndarray] = {}

    def epoch(self, step: int) -> int:
        return step * self.batch // self.count

    def chosen(self, step: int) -> np.ndarray:
        """Return the places of a step's images: each is seen once before any is seen again."""
        places = [divmod(step * self.batch + n, self.count) for n in range(self.batch)]
        for epoch in {epoch for epoch, _ in places} - self.orders.keys():
            self.orders[epoch] = self.draw("shuffle", epoch).permutation(self.count)
        return np.array([self.orders[epoch][place] for epoch, place in places])

    def prepare(self, step: int) -> None:
        super().prepare(step)
        # A sequence for each step: its noise does not depend on whether training was interrupted.
        self.rng.seed(int(self.draw("step", step).integers(2**63)))

    def learning_rate(self, step: int) -> float:
        return self.settings["learning_rate"] * rate_at(step / self.steps)

    def pair(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a step's inputs and targets, each of shape (batch, 1, H, W)."""
        clean = self.augmented("clean")
        return corrupt(clean, self.noise, self.rng), clean

    def augmented(self, name: str) -> torch.Tensor:
        """Return this step's images of the array `name`, shape (batch, 1, H, W), augmented."""
        images = flipped(self.batch_of(name), self.rng)
        # As a batch again, since what makes new images need not keep their layout.
        deform = self.deforms()
        return self.processor.batch(deformed(images, self.rng).squeeze(1)) if deform else images

    def deforms(self) -> bool:
        """Whether each image is deformed anew in each step."""
        return self.settings.get("augmentation") == "deformations"

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return what is minimised, of tensors of shape (N, 1, H, W)."""
        error = mse_loss(output, target)
        if self.settings.get("loss") == "squared error":
            return error
        return SQUARED_ERROR * error + 1 - structural_similarity(output, target)

    def losses(self) -> tuple[torch.Tensor, torch.Tensor]:
        noisy, target = self.pair()
        output = self.processor.output(self.network, noisy)
        return self.loss(output, target), mse_loss(output.detach(), target)

    def before_update(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_NORM)

    @torch.no_grad()
    def after_update(self) -> None:
        averages, values = (list(each.values()) for each in (self.averages, self.averaged()))
        torch._foreach_lerp_(averages, values, self.averaging)

    def averaged(self) -> State:
        """Return what the moving average is of: weights, and running means if there are any."""
        return {k: v for k, v in self.network.state_dict().items() if v.is_floating_point()}

    def kept(self) -> State:
        return copied(self.network.state_dict() | self.averages)

    def state(self) -> State:
        return {"averages": self.averages}

    def restore(self, state: State) -> None:
        for name, average in self.averages.items():
            average.copy_(state["averages"][name])


def flipped(images: torch.Tensor, rng: DeviceGenerator) -> torch.Tensor:
    """Return images of shape (N, ..., H, W), each of the N flipped left-right with even chances."""
    mirror = rng.random((len(images),)) < 0.5
    return torch.where(mirror.view(-1, *[1] * (images.ndim - 1)), images.flip(-1), images)


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
