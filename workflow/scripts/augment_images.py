"""Augments the training images, as in the published experiment."""

import numpy as np
from skimage.transform import rotate

from engine.job import Snakemake, run
from engine.learning import require_images
from files.arrays import StoredImages, write_images
from files.tables import ids_of
from noise.seeds import generator

COPIES = 5  # arrays that an image becomes


def augmented(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the five arrays of one image, in the published order.

    Args:
        image: Shape (H, W), values in [0, 1].
        rng: Draws the two angles.

    Returns:
        Shape (5, H, W): the image, flipped left-right, flipped up-down, rotated by whole degrees
        in [0, 90) and in [91, 180), corners filled with 0.
    """
    turned = [rotate(image, int(rng.integers(*degrees))) for degrees in ((0, 90), (91, 180))]
    return np.stack([image, image[:, ::-1], image[::-1], *turned])


def main(snakemake: Snakemake) -> None:
    images = StoredImages(snakemake.input.images)
    require_images(images, snakemake.input.images, snakemake)
    ids = ids_of("train", snakemake.input.split)
    arrays = (
        array
        for image, name in zip(images, ids, strict=True)
        for array in augmented(image, generator(snakemake.params.seed, "augment", name))
    )
    shape = (COPIES * len(images), *images.shape[1:])
    # Networks train in single precision: half the disk and memory.
    write_images(snakemake.output.images, shape, np.float32, arrays)


if __name__ == "__main__":
    run(main)
