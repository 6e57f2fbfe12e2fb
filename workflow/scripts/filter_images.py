"""Denoises the test images of one noise setting with a classical method."""

import importlib
from functools import partial

from engine.job import Snakemake, check_code, run
from files.jsons import read_json
from results.denoising import denoise_test_images, write_cost


def main(snakemake: Snakemake) -> None:
    params, wildcards = snakemake.params, snakemake.wildcards
    settings = dict(params.settings)
    if tuning := snakemake.input.get("tuning"):
        best, *_ = read_json(tuning)
        settings |= best["settings"]
    plugin = importlib.import_module(f"methods.{params.plugin}")
    denoise = partial(plugin.denoise, noise=params.noise, settings=settings)
    noisy, images = snakemake.input.noisy, snakemake.output.images
    inverted = params.noise if params.inversion else None
    milliseconds = denoise_test_images(denoise, noisy, images, inverted, snakemake.threads)
    check_code(params.code)  # which the processes of a pool have imported by themselves
    write_cost(snakemake.output.cost, wildcards.noise, wildcards.method, milliseconds, {})


if __name__ == "__main__":
    run(main)
