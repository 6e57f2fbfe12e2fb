"""Read the images of a data set and resize them to one array."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from common.files import replacing
from common.images import SUFFIXES, read_resized
from common.job import InputError, Progress, run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def resize_images(folder: Path, size: int, images: Path, ids: Path, threads: int = 1) -> None:
    """Write the images of a folder, in file-name order, as one array, and their names as a table.

    The memory needed does not grow with the number of images.

    Args:
        folder: Folder of images.
        size: Width and height of the result, in pixels.
        images: `.npy` file to write: float64 (N, size, size) in [0, 1].
        ids: `.csv` file to write: the column `id`, the N file names without their suffix.
        threads: How many images are read at a time.

    Raises:
        InputError: Images cannot be used. All of them are named, and nothing is written.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(f"{folder} holds no images: delete it, and they are fetched again")
    with replacing(images) as array_file, replacing(ids) as ids_file:
        shape = (len(paths), size, size)
        array = np.lib.format.open_memmap(array_file, mode="w+", dtype=np.float64, shape=shape)
        _fill(array, paths, threads)
        array.flush()
        pd.DataFrame({"id": [path.stem for path in paths]}).to_csv(ids_file, index=False)


def _fill(array: np.ndarray, paths: list[Path], threads: int) -> None:
    """Read `paths` into `array` (N, size, size); an InputError names all that cannot be used."""

    def fill_one(index: int) -> str | None:
        try:
            array[index] = read_resized(paths[index], array.shape[-1])
        except InputError as error:
            return str(error)

    progress = Progress("resizing images", len(paths))
    faults = []
    # Decoding, copying and the sparse products release the interpreter's lock.
    with ThreadPoolExecutor(threads) as pool:
        for fault in pool.map(fill_one, range(len(paths))):
            progress.advance()
            faults += [fault] if fault else []
    if faults:
        count = f"{len(faults)} of {len(paths)} images cannot be used:"
        raise InputError("\n  ".join([count, *faults]))


def main(snakemake: "snakemake") -> None:
    """Resize the folder of images of one data set; see `resize_images`."""
    resize_images(
        Path(snakemake.input.images),
        int(snakemake.params.size),
        Path(snakemake.output.images),
        Path(snakemake.output.ids),
        snakemake.threads,
    )


if __name__ == "__main__":
    run(main, snakemake)
