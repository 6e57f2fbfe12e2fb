"""Time reading and resizing images side by side with the plain scikit-image loop."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import skimage.io
from skimage.transform import resize as skimage_resize

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from common.images import SUFFIXES, read_resized

Loop = Callable[[list[Path], int], list[np.ndarray]]


def plain(paths: list[Path], size: int) -> list[np.ndarray]:
    """Read and resize with scikit-image alone, one image after another."""
    return [skimage_resize(skimage.io.imread(p, as_gray=True), (size, size)) for p in paths]


def ours(paths: list[Path], size: int) -> list[np.ndarray]:
    """Read and resize as the workflow does, one image after another."""
    return [read_resized(path, size) for path in paths]


def ours_threaded(paths: list[Path], size: int) -> list[np.ndarray]:
    """Read and resize as the workflow does, two images at a time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda path: read_resized(path, size), paths))


LOOPS: dict[str, Loop] = {
    "scikit-image": plain,
    "workflow": ours,
    "workflow, two threads": ours_threaded,
}


def seconds(loop: Loop, paths: list[Path], size: int) -> tuple[float, list[np.ndarray]]:
    """Return the seconds that a loop takes, and its images."""
    started = time.perf_counter()
    images = loop(paths, size)
    return time.perf_counter() - started, images


def main() -> None:
    """Run the loops in turn, `--repeats` times, and print times an image and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--count", type=int, default=20, help="how many of them (default: 20)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds over them (default: 5)")
    parser.add_argument("--size", type=int, default=128, help="pixels a side (default: 128)")
    arguments = parser.parse_args()
    paths = sorted(p for p in arguments.images.iterdir() if p.suffix.lower() in SUFFIXES)
    # Spread over the folder rather than the first ones, which may all be of one make.
    paths = paths[:: max(1, len(paths) // arguments.count)][: arguments.count]
    if not paths:
        parser.error(f"{arguments.images} holds no images")
    for loop in LOOPS.values():  # imports, caches and the resize matrices
        loop(paths[:2], arguments.size)

    times: dict[str, list[float]] = {name: [] for name in LOOPS}
    largest = 0.0
    for _ in range(arguments.repeats):
        results = {}
        for name, loop in LOOPS.items():
            spent, results[name] = seconds(loop, paths, arguments.size)
            times[name].append(spent / len(paths))
        for name in LOOPS:
            difference = np.subtract(results[name], results["scikit-image"])
            largest = max(largest, float(np.abs(difference).max()))

    print(f"{len(paths)} images, {arguments.repeats} rounds in turn; medians (and ranges)")
    for name, spent in times.items():
        ratios = [a / b for a, b in zip(times["scikit-image"], spent, strict=True)]
        print(
            f"{name:22} {1000 * statistics.median(spent):7.1f} ms an image"
            f" ({1000 * min(spent):.1f}-{1000 * max(spent):.1f});"
            f" {statistics.median(ratios):5.2f} times as fast"
            f" ({min(ratios):.2f}-{max(ratios):.2f})"
        )
    print(f"largest difference: {largest:.1e}")


if __name__ == "__main__":
    main()
