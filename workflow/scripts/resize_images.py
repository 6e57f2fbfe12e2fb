"""Read the images of a data set and resize them to one array."""

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from engine.job import Snakemake, run
from engine.messages import InputError, Progress, some
from files.arrays import write_images
from files.atomic import file_digest
from files.tables import read_table, write_table
from images.depths import Depth, check_depths, white_given
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
        ids: `.csv` file to write: the column `id`, the N paths in the folder, without suffix, and
            what DICOMs say of how far their pixels lie apart, before they are resized: rows
            and columns in mm, in columns named like the elements of their headers.
        threads: How many images are read at a time.
        white: The level of white; by default as the files say, see `images.depths`.
        dataset: Name of the data set, for messages.
        window: Take the levels through the windows of DICOMs, see `images.dicom`.
        fit: How an image that is no square becomes one, see `images.resizing.fitted`.

    Raises:
        InputError: Images cannot be used. All of them are named, and nothing is written.
    """
    paths = sorted((p.relative_to(folder) for p in folder.rglob("*") if _is_image(p)), key=natural)
    if not paths:
        raise InputError(f"{folder} holds no images: delete it, and they are fetched again")
    shape = (len(paths), size, size)
    depths: dict[str, Depth] = {}
    read_one = partial(read_film, size=size, white=white, window=window, fit=fit)
    read = _read_all(folder, paths, threads, depths, dataset, read_one)
    write_images(images, shape, np.float64, read)
    spacings = {path: depths[str(path)].spacings for path in paths}
    known = dict.fromkeys(chain(*spacings.values()))
    write_table(
        ids,
        (
            {"id": path.with_name(image_id(path.name)).as_posix()}
            | {key: found.get(key) for key in known}
            for path, found in spacings.items()
        ),
    )


def natural(path: Path) -> list[tuple[list[str | int], str]]:
    """Return what sorts paths as people number them: a number in a name by its value."""
    parts = [re.split("([0-9]+)", name) for name in path.parts]
    numbers = [[int(part) if n % 2 else part for n, part in enumerate(name)] for name in parts]
    return list(zip(numbers, path.parts, strict=True))


def check_unchanged(folder: Path, digests: Mapping[str, str], threads: int = 1) -> None:
    """Refuse a folder of images of which a file is not what it was when it was fetched.

    Images of another size were perhaps made of what it was, and a folder of one's own is read in
    place, through links.

    Args:
        digests: SHA-256 by path in the folder.
        threads: How many files are read at a time.

    Raises:
        InputError: Naming the files, and how to fetch all again.
    """

    def fault(name: str) -> str | None:
        try:
            return None if file_digest(folder / name) == digests[name] else "changed"
        except FileNotFoundError:
            return "is gone"

    with ThreadPoolExecutor(threads) as pool:
        found = zip(digests, pool.map(fault, digests), strict=True)
        faults = [f"{(folder / name).resolve()} {what}" for name, what in found if what]
    if faults:
        raise InputError(
            f"{some(faults)}: put back what was fetched, or add the option --forcerun "
            "fetch_images, to fetch all images again and make again what depends on them"
        )


def _is_image(path: Path) -> bool:
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return holds_image(path.name, file.read(132))


def _read_all(
    folder: Path,
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
            return read(folder / path)
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
                image, depths[str(path)] = result
                yield image
    if faults:
        count = f"{len(faults)} of {len(paths)} images cannot be used:"
        raise InputError("\n  ".join([count, *faults]))
    check_depths(depths, dataset)


def main(snakemake: Snakemake) -> None:
    """Resize the folder of images of one data set; see `resize_images`."""
    params, output = snakemake.params, snakemake.output
    folder = Path(snakemake.input.images)
    digests = {line["file"]: line["sha256"] for line in read_table(snakemake.input.checksums)}
    check_unchanged(folder, digests, snakemake.threads)
    resize_images(
        folder,
        params.size,
        Path(output.images),
        Path(output.ids),
        snakemake.threads,
        white_given(params.white),
        snakemake.wildcards.dataset,
        params.window,
        params.fit,
    )


if __name__ == "__main__":
    run(main)
