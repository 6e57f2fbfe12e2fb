"""Time the way of the data: resizing, corrupting and scoring beside the plain way, and growth.

Needs NumPy, scikit-image and pandas (for the plain way), no Snakemake.
"""

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import skimage.io
from PIL import Image
from skimage.transform import resize as skimage_resize

import growth
from growth import RENDERED, corrupt_job, score_job
from step import SCRIPTS, run_step

sys.path.insert(0, str(SCRIPTS))

from files.arrays import write_images
from files.tables import read_table, write_table
from images.reading import SUFFIXES
from images.resizing import read_resized
from render_phantom import render

Result = dict[str, Any]
SIZE = 128  # pixels a side
FILM = (1935, 2400)  # pixels, width and height of the real films
TEST_IMAGES = 80

# One job each, as one would write it.
PLAIN_CORRUPTING = """
import sys, numpy as np
images = np.load(sys.argv[1])
noise = np.random.default_rng(1).normal(0, 1, images.shape)
np.save(sys.argv[2], np.clip(images + 0.2 * noise, 0, 1))
"""
PLAIN_SCORING = """
import sys, numpy as np, pandas as pd
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
clean, noisy = np.load(sys.argv[1]), np.load(sys.argv[2])
rows = [
    {
        "ssim": structural_similarity(a, b, data_range=1),
        "psnr": peak_signal_noise_ratio(a, b, data_range=1),
    }
    for a, b in zip(clean, noisy)
]
pd.DataFrame(rows).to_csv(sys.argv[3], index=False)
"""


def compared(
    name: str, ways: Mapping[str, Callable[[], object]], images: int, repeats: int
) -> list[Result]:
    """Time several ways of doing the same, in turn; the first is the plain one.

    Args:
        name: Of the benchmark.
        ways: What to run, by name.
        images: How many images each handles.
        repeats: How often each is run.

    Returns:
        A line a way: `benchmark`, `way`, `images`, `repeats`; `ms` and `cpu_ms`, the median
        milliseconds an image by the clock and of the processor; `ratio` and `cpu_ratio`, how many
        times as fast as the plain way, the median of the rounds. `..._range` is the least and
        greatest of each.
    """
    rounds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, run in ways.items():
            started = np.array([time.perf_counter(), processor_seconds()])
            run()
            ended = np.array([time.perf_counter(), processor_seconds()])
            rounds[way].append(tuple(1000 * (ended - started) / images))
    plain = rounds[next(iter(ways))]
    results = []
    for way, spent in rounds.items():
        result: Result = {"benchmark": name, "way": way, "images": images, "repeats": repeats}
        for prefix, ours, theirs in zip(
            ("", "cpu_"), zip(*spent, strict=True), zip(*plain, strict=True), strict=True
        ):
            ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
            for key, values in ((f"{prefix}ms", ours), (f"{prefix}ratio", ratios)):
                result[key] = float(statistics.median(values))
                result[f"{key}_range"] = [float(min(values)), float(max(values))]
        results.append(result)
    return results


def processor_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def films(folder: Path, count: int = 4) -> list[Path]:
    """Write full-size films of the phantom, stored as the real ones are, and return their paths."""
    paths = [folder / f"{subject:03d}.jpg" for subject in range(1, count + 1)]
    for subject, path in enumerate(paths, start=1):
        levels = (255 * render(subject, 640, seed=1)).round().astype(np.uint8)
        Image.fromarray(levels).resize(FILM).convert("RGB").save(path, quality=90)
    return paths


