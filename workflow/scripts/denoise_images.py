"""Denoises the test images of one noise setting with one method, and notes what that costs."""

import importlib
import itertools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.job import run
from files.arrays import StoredImages, write_images
from files.tables import write_table
from noise.models import Noise, clip_inversion

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

BATCH = 128  # images that are denoised at a time
Denoise = Callable[[np.ndarray], np.ndarray]


def trained_denoiser(model: str, device: str, threads: int) -> tuple[Denoise, dict[str, Any]]:
    """Return the network in the file `model` as a function, and what its training cost."""
    # By name, so that the code of networks is no part of what a classical method depends on.
    inference = importlib.import_module("training.inference")
    network, cost = inference.trained_network(model)
    return inference.Denoiser(network, device, threads), cost


def classical_denoiser(
    plugin: str, noise: Noise, settings: Mapping[str, Any], tuning: str | None
) -> Denoise:
    """Return a plug-in's function with its settings; `tuning` is the file of tuned ones."""
    settings = dict(settings)
    if tuning:
        best, *_ = json.loads(Path(tuning).read_text(encoding="utf-8"))
        settings |= best["settings"]
    denoise = importlib.import_module(f"methods.{plugin}").denoise
    return lambda noisy: denoise(noisy, noise, settings)


class Timed:
    """A denoiser that notes the time of the clock, in `seconds`, that it takes."""

    def __init__(self, denoise: Denoise) -> None:
        self.denoise, self.seconds = denoise, 0.0

    def __call__(self, noisy: np.ndarray) -> np.ndarray:
        """Return what the denoiser returns for images of shape (N, H, W)."""
        started = time.perf_counter()
        denoised = self.denoise(noisy)
        self.seconds += time.perf_counter() - started
        return denoised


def main(snakemake: "snakemake") -> None:
    params, inputs, wildcards = snakemake.params, snakemake.input, snakemake.wildcards
    noisy = StoredImages(inputs.noisy)
    cost: dict[str, Any] = dict.fromkeys(["parameters", "training_images", "training_seconds"])
    if inputs.get("model"):
        denoise, cost = trained_denoiser(inputs.model, params.device, snakemake.threads)
    else:
        denoise = classical_denoiser(
            params.plugin, params.noise, params.settings, inputs.get("tuning")
        )
    denoise(next(noisy.batches(1)))  # what is only done once is not counted
    timed = Timed(denoise)
    batches = map(timed, noisy.batches(BATCH))
    if params.inversion:
        batches = map(clip_inversion(params.noise), batches)
    images = itertools.chain.from_iterable(batches)
    write_images(snakemake.output.images, noisy.shape, np.float64, images)

    line = {"noise": wildcards.noise, "method": wildcards.method}
    milliseconds = 1000 * timed.seconds / len(noisy)
    write_table(snakemake.output.cost, [line | cost | {"milliseconds": milliseconds}])


if __name__ == "__main__":
    run(main, snakemake)
