"""Denoises the test images of one noise setting with one method."""

import importlib
from typing import TYPE_CHECKING

import numpy as np

from common.files import replacing
from common.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def network_output(model: str, noisy: np.ndarray, device: str, threads: int) -> np.ndarray:
    """Return what the trained network in the file `model` makes of images of shape (N, H, W)."""
    # Only trained methods need torch, which takes seconds to import.
    import torch

    from common.devices import torch_device
    from common.training import apply

    torch.set_num_threads(threads)
    saved = torch.load(model, weights_only=True, map_location="cpu")
    plugin = importlib.import_module(f"methods.{saved['plugin']}")
    network = plugin.build_network(saved["settings"])
    network.load_state_dict(saved["weights"])
    return apply(network, noisy, torch_device(device))


def main(snakemake: "snakemake") -> None:
    params = snakemake.params
    noisy = np.load(snakemake.input.noisy)
    if snakemake.input.get("model"):
        denoised = network_output(snakemake.input.model, noisy, params.device, snakemake.threads)
    else:
        plugin = importlib.import_module(f"methods.{params.plugin}")
        denoised = plugin.denoise(noisy, params.noise, params.settings)
    with replacing(snakemake.output.images) as path:
        np.save(path, denoised.astype(np.float64))


if __name__ == "__main__":
    run(main, snakemake)
