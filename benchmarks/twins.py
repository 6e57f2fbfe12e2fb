"""Measure how well films are found that a data set has twice, and what many films take.

Twins are planted among phantoms: turned, cropped, scaled, at another exposure and compressed, all
at once. With `--images FOLDER` the real images are searched too. Writes
`benchmarks/results/twins.md`; takes ten minutes of one core for 400 phantoms. Needs what the
workflow needs.
"""

import argparse
import io
import itertools
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

import images.twins as search
from files.arrays import StoredImages
from files.atomic import write_text
from files.pools import each
from images import films
from images.reading import SUFFIXES
from images.resizing import read_resized, resize
from noise.seeds import generator
from render_phantom import render
from results.pages import markdown

RESULT = Path(__file__).resolve().parent / "results" / "twins.md"
SIZE = 128
FIXED_ON = 77  # the seed of the phantoms on which the limits of the search were chosen
TRAIN = 320  # of the real images, as published


def altered(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return another copy of a film (size, size) in [0, 1], of a slightly smaller shape.

    It is turned by up to 3 degrees, scaled and cropped by up to 5 %, has a gamma of 0.7 to 1.4 and
    went through JPEG of quality 50 to 95.
    """
    angle, scale = np.deg2rad(rng.uniform(-3, 3)), rng.uniform(0.95, 1.05)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    centre = np.full(2, (len(image) - 1) / 2)
    turned = ndimage.affine_transform(image, turn, centre - turn @ centre, order=1)
    height, width = (round(len(image) * rng.uniform(0.95, 1)) for _ in range(2))
    top, left = rng.integers(0, len(image) - height + 1), rng.integers(0, len(image) - width + 1)
    cropped = turned[top : top + height, left : left + width] ** rng.uniform(0.7, 1.4)
    file, levels = io.BytesIO(), (255 * cropped).round().astype(np.uint8)
    Image.fromarray(levels).save(file, "JPEG", quality=int(rng.integers(50, 96)))
    return np.asarray(Image.open(file)) / 255


def phantoms(count: int, twins: int, seed: int, processes: int) -> np.ndarray:
    """Return so many films, and behind them the twins of the first ones, (N, 128, 128)."""
    rng = generator(seed, "twins")
    found, others = [], []
    for film in each(partial(render, size=2 * SIZE, seed=seed), range(1, count + 1), processes):
        found.append(resize(film, SIZE, SIZE))
        if len(others) < twins:
            others.append(resize(altered(film, rng), SIZE, SIZE))
    return np.stack(found + others)


def measured(name: str, images: np.ndarray, known: set[tuple[int, int]] | None) -> dict[str, Any]:
    """Search all pairs of images (N, size, size) in [0, 1]; return a row of a table.

    Args:
        name: What the images are.
        images: Shape (N, size, size), values in [0, 1].
        known: Which pairs are there; None takes those that the signs alone find.
    """
    every, started = range(len(images)), time.process_time()
    with stored(images) as file:
        signs, maps = search.fingerprints(file)
        pairs = search.compared(file, search.candidates(signs, every, every), maps)
    seconds = time.process_time() - started
    alike = {pair[:2]: pair.alike for pair in pairs}
    found = {pair for pair, value in alike.items() if value >= search.LEAST_ALIKE}
    whole = [films.signs(image) for image in images]
    close = {
        (first, second)
        for first, second in itertools.combinations(every, 2)
        if np.count_nonzero(whole[first] ^ whole[second]) <= films.MOST_BITS_OF_TWINS
    }
    known = close if known is None else known
    return {
        "images": name,
        "pairs": len(known),
        "found": len(known & found),
        "other pairs found": len(found - known),
        "alike, at least": min(alike.get(pair, 0) for pair in known),
        "other pairs, at most": max(value for pair, value in alike.items() if pair not in known),
        "found by signs alone": len(known & close),
        "others by signs alone": len(close - known),
        "ms an image": f"{1000 * seconds / len(images):.0f}",
    }


@contextmanager
def stored(images: np.ndarray) -> Iterator[StoredImages]:
    """Yield images as a file that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "images.npy", images)
        yield StoredImages(Path(folder) / "images.npy")


def nearest(images: np.ndarray, ids: Sequence[str]) -> pd.DataFrame:
    """Return the training film that is most like each test image, of the candidates for it."""
    test = range(TRAIN, len(images))
    with stored(images) as file:
        signs, maps = search.fingerprints(file)
        pairs = search.candidates(signs, test, range(TRAIN), most=search.BITS)
        alike = search.compared(file, pairs, maps)
    table = pd.DataFrame(alike).sort_values("alike").groupby("second").last().reset_index()
    names = {"test image": table["second"], "nearest that trains": table["first"]}
    columns = {name: places.map(lambda place: ids[place]) for name, places in names.items()}
    return pd.DataFrame(columns | {"alike": table["alike"]})


def scale(count: int) -> dict[str, Any]:
    """Return what finding candidates among so many fingerprints takes."""
    signs = np.random.default_rng(1).random((count, search.BITS)) < 0.5
    row: dict[str, Any] = {"fingerprints": f"{count:,}"}
    first = 4 * count // 5
    sides = {"a fifth against the others": (range(first, count), range(first))}
    for name, (rows, columns) in (sides | {"all against all": [range(count)] * 2}).items():
        started = time.process_time()
        search.candidates(signs, rows, columns)
        row[f"{name}, s"] = f"{time.process_time() - started:.0f}"
    tracemalloc.start()
    search.candidates(signs, *sides["a fifth against the others"])
    return row | {"MiB": f"{tracemalloc.get_traced_memory()[1] / 2**20:.0f}"}


def in_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as text, fractions with three digits."""
    return table.map(lambda cell: f"{cell:.3f}" if isinstance(cell, float) else str(cell))


def page(arguments: argparse.Namespace) -> str:
    """Return the results in Markdown."""
    count, twins, rows, near = arguments.phantoms, arguments.twins, [], []
    for number, seed in ((count // 2, FIXED_ON), (count, arguments.seed)):
        found = phantoms(number, twins, seed, arguments.processes)
        known = {(place, number + place) for place in range(twins)}
        name = f"{number} phantoms (seed {seed}), {twins} of them twice"
        rows.append(measured(name, found, known))
    if arguments.images:
        paths = sorted(path for path in arguments.images.iterdir() if path.suffix in SUFFIXES)
        real = np.stack([read_resized(path, SIZE) for path in paths])
        rows.append(measured(f"{len(paths)} real images", real, None))
        near = ["Nearest", in_text(nearest(real, [path.stem for path in paths]))]
    scales = pd.DataFrame(map(scale, (10_000, 40_000)))
    found = in_text(pd.DataFrame(rows))
    return markdown("Films that are there twice", "Found", found, *near, "Many", in_text(scales))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phantoms", type=int, default=400, help="how many films are rendered")
    parser.add_argument("--twins", type=int, default=100, help="how many of these are there twice")
    parser.add_argument("--seed", type=int, default=4242, help="of both")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--images", type=Path, help="folder of the real images")
    text = page(parser.parse_args())
    write_text(RESULT, text)
    print(text)


if __name__ == "__main__":
    main()
