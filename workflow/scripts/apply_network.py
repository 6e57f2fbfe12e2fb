"""Denoises the test images of one noise setting with a trained network."""

import importlib

import numpy as np
import torch
from torch import nn

from engine.job import Snakemake, run
from engine.messages import InputError
from files.tensors import load_tensors
from results.denoising import denoise_test_images, write_cost
from training.devices import torch_device
from training.processor import Processor


def trained_network(model: str) -> tuple[nn.Module, dict[str, float]]:
    """Return the network in the file `model`, and what its training cost.

    Raises:
        InputError: When the file holds no model, or one that this code does not fit.
    """
    remedy = "delete it and run the same command again: it is trained again"
    try:
        saved = load_tensors(model)
        plugin = importlib.import_module(f"methods.{saved['plugin']}")
        network = plugin.build_network(saved["settings"], saved["noise"])
        network.load_state_dict(saved["weights"])
        return network, saved["cost"]
    except InputError as error:
        raise InputError(f"{error}; {remedy}") from error
    except (KeyError, TypeError, ImportError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{model} holds no model of this workflow ({reason}); {remedy}") from error


def main(snakemake: Snakemake) -> None:
    params, wildcards = snakemake.params, snakemake.wildcards
    network, cost = trained_network(snakemake.input.model)
    torch.set_num_threads(snakemake.threads)
    processor = Processor(torch_device(params.device))

    def denoise(noisy: np.ndarray) -> np.ndarray:
        return processor.evaluated(network, noisy).cpu().numpy()

    noisy, images = snakemake.input.noisy, snakemake.output.images
    inverted = params.noise if params.inversion else None
    milliseconds = denoise_test_images(denoise, noisy, images, inverted)
    write_cost(snakemake.output.cost, wildcards.noise, wildcards.method, milliseconds, cost)


if __name__ == "__main__":
    run(main)
