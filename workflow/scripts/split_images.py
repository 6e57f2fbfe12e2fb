"""Splits a data set in the order of its images: the first ones train, the others test."""

from itertools import islice

from engine.job import Snakemake, run
from engine.messages import InputError, log
from files.arrays import StoredImages, write_images
from files.tables import read_table, write_table


def parts(images: int, train: int) -> dict[str, int]:
    """Return how many of `images` images are for training, and how many after these for the test.

    Raises:
        InputError: When none would be left for the test.
    """
    if not 0 < train < images:
        raise InputError(
            f"the data set has {images} images, of which train: {train} are for training; "
            f"allowed: 1 to {images - 1}"
        )
    return {"train": train, "test": images - train}


def main(snakemake: Snakemake) -> None:
    images = StoredImages(snakemake.input.images)
    remaining, names = iter(images), []
    for part, count in parts(len(images), snakemake.params.train).items():
        shape = (count, *images.shape[1:])
        write_images(snakemake.output[part], shape, images.dtype, islice(remaining, count))
        names += [part] * count
    ids = read_table(snakemake.input.ids)
    for part in dict.fromkeys(names):
        found = [line["id"] for line, other in zip(ids, names, strict=True) if other == part]
        log.info("%s: %d images, %s to %s", part, len(found), found[0], found[-1])
    split = [line | {"part": part} for line, part in zip(ids, names, strict=True)]
    write_table(snakemake.output.split, split)


if __name__ == "__main__":
    run(main)
