"""Training without clean images, on one noisy exposure of each subject, in two stages.

First, a network tells from the others what some hidden pixels were: a density over grey levels. The
loss is the negative logarithm of the likelihood of what was observed there: the sum over levels of
density times likelihood under the noise model, clipping included. So nothing has to be inverted.
Second, that network's answers to the exposures are taken as clean images, and the other network
learns from them as in `supervised`, with fresh noise in each step.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from engine.messages import log
from methods.blind_spot import BLOCK, chosen_at, picked
from noise.models import corrupt
from recipes.noise2noise import exposures
from recipes.supervised import AVERAGED, Supervised, flipped, rate_at
from recipes.supervised import SETTINGS as OF_SUPERVISED
from training.processor import Captured
from training.recipe import State

# The loss and the augmentation are those of the second stage.
SETTINGS = OF_SUPERVISED | {
    "steps": {"type": "integer", "minimum": 2, "description": "of both stages"},
    # Of the steps, what the first stage has; all of them if there is no second one.
    "first": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": 0.6},
}
DATA = "clean"  # to draw the exposures from
USES = ["noise model"]


class BlindSpot(Supervised):
    """One exposure of each subject is drawn, once, as if one film had been taken.

    The network has the parts `first` and `second`, see `methods.blind_spot`. Each stage has its own
    warm-up, and its own moving average of the weights.
    """

    def __post_init__(self) -> None:
        # The exposures alone: the clean images are not even at hand.
        self.images = self.exposed()
        super().__post_init__()
        self.stage, self.first_steps = 1, self.steps
        if self.network.second is not None:
            share = self.settings.get("first", SETTINGS["first"]["default"])
            share = round(share * self.steps)
            self.first_steps = min(max(share, 1), self.steps - 1)
        self.averaging = min(1.0, 1 / (AVERAGED * self.first_steps))

    def exposed(self) -> dict[str, np.ndarray]:
        """Return the arrays that this training sees, each of length N; `exposures` (N, H, W)."""
        return {"exposures": exposures(self, 1)[:, 0]}

    def prepare(self, step: int) -> None:
        if self.stage == 1 and step >= self.first_steps:
            self.begin_second()
        super().prepare(step)

    def learning_rate(self, step: int) -> float:
        start, stop = self.first_steps, self.steps
        done = step / start if step < start else (step - start) / (stop - start)
        return self.settings["learning_rate"] * rate_at(done)

    def begin_second(self) -> None:
        """Go over to the second stage: the first network stays as it is, and answers once."""
        if "answers" not in self.arrays:  # else they are of a checkpoint
            # From now on the first network's weights are their average, which so stays the same.
            self.network.load_state_dict(self.network.state_dict() | self.averages)
            self.hold(self.answers())
        self.stage = 2
        self.averaging = min(1.0, 1 / (AVERAGED * (self.steps - self.first_steps)))
        if self.processor.capture:  # what was recorded is the first stage's step
            self.repeated_step = Captured(self.step, self.rng.torch)

    def answers(self) -> np.ndarray:
        """Return what the first network makes of the exposures, shape (N, H, W)."""
        count, size = self.count, 64
        log.info("the second stage learns from the first one's answers to %d images", count)
        parts = (slice(start, start + size) for start in range(0, count, size))
        found = [self.answer(part).cpu() for part in parts]
        return torch.cat(found).clamp(0, 1).numpy()

    def answer(self, part: slice) -> Tensor:
        """Return what the first network makes of some exposures, shape (N, H, W)."""
        return self.processor.evaluated(self.network.first, self.part_of("exposures", part))

    def hold(self, answers: np.ndarray) -> None:
        """Let the steps have the answers, as they have the exposures."""
        self.arrays["answers"] = answers
        space = (self.batch, *answers.shape[1:])
        content = answers if self.are_held else np.zeros(space, np.float32)
        self.images["answers"] = self.processor.tensor(content)

    def losses(self) -> tuple[Tensor, Tensor]:
        if self.stage == 2:
            return super().losses()
        seen, *judges = self.shown()
        _, _, height, width = seen.shape
        place = self.rng.integers(0, BLOCK, (len(seen), height // 2, width // 2))
        chosen, first = chosen_at(place), self.network.first
        density = self.processor.output(first.density, seen, chosen)
        observed = [picked(images, chosen) for images in judges]
        likely = first.log_evidence(density, *observed, *self.told())
        # Of the guess without the pixel itself, which says more of what was learned.
        share, one, other = density.detach()[..., :3].unbind(-1)
        guess = torch.lerp(other, one, share.sigmoid()).clamp(0, 1)
        return -likely.mean(), mse_loss(guess, observed[-1])

    def shown(self) -> tuple[Tensor, ...]:
        """Return what the first network sees, and those by which it is judged, (batch, 1, H, W)."""
        exposure = flipped(self.batch_of("exposures"), self.rng)
        return exposure, exposure

    def told(self) -> tuple[Tensor, ...]:
        """Return what the likelihoods of a step's images need besides."""
        return ()

    def pair(self) -> tuple[Tensor, Tensor]:
        answer = self.augmented("answers")
        return corrupt(answer, self.noise, self.rng), answer

    def state(self) -> State:
        answers = self.arrays.get("answers")
        made = {} if answers is None else {"answers": torch.from_numpy(answers)}
        return super().state() | made

    def restore(self, state: State) -> None:
        super().restore(state)
        if "answers" in state:
            self.hold(state["answers"].numpy())
