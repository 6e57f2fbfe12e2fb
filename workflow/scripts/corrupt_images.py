"""Writes the corrupted set of one noise setting: its training or its test images."""

from collections.abc import Iterator, Sequence

import numpy as np

from engine.job import Snakemake, run
from files.arrays import StoredImages, write_images
from files.tables import ids_of
from noise.models import Noise, corrupt
from noise.seeds import generator, replicate


def corrupted(
    images: StoredImages, ids: Sequence[str], noise: Noise, seed: int, *purpose: str
) -> Iterator[np.ndarray]:
    """Yield noisy images, shape (H, W), in [0, 1], one after the other.

    Args:
        images: Clean images; those of one id stand one after the other, equally many for each.
        ids: What the images are called.
        noise, seed: The noise setting, and the configuration's seed.
        purpose: Besides the id, what the noise of an image depends on.
    """
    copies = len(images) // len(ids)  # a training image stands several times, augmented
    for name, arrays in zip(ids, images.batches(copies), strict=True):
        # A generator for each image: its noise does not depend on which others there are.
        yield from corrupt(arrays, noise, generator(seed, "noise", *purpose, name))


def main(snakemake: Snakemake) -> None:
    wildcards, params = snakemake.wildcards, snakemake.params
    images = StoredImages(snakemake.input.images)
    ids = ids_of(wildcards.part, snakemake.input.split)
    purpose = wildcards.noise, wildcards.part, *replicate(wildcards.draw)
    noisy = corrupted(images, ids, params.noise, params.seed, *purpose)
    write_images(snakemake.output.images, images.shape, images.dtype, noisy)


if __name__ == "__main__":
    run(main)
