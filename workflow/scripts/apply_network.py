"""Denoises the test images of one noise setting with a trained network."""

from engine.job import Snakemake, run
from results.denoising import denoise_test_images, write_cost
from training.inference import Denoiser, trained_network


def main(snakemake: Snakemake) -> None:
    params, wildcards = snakemake.params, snakemake.wildcards
    network, cost = trained_network(snakemake.input.model)
    milliseconds = denoise_test_images(
        Denoiser(network, params.device, snakemake.threads),
        snakemake.input.noisy,
        snakemake.output.images,
        params.noise if params.inversion else None,
    )
    write_cost(snakemake.output.cost, wildcards.noise, wildcards.method, milliseconds, cost)


if __name__ == "__main__":
    run(main)
