"""Read the images of a data set and resize them to one array."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from engine.job import Snakemake, run
from engine.messages import InputError, Progress
from files.arrays import write_images
from files.tables import write_table
from images.depths import check_depths
from images.reading import SUFFIXES, Depth
from images.resizing import read_film


def resize_images(
    folder: Path,
    size: int,
    images: Path,
    ids: Path,
    threads: int = 1,
    white: float | None = None,
    dataset: str = "NAME",
    fit: str = "squash",
) -> None:
    """Write the images of a folder, 2 before 10, as one array, and their names as a table.

    The memory needed does not grow with the number of images.

    Args:
        size: Width and height of the result, in pixels.
        images: `.npy` file to write: float64 (N, size, size) in [0, 1].
        ids: `.csv` file to write: the column `id`, the N file names without their suffix.
        threads: How many images are read at a time.
        white: The level of white; by default as the files say, see `images.depths`.
        dataset: Name of the data set, for messages.
        fit: How an image that is no square becomes one, see `images.resizing.fitted`.

    Raises:
        InputError: Images cannot be used. All of them are named, and nothing is written.
    """
    paths = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    paths.sort(key=natural)
    if not paths:
        raise InputError(f"{folder} holds no images: delete it, and they are fetched again")
    shape = (len(paths), size, size)
    write_images(images, shape, np.float64, _read_all(paths, size, threads, white, dataset, fit))
    write_table(ids, ({"id": path.stem} for path in paths))


def natural(path: Path) -> tuple[list[str | int], str]:
    """Return what sorts file names as people number them: a number in a name by its value."""
    parts = re.split("([0-9]+)", path.name)
    return [int(part) if n % 2 else part for n, part in enumerate(parts)], path.name


def _read_all(
    paths: list[Path], size: int, threads: int, white: float | None, dataset: str, fit: str
) -> Iterator[np.ndarray]:
    """Yield the images (size, size) in order; an InputError names all that cannot be used."""

    def read_one(path: Path) -> tuple[np.ndarray, Depth] | InputError:
        try:
            return read_film(path, size, white, fit)
        except InputError as error:
            return error

    progress = Progress("resizing images", len(paths))
    faults, depths = [], {}
    # Decoding, copying and the sparse products release the interpreter's lock.
    with ThreadPoolExecutor(threads) as pool:
        for path, result in zip(paths, pool.map(read_one, paths), strict=True):
            progress.advance()
            if isinstance(result, InputError):
                faults.append(str(result))
            else:
                image, depths[path.name] = result
                yield image
    if faults:
        count = f"{len(faults)} of {len(paths)} images cannot be used:"
        raise InputError("\n  ".join([count, *faults]))
    check_depths(depths, dataset)


def main(snakemake: Snakemake) -> None:
    """Resize the folder of images of one data set; see `resize_images`."""
    params, output = snakemake.params, snakemake.output
    resize_images(
        Path(snakemake.input.images),
        params.size,
        Path(output.images),
        Path(output.ids),
        snakemake.threads,
        None if params.white == "auto" else float(params.white),
        snakemake.wildcards.dataset,
        params.fit,
    )


if __name__ == "__main__":
    run(main)
