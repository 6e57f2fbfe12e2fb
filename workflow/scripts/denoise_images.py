"""Denoises the test images of one noise setting with one method, and notes what that costs."""

import importlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from common.files import replacing
from common.job import run
from common.noise_models import invert_clipping

if TYPE_CHECKING:
    import torch
    from snakemake.iocontainers import snakemake


def trained_network(model: str) -> tuple["torch.nn.Module", dict[str, float]]:
    """Return the network in the file `model`, and what its training cost."""
    # Only trained methods need torch, which takes seconds to import.
    import torch

    saved = torch.load(model, weights_only=True, map_location="cpu")
    plugin = importlib.import_module(f"methods.{saved['plugin']}")
    network = plugin.build_network(saved["settings"], saved["noise"])
    network.load_state_dict(saved["weights"])
    return network, saved["cost"]


def network_output(
    network: "torch.nn.Module", noisy: np.ndarray, device: str, threads: int
) -> np.ndarray:
    """Return what a network makes of images of shape (N, H, W), in single precision."""
    import torch

    from common.devices import torch_device
    from common.training import Processor, apply

    torch.set_num_threads(threads)
    return apply(network, noisy, Processor(torch_device(device)))


def main(snakemake: "snakemake") -> None:
    params, wildcards = snakemake.params, snakemake.wildcards
    noisy = np.load(snakemake.input.noisy)
    cost: dict[str, Any] = dict.fromkeys(["parameters", "training_images", "training_seconds"])
    if snakemake.input.get("model"):
        network, cost = trained_network(snakemake.input.model)
        started = time.monotonic()
        denoised = network_output(network, noisy, params.device, snakemake.threads)
    else:
        settings = dict(params.settings)
        if snakemake.input.get("tuning"):
            tuning = Path(snakemake.input.tuning).read_text(encoding="utf-8")
            settings |= json.loads(tuning)[0]["settings"]  # the best comes first
        plugin = importlib.import_module(f"methods.{params.plugin}")
        started = time.monotonic()
        denoised = plugin.denoise(noisy, params.noise, settings)
    if params.inversion:
        denoised = invert_clipping(denoised, params.noise)
    milliseconds = 1000 * (time.monotonic() - started) / len(noisy)

    with replacing(snakemake.output.images) as path:
        np.save(path, denoised.astype(np.float64))
    with replacing(snakemake.output.cost) as path:
        line = {"noise": wildcards.noise, "method": wildcards.method}
        pd.DataFrame([line | cost | {"milliseconds": milliseconds}]).to_csv(path, index=False)


if __name__ == "__main__":
    run(main, snakemake)
