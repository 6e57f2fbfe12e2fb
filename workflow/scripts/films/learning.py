"""Learning from noisy films alone: parts of them, and the recipe that trains on these.

The two stages are those of `recipes.blind_spot_estimated`, but each film has a noise of its own,
which is known before. The second network starts from one that is trained already.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.messages import InputError, Progress, log, number_of
from files.models import load_model
from films.strips import Film, open_film
from methods.blind_spot_estimated import build_network
from noise.models import Noise
from noise.seeds import digest, generator
from recipes.blind_spot import BlindSpot
from recipes.blind_spot_estimated import LEAST, BlindSpotEstimated
from training.loop import identity_of, train
from training.networks import Trained, network_of
from training.processor import Processor
from training.recipe import State

Record = Mapping[str, Any]
SIDE, GRID = 128, 16  # pixels of a patch; of a smaller one, if all films are smaller
MOST = 1024  # patches, of all films together: 67 MB
REPEATED = 4  # so many patches at most may show the same pixel, on average
FEWEST = 250_000  # pixels to learn from
SWEEPS, CANDIDATES = 2, 3  # times that a film is read; patches to choose each one from
BLOCK = 8  # pixels: over so many squared, noise hardly counts
NEAR_END = 0.02  # grey levels that count as black or white
EMPTY, SELDOM = 0.9, 0.1  # share of a patch that makes it empty; its chance beside that of others
SECOND_RATE = 0.25  # the learning rate of the second stage, relative to that of the first
VARIED = 0.8, 1.25  # factors of each film's gain and deviation in the second stage


class BlindSpotFilms(BlindSpotEstimated):
    """The arrays `exposures`, `gain` and `deviation` are given: each patch has its film's noise.

    The setting `noises`, gain and deviation of each film, is what the second stage draws from.
    """

    def __post_init__(self) -> None:
        # Of all films together: but each one has an estimate of its own.
        self.network.first.likelihoods.corrections.requires_grad_(False)
        super().__post_init__()
        self.noises = self.processor.tensor(self.settings["noises"])  # (films, 2)

    def exposed(self) -> dict[str, np.ndarray]:
        return dict(self.images)

    def learning_rate(self, step: int) -> float:
        return super().learning_rate(step) * (SECOND_RATE if step >= self.first_steps else 1)

    def begin_second(self) -> None:
        self.answering = Progress("the first stage answers, patches", self.count)
        BlindSpot.begin_second(self)  # there are no corrections to tell of

    def answer(self, part: slice) -> Tensor:
        found = super().answer(part)
        self.answering.advance(len(found))
        return found

    def told(self) -> tuple[Tensor, ...]:
        if self.stage == 1:
            return super().told()
        count = len(self.indices)
        films = self.noises[self.rng.integers(0, len(self.noises), (count,))]
        low, high = map(math.log, VARIED)
        return (films * self.rng.uniform(low, high, (count, 2)).exp()).unbind(1)


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
    training, noise = settings.pop("training"), mean_noise(records)
    images = patches_of(folder, records, seed)
    count, films = len(images["exposures"]), number_of(len(large_ones(records)), "film")
    steps, batch = training["steps"], training["batch"]
    log.info("learns from %d parts of %s, %d steps of %d", count, films, steps, batch)
    torch.manual_seed(digest(seed, "initialise", "films"))
    network = networks(settings, noise, network_of(before, str(start)))
    draw = partial(generator, seed, "films")
    noises = {"noises": [noise_of(record) for record in records]}
    recipe = BlindSpotFilms(network, images, noise, training | noises, draw, processor)
    arrays = *images.values(), *before["weights"].values()
    identity = identity_of(processor, arrays, settings, training, noises, seed, dict(code))
    name = f"learning from {films}"
    done = train(recipe, checkpoint=checkpoint, identity=identity, name=name)
    parameters = sum(p.numel() for p in network.parameters())
    cost = {"training_images": done.images, "training_seconds": done.seconds}
    return {
        **{"plugin": before["plugin"], "settings": before["settings"], "noise": noise},
        **{"learned_from": "films", "training": training | ranges(records)},
        **{"weights": second_of(recipe.kept()), "cost": {"parameters": parameters} | cost},
    }


def noise_of(record: Record) -> tuple[float, float]:
    """Return gain and deviation of a film's noise, as the likelihoods can have them."""
    gain, deviation = (max(record[k], e) for k, e in zip(("gain", "deviation"), LEAST, strict=True))
    return gain, deviation


