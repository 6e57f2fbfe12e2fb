"""Read the images of a data set and resize them to one array."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from engine.job import Snakemake, run
from engine.messages import InputError, Progress
from files.arrays import write_images
from files.tables import write_table
from images.reading import SUFFIXES
from images.resizing import read_resized


def resize_images(folder: Path, size: int, images: Path, ids: Path, threads: int = 1) -> None:
    """Write the images of a folder, in file-name order, as one array, and their names as a table.

    The memory needed does not grow with the number of images.

    Args:
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
    shape = (len(paths), size, size)
    write_images(images, shape, np.float64, _read_all(paths, size, threads))
    write_table(ids, ({"id": path.stem} for path in paths))


def _read_all(paths: list[Path], size: int, threads: int) -> Iterator[np.ndarray]:
    """Yield the images (size, size) in order; an InputError names all that cannot be used."""

    def read_one(path: Path) -> np.ndarray | InputError:
        try:
            return read_resized(path, size)
        except InputError as error:
            return error

    progress = Progress("resizing images", len(paths))
    faults = []
    # Decoding, copying and the sparse products release the interpreter's lock.
    with ThreadPoolExecutor(threads) as pool:
        for result in pool.map(read_one, paths):
            progress.advance()
            if isinstance(result, InputError):
                faults.append(str(result))
            else:
                yield result
    if faults:
        count = f"{len(faults)} of {len(paths)} images cannot be used:"
        raise InputError("\n  ".join([count, *faults]))


def main(snakemake: Snakemake) -> None:
    """Resize the folder of images of one data set; see `resize_images`."""
    folder, size, output = snakemake.input.images, snakemake.params.size, snakemake.output
    resize_images(Path(folder), size, Path(output.images), Path(output.ids), snakemake.threads)


if __name__ == "__main__":
    run(main)
