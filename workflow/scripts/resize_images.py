"""Read the images of a data set and resize them to one array."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from engine.job import Snakemake, run
from engine.messages import InputError, Progress
from files.arrays import write_images
from files.tables import write_table
from images.depths import Depth, check_depths
from images.reading import holds_image, image_id
from images.resizing import read_film


def resize_images(
    folder: Path,
    size: int,
    images: Path,
    ids: Path,
    threads: int = 1,
    white: float | None = None,
    dataset: str = "NAME",
    window: bool = False,
    fit: str = "squash",
) -> None:
    """Write the images of a folder, 2 before 10, as one array, and their names as a table.

    The memory needed does not grow with the number of images.

    Args:
        size: Width and height of the result, in pixels.
        images: `.npy` file to write: float64 (N, size, size) in [0, 1].
        ids: `.csv` file to write: the column `id`, the N file names without their suffix, and what
            DICOMs say of how far their pixels lie apart, before they are resized: rows and
            columns in mm, in columns named like the elements of their headers.
        threads: How many images are read at a time.
        white: The level of white; by default as the files say, see `images.depths`.
        dataset: Name of the data set, for messages.
        window: Take the levels through the windows of DICOMs, see `images.dicom`.
        fit: How an image that is no square becomes one, see `images.resizing.fitted`.

    Raises:
        InputError: Images cannot be used. All of them are named, and nothing is written.
    """
    paths = sorted(filter(_is_image, folder.iterdir()), key=natural)
    if not paths:
        raise InputError(f"{folder} holds no images: delete it, and they are fetched again")
    shape = (len(paths), size, size)
    depths: dict[str, Depth] = {}
    read_one = partial(read_film, size=size, white=white, window=window, fit=fit)
    read = _read_all(paths, threads, depths, dataset, read_one)
    write_images(images, shape, np.float64, read)
    spacings = [depths[path.name].spacings for path in paths]
    known = dict.fromkeys(chain(*spacings))
    write_table(
        ids,
        (
            {"id": image_id(path.name)} | {key: found.get(key) for key in known}
            for path, found in zip(paths, spacings, strict=True)
        ),
    )


def natural(path: Path) -> tuple[list[str | int], str]:
    """Return what sorts file names as people number them: a number in a name by its value."""
    parts = re.split("([0-9]+)", path.name)
    return [int(part) if n % 2 else part for n, part in enumerate(parts)], path.name


def _is_image(path: Path) -> bool:
    with path.open("rb") as file:
        return holds_image(path.name, file.read(132))


def _read_all(
    paths: list[Path],
    threads: int,
    depths: dict[str, Depth],
    dataset: str,
    read: Callable[[Path], tuple[np.ndarray, Depth]],
) -> Iterator[np.ndarray]:
    """Yield the images (size, size) in order, and put their depths by file name into `depths`.

    An InputError names all that cannot be used.
    """

    def read_one(path: Path) -> tuple[np.ndarray, Depth] | InputError:
        try:
            return read(path)
        except InputError as error:
            return error

    progress = Progress("resizing images", len(paths))
    faults = []
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
        params.window,
        params.fit,
    )


if __name__ == "__main__":
    run(main)
