"""Splits a data set in file-name order: the first images train, the others test."""

from typing import TYPE_CHECKING

import numpy as np

from common.files import replacing
from common.job import InputError, run
from common.split import read_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def parts(images: int, train: int) -> dict[str, slice]:
    """Return which of `images` images are for training and which for the test.

    Raises:
        InputError: When none would be left for the test.
    """
    if not 0 < train < images:
        raise InputError(
            f"the data set has {images} images, of which train: {train} are for training; "
            f"allowed: 1 to {images - 1}"
        )
    return {"train": slice(0, train), "test": slice(train, images)}


def main(snakemake: "snakemake") -> None:
    images = np.load(snakemake.input.images, mmap_mode="r")
    split = read_table(snakemake.input.ids)
    for name, part in parts(len(images), snakemake.params.train).items():
        split.loc[split.index[part], "part"] = name
        with replacing(snakemake.output[name]) as path:
            np.save(path, images[part])
    with replacing(snakemake.output.split) as path:
        split.to_csv(path, index=False)


if __name__ == "__main__":
    run(main, snakemake)
