"""Learning from noisy films alone: the recipe that trains on patches of them.

The first stage is that of `recipes.blind_spot_estimated`, but each film has a noise of its own,
which is known before. In the second stage, a network that is trained already goes on learning.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.special import ndtr, ndtri

from engine.messages import Progress, log, number_of
from files.models import load_model
from films.patches import Record, area, large_ones, noise_of, patches_of, sidelength
from methods.blind_spot_estimated import build_network
from noise.device_random import DeviceGenerator
from noise.models import Noise
from noise.seeds import digest, generator
from recipes.blind_spot import BlindSpot
from recipes.blind_spot_estimated import BlindSpotEstimated
from recipes.supervised import flipped
from training.loop import identity_of, train
from training.networks import Trained, network_of
from training.processor import Processor
from training.recipe import State

Settings = Mapping[str, Any]
SEEN = 64  # times, on average, that the first stage may see each pixel: more teaches it the noise
SHARE = 0.25  # of the first network in what both answer; at strong noise it is the weaker one
ADDED = 0.5  # deviation of what the second stage adds, at most, relative to that of a film's noise
SECOND_RATE = 0.25  # the learning rate of the second stage, relative to that of the first


class BlindSpotFilms(BlindSpotEstimated):
    """The arrays `exposures`, `gain` and `deviation` are given: each patch has its film's noise.

    The second network is trained already. It goes on learning to answer as both networks together:
    from the exposures themselves, with some more noise. From the answers with fresh noise, as if
    they were clean, it would learn that films are as smooth as these.
    """

    def __post_init__(self) -> None:
        # Of all films together: but each one has an estimate of its own.
        self.network.first.likelihoods.corrections.requires_grad_(False)
        super().__post_init__()

    def exposed(self) -> dict[str, np.ndarray]:
        return dict(self.images)

    def learning_rate(self, step: int) -> float:
        return super().learning_rate(step) * (SECOND_RATE if step >= self.first_steps else 1)

    def begin_second(self) -> None:
        self.answering = Progress("both networks answer, patches", self.count)
        BlindSpot.begin_second(self)  # there are no corrections to tell of

    def answer(self, part: slice) -> Tensor:
        """Return means of what both networks make of some exposures, shape (N, H, W)."""
        exposures, *told = (self.part_of(n, part) for n in ("exposures", "gain", "deviation"))
        maps = (each.view(-1, 1, 1, 1) for each in told)
        trained = self.processor.evaluated(self.network.second, exposures, *maps)
        first = self.processor.evaluated(self.network.first, exposures, *told)
        found = torch.lerp(trained, first, SHARE)
        self.answering.advance(len(found))
        return found

    def losses(self) -> tuple[Tensor, Tensor]:
        if self.stage == 1:
            return super().losses()
        both = torch.cat([self.batch_of("exposures"), self.batch_of("answers")], 1)
        exposure, answer = map(self.processor.batch, flipped(both, self.rng).unbind(1))
        gain, deviation = (each.view(-1, 1, 1, 1) for each in self.told())
        added = self.rng.uniform(0, ADDED, gain.shape)
        spread, raised = (gain * answer + deviation**2).sqrt(), 1 + added**2
        before = unclipped(exposure, answer, spread, self.rng)
        noisy = (before + added * spread * self.rng.normal(size=answer.shape)).clamp(0, 1)
        output = self.processor.output(
            self.network.second, noisy, raised * gain, raised.sqrt() * deviation
        )
        return self.loss(output, answer), mse_loss(output.detach(), answer)


def unclipped(noisy: Tensor, clean: Tensor, spread: Tensor, rng: DeviceGenerator) -> Tensor:
    """Return noisy images, of which white and black pixels have a value that they may have had.

    Else noise that is added to them would take them away from the ends, where they should stay.

    Args:
        noisy, clean: Of the same shape, values in [0, 1].
        spread: Standard deviation of the noise, which is taken as normal, of that shape.
        rng: Draws the values, which are above 1 or below 0.
    """
    below = ndtr((noisy - clean) / spread)  # the probability of less
    chance = rng.random(noisy.shape)
    beyond = torch.where(noisy >= 1, below + chance * (1 - below), chance * below)
    drawn = clean + spread * ndtri(beyond.clamp(1e-6, 1 - 1e-6))
    return torch.where((noisy <= 0) | (noisy >= 1), drawn, noisy)


def learned(
    folder: Path,
    records: Sequence[Record],
    start: str | Path,
    settings: Mapping[str, Any],
    *,
    seed: int,
    processor: Processor,
    checkpoint: Path,
    code: Mapping[str, str],
) -> dict[str, Any]:
    """Return a model that has learned from noisy films, as a file of a model has it.

    Args:
        folder: That of the films.
        records: Of each film: `path`, `height`, `width`, `gain` and `deviation`.
        start: The file of a network of `unet_any`, from which the second one starts.
        settings: Of the method, with those of its `training`.
        seed: Of places, of weights and of all that is drawn in training.
        processor: Where it learns.
        checkpoint: Keeps the progress; a training that was stopped is resumed from it.
        code: Digests of the code, without which nothing is resumed.

    Raises:
        InputError: When the films have too few pixels, or a file can't be read.
    """
    settings, before = dict(settings), load_model(start)
    images = patches_of(folder, records, seed)
    training, noise = bounded(settings.pop("training"), records), mean_noise(records)
    count, films = len(images["exposures"]), number_of(len(large_ones(records)), "film")
    steps, batch = training["steps"], training["batch"]
    log.info("learns from %d parts of %s, %d steps of %d", count, films, steps, batch)
    torch.manual_seed(digest(seed, "initialise", "films"))
    network = networks(settings, noise, network_of(before, str(start)))
    draw = partial(generator, seed, "films")
    recipe = BlindSpotFilms(network, images, noise, training, draw, processor)
    arrays = *images.values(), *before["weights"].values()
    identity = identity_of(processor, arrays, settings, training, seed, dict(code))
    name = f"learning from {films}"
    done = train(recipe, checkpoint=checkpoint, identity=identity, name=name)
    parameters = sum(p.numel() for p in network.parameters())
    cost = {"training_images": done.images, "training_seconds": done.seconds}
    return {
        **{"plugin": before["plugin"], "settings": before["settings"], "noise": noise},
        **{"learned_from": "films", "training": training | ranges(records)},
        **{"weights": second_of(recipe.kept()), "cost": {"parameters": parameters} | cost},
    }


def bounded(training: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Return the settings of training, with a first stage that sees no pixel too often."""
    first = round(training["first"] * training["steps"])
    second = training["steps"] - first
    pixels = sum(map(area, large_ones(records)))
    most = math.ceil(SEEN * pixels / (training["batch"] * sidelength(records) ** 2))
    if most < first:
        fault = f"the films have {pixels:,} pixels to learn from, which are few"
        log.warning("%s: the first stage has %d steps in place of %d", fault, most, first)
        first = most
    return {**training, "steps": first + second, "first": first / (first + second)}


def ranges(records: Sequence[Record]) -> dict[str, list[float]]:
    """Return from and to of the gain and of the deviation that the second network learned from."""
    most = 1 + ADDED**2, math.sqrt(1 + ADDED**2)
    columns = zip(*map(noise_of, records), strict=True)
    return {
        name: [min(column), raised * max(column)]
        for name, column, raised in zip(("gain", "deviation"), columns, most, strict=True)
    }


def mean_noise(records: Sequence[Record]) -> Noise:
    """Return the noise setting of the films' mean variance."""
    gain, deviation = np.mean([noise_of(record) for record in records], axis=0)
    dose = max(1.0, float(1 / gain))
    return {"distribution": "poisson_gaussian", "dose": dose, "electronic": float(deviation)}


def networks(settings: Mapping[str, Any], noise: Noise, start: Trained) -> nn.Module:
    """Return both networks: an untrained one, and a trained one of `unet_any` to start from."""
    both = build_network({**settings, "stages": 1}, noise)
    both.second = start.network.requires_grad_(True)
    return both


def second_of(weights: State) -> State:
    """Return the weights of the second network alone."""
    part = "second."
    return {k.removeprefix(part): value for k, value in weights.items() if k.startswith(part)}
