"""Denoises the test images of one noise setting with a trained network."""

import numpy as np

from engine.job import Snakemake, run
from files.atomic import checkpoint_of, forget
from results.denoising import denoise_test_images, write_cost


def main(snakemake: Snakemake) -> None:
    # Torch looks for GPUs when it is imported, so this waits until the job has its own.
    import torch

    from training.devices import torch_device
    from training.inference import trained_network
    from training.processor import Processor

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
    # Only now: a training that is killed at its very end is done again, from its checkpoint.
    forget(checkpoint_of(snakemake.input.model))


if __name__ == "__main__":
    run(main)