def spread(folder: Path, count: int) -> list[Path]:
    """Return `count` images of a folder, spread over it: the first ones may all be of one make."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise SystemExit(f"{folder} holds no images")
    return paths[:: max(1, len(paths) // count)][:count]


def resizing(paths: list[Path], repeats: int) -> list[Result]:
    """Compare reading and resizing images with scikit-image's; see `compared`.

    The results have `largest_difference` too, of a grey level in [0, 1].
    """
    found: dict[str, list[np.ndarray]] = {}

    def plain() -> None:
        found["plain"] = [
            skimage_resize(skimage.io.imread(path, as_gray=True), (SIZE, SIZE)) for path in paths
        ]

    def ours() -> None:
        found["ours"] = [read_resized(path, SIZE) for path in paths]

    def threaded() -> None:
        with ThreadPoolExecutor(2) as pool:
            found["ours"] = list(pool.map(lambda path: read_resized(path, SIZE), paths))

    read_resized(paths[0], SIZE)  # makes the matrices of this size, once
    ways = {"scikit-image": plain, "workflow": ours, "workflow, two threads": threaded}
    results = compared("resizing", ways, len(paths), repeats)
    difference = float(np.abs(np.subtract(found["ours"], found["plain"])).max())
    return [result | {"largest_difference": difference} for result in results]


def corrupting_and_scoring(repeats: int) -> list[Result]:
    """Compare the jobs that corrupt and score the test images with plain ones; see `compared`.

    Each job is a process of its own, as in the workflow: starting it is part of the time.
    `largest_difference` is that of a structural similarity.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clean, noisy, split = folder / "clean.npy", folder / "noisy.npy", folder / "split.csv"
        images = [render(subject, SIZE, seed=1) for subject in range(1, RENDERED + 1)]
        repeated = itertools.islice(itertools.cycle(images), TEST_IMAGES)
        write_images(clean, (TEST_IMAGES, SIZE, SIZE), np.float64, repeated)
        write_table(split, ({"id": f"{n:03d}", "part": "test"} for n in range(TEST_IMAGES)))
        theirs, ours = folder / "theirs.csv", folder / "ours.csv"

        def plain(code: str, *paths: Path) -> Callable[[], object]:
            return lambda: subprocess.run([sys.executable, "-c", code, *paths], check=True)

        ways = {
            "plain": plain(PLAIN_CORRUPTING, clean, folder / "theirs.npy"),
            "workflow": lambda: run_step("corrupt_images", **corrupt_job(clean, split, noisy)),
        }
        results = compared("corrupting", ways, TEST_IMAGES, repeats)
        ways = {
            "scikit-image": plain(PLAIN_SCORING, clean, noisy, theirs),
            "workflow": lambda: run_step("score_images", **score_job(clean, noisy, split, ours)),
        }
        scoring = compared("scoring", ways, TEST_IMAGES, repeats)
        ssim = [[float(line["ssim"]) for line in read_table(path)] for path in (theirs, ours)]
        difference = float(np.abs(np.subtract(*ssim)).max())
        return results + [result | {"largest_difference": difference} for result in scoring]


def benchmark(
    images: Path | None = None,
    count: int = 20,
    repeats: int = 5,
    sizes: Iterable[int] = growth.COUNTS,
    folder: Path | None = None,
) -> list[Result]:
    """Run everything, and return the results of `compared` and `growth.measure`.

    Args:
        images: Folder of images to read and resize; default: films of the phantom.
        count: How many of them.
        repeats: Rounds of each comparison.
        sizes: Numbers of images for `growth.measure`.
        folder: Where `growth.measure` writes.
    """
    with tempfile.TemporaryDirectory() as name:
        paths = spread(images, count) if images else films(Path(name))
        results = resizing(paths, repeats)
    return results + corrupting_and_scoring(repeats) + growth.measure(sizes, folder)


def table(results: list[Result]) -> str:
    """Return the results as text."""
    lines = ["Times an image, median (range); ratios to the first way of rounds taken in turn", ""]
    for result in results:
        if result["benchmark"] == "growth":
            continue
        lines.append(
            f"{result['benchmark']:10} {result['way']:22} {with_range(result, 'ms')} ms,"
            f" {with_range(result, 'ratio')} times as fast;"
            f" processor {with_range(result, 'cpu_ms')} ms, {with_range(result, 'cpu_ratio')} times"
        )
    lines += [
        f"largest difference of {result['benchmark']}: {result['largest_difference']:.1e}"
        for result in results
        if result.get("way") == "workflow" and "largest_difference" in result
    ]
    lines += ["", growth.table([r for r in results if r["benchmark"] == "growth"])]
    return "\n".join(lines)


def with_range(result: Result, key: str) -> str:
    low, high = result[f"{key}_range"]
    return f"{result[key]:.2f} ({low:.2f}-{high:.2f})"


def main() -> None:
    """Run the benchmarks and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, help="folder of images (default: phantom films)")
    parser.add_argument("--count", type=int, default=20, help="how many of them (default: 20)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="*",
        default=growth.COUNTS,
        help="images (default: 400 4000 40000)",
    )
    parser.add_argument("--folder", type=Path, help="where to write (default: temporary folder)")
    given = parser.parse_args()
    print(table(benchmark(given.images, given.count, given.repeats, given.sizes, given.folder)))


if __name__ == "__main__":
    main()
