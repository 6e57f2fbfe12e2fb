"""Denoises the test images of one noise setting with a trained network."""

import numpy as np
import torch

from engine.job import Snakemake, run
from results.denoising import denoise_test_images, write_cost
from training.devices import torch_device
from training.inference import trained_network
from training.processor import Processor


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
