"""Denoises the test images of one noise setting with one method, and notes what that costs."""

import importlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from common.files import replacing
from common.job import run
from common.noise_models import Noise, clip_inversion

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

Denoise = Callable[[np.ndarray], np.ndarray]


def trained_denoiser(model: str, device: str, threads: int) -> tuple[Denoise, dict[str, Any]]:
    """Return the network in the file `model` as a function, and what its training cost."""
    # By name, so that the code of networks is no part of what a classical method depends on.
    inference = importlib.import_module("common.inference")
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


def milliseconds_an_image(denoise: Denoise, noisy: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the denoised images, shape (N, H, W), and the time of the clock that each took."""
    denoise(noisy[:1])  # what is only done once is not counted
    started = time.perf_counter()
    denoised = denoise(noisy)
    return denoised, 1000 * (time.perf_counter() - started) / len(noisy)


def main(snakemake: "snakemake") -> None:
    params, inputs, wildcards = snakemake.params, snakemake.input, snakemake.wildcards
    noisy = np.load(inputs.noisy)
    cost: dict[str, Any] = dict.fromkeys(["parameters", "training_images", "training_seconds"])
    if inputs.get("model"):
        denoise, cost = trained_denoiser(inputs.model, params.device, snakemake.threads)
    else:
        denoise = classical_denoiser(
            params.plugin, params.noise, params.settings, inputs.get("tuning")
        )
    denoised, milliseconds = milliseconds_an_image(denoise, noisy)
    if params.inversion:
        denoised = clip_inversion(params.noise)(denoised)

    with replacing(snakemake.output.images) as path:
        np.save(path, denoised.astype(np.float64))
    with replacing(snakemake.output.cost) as path:
        line = {"noise": wildcards.noise, "method": wildcards.method}
        pd.DataFrame([line | cost | {"milliseconds": milliseconds}]).to_csv(path, index=False)


if __name__ == "__main__":
    run(main, snakemake)
