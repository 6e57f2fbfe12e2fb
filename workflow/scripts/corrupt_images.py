"""Writes the corrupted set of one noise setting: its training or its test images."""

from typing import TYPE_CHECKING

import numpy as np

from common.files import replacing
from common.job import run
from common.noise_models import corrupt
from common.seeds import generator
from common.split import ids_of

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake: "snakemake") -> None:
    noise, part, seed = snakemake.wildcards.noise, snakemake.wildcards.part, snakemake.params.seed
    images = np.load(snakemake.input.images, mmap_mode="r")
    ids = ids_of(part, snakemake.input.split)
    copies = len(images) // len(ids)  # a training image stands several times, augmented
    with replacing(snakemake.output.images) as path:
        result = np.lib.format.open_memmap(path, "w+", images.dtype, images.shape)
        for index, name in enumerate(ids):
            arrays = slice(copies * index, copies * (index + 1))
            # A generator for each image: its noise does not depend on which others there are.
            rng = generator(seed, "noise", noise, part, name)
            result[arrays] = corrupt(images[arrays], snakemake.params.noise, rng)
        result.flush()


if __name__ == "__main__":
    run(main, snakemake)
