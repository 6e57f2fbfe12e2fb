"""Denoises the test images of one noise setting with a trained network."""

import numpy as np

from engine.job import Snakemake, run
from files.atomic import checkpoint_of, forget
from noise.models import gain_and_deviation
from results.denoising import denoise_test_images, write_cost


def main(snakemake: Snakemake) -> None:
    # Torch looks for GPUs when it is imported, so this waits until the job has its own.
    import torch

    from training.devices import torch_device
    from training.networks import trained_network
    from training.processor import Processor

    params, wildcards = snakemake.params, snakemake.wildcards
    trained = trained_network(snakemake.input.model, params.given)
    if params.given:
        trained.require(params.plugin, params.learns_from, params.noise)
    told = gain_and_deviation(params.told) if trained.conditioned and params.told else None
    torch.set_num_threads(snakemake.threads)
    processor = Processor(torch_device(params.device))

    def denoise(noisy: np.ndarray) -> np.ndarray:
        return trained.estimates(processor, noisy, told)

    noisy, images = snakemake.input.noisy, snakemake.output.images
    milliseconds = denoise_test_images(denoise, noisy, images)
    write_cost(snakemake.output.cost, wildcards.noise, wildcards.method, milliseconds, trained.cost)
    if not params.given:
        # Only now: a training that is killed at its very end is done again, from its checkpoint.
        forget(checkpoint_of(snakemake.input.model))


if __name__ == "__main__":
    run(main)
