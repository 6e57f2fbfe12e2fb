"""Denoises the test images of one noise setting with a trained network."""

from engine.job import Snakemake, run
from files.atomic import checkpoint_of, forget
from results.denoising import denoise_test_images, write_cost


def main(snakemake: Snakemake) -> None:
    # Torch looks for GPUs when it is imported, so this waits until the job has its own.
    from training.inference import Denoiser, trained_network

    params, wildcards = snakemake.params, snakemake.wildcards
    network, cost = trained_network(snakemake.input.model)
    milliseconds = denoise_test_images(
        Denoiser(network, params.device, snakemake.threads),
        snakemake.input.noisy,
        snakemake.output.images,
        params.noise if params.inversion else None,
    )
    write_cost(snakemake.output.cost, wildcards.noise, wildcards.method, milliseconds, cost)
    # Only now: a training that is killed at its very end is done again, from its checkpoint.
    forget(checkpoint_of(snakemake.input.model))


if __name__ == "__main__":
    run(main)