def ranges(records: Sequence[Record]) -> dict[str, list[float]]:
    """Return from and to of the gain and of the deviation that the second stage draws."""
    low, high = VARIED
    columns = zip(*map(noise_of, records), strict=True)
    return {
        name: [low * min(column), high * max(column)]
        for name, column in zip(("gain", "deviation"), columns, strict=True)
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


def patches_of(folder: Path, records: Sequence[Record], seed: int) -> dict[str, np.ndarray]:
    """Return patches from all over the films, and the noise of each.

    Args are those of `learned`.

    Returns:
        `exposures`, float32 (N, side, side) in [0, 1], N at most `MOST` and side at most `SIDE`,
        `gain` and `deviation`, float32 (N,). Films smaller than that side are left out, if there
        are others.

    Raises:
        InputError: When the films have too few pixels, or one can't be read.
    """
    side, chosen = sidelength(records), large_ones(records)
    areas = np.array([record["height"] * record["width"] for record in chosen])
    if areas.sum() < FEWEST:
        raise InputError(
            f"the films have {areas.sum():,} pixels together, too few to learn from (at least "
            f"{FEWEST:,} are needed): add films of the same kind, or take a network that is "
            "trained, METHOD=unet_any"
        )
    total = min(MOST, REPEATED * areas.sum() // side**2)
    counts = np.diff(np.rint(total * np.cumsum(areas) / areas.sum()).astype(int), prepend=0)
    exposures = np.empty((total, side, side), np.float32)
    noises, done = np.empty((2, total), np.float32), 0
    progress = Progress("reading films to learn from", len(chosen))
    for record, count in zip(chosen, counts.tolist(), strict=True):
        part = slice(done, done := done + count)
        noises[:, part] = np.reshape(noise_of(record), (2, 1))
        if count:
            film = open_film(folder / record["path"], record["white"])
            rng = generator(seed, "patch", record["path"])
            exposures[part] = drawn(film, noise_of(record), count, side, rng)
        progress.advance()
    return {"exposures": exposures, "gain": noises[0], "deviation": noises[1]}


def shortest(record: Record) -> int:
    """Return a film's shorter side."""
    return min(record["height"], record["width"])


def sidelength(records: Sequence[Record]) -> int:
    """Return the side of patches: `SIDE`, or less if no film is so large."""
    return min(SIDE, max(map(shortest, records)) // GRID * GRID)


def large_ones(records: Sequence[Record]) -> list[Record]:
    """Return the films that are as large as a patch."""
    return [record for record in records if shortest(record) >= sidelength(records)]


def drawn(
    film: Film, noise: tuple[float, float], count: int, side: int, rng: np.random.Generator
) -> np.ndarray:
    """Return patches from anywhere in a film, float32 (count, side, side); few of them are empty.

    It is read in bands that are as high as a patch, from top to bottom, `SWEEPS` times.
    """
    height, width = film.shape
    each = math.ceil(CANDIDATES * count / (SWEEPS * (height // side)))
    kept, keys = np.empty((0, side, side), np.float32), np.empty(0)
    for _ in range(SWEEPS):
        for top in range(rng.integers(height % side + 1), height - side + 1, side):
            rows = film.rows(top, top + side)
            lefts = rng.integers(width - side + 1, size=each)
            kept = np.concatenate([kept, [rows[:, left : left + side] for left in lefts]])
            # Of the greatest keys, since these are as if one was drawn after the other, each time
            # by the chances of those that are left (Efraimidis and Spirakis, 2006).
            chances = np.where(is_empty(kept[len(keys) :], *noise), SELDOM, 1.0)
            keys = np.concatenate([keys, np.log(rng.random(each)) / chances])
            best = np.argsort(-keys)[:count]
            kept, keys = kept[best], keys[best]
    return kept


def is_empty(patches: np.ndarray, gain: float, deviation: float) -> np.ndarray:
    """Say which patches (N, side, side) are black or white nearly everywhere, shape (N,)."""
    count, side, _ = patches.shape
    blocks = patches[:, : side // BLOCK * BLOCK, : side // BLOCK * BLOCK]
    means = blocks.reshape(count, side // BLOCK, BLOCK, -1, BLOCK).mean(axis=(2, 4))
    # The mean of clipped noise is 0.4 deviations away from the end.
    black = means < NEAR_END + 0.4 * deviation
    white = means > 1 - NEAR_END - 0.4 * math.sqrt(gain + deviation**2)
    return (black | white).mean(axis=(1, 2)) > EMPTY
