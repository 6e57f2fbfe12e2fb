"""Take ever more images from their files to their scores: how time and memory grow."""

import itertools
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from step import SCRIPTS, run_step

sys.path.insert(0, str(SCRIPTS))

from files.atomic import file_digest
from files.tables import write_table
from render_phantom import render

Result = dict[str, Any]
NOISE = {"distribution": "gaussian", "factor": 0.2, "mean": 0, "std": 1}
RENDERED = 16  # images that are rendered; more are these again
COUNTS = (400, 4000, 40_000)


def measure(counts: Iterable[int], folder: Path | None = None, size: int = 128) -> list[Result]:
    """Take images from their files to their scores, each step in a process of its own.

    Args:
        counts: How many images, two or more; a few rendered ones are repeated. 40,000 of 128 x 128
            need 11 GB of disk for the while.
        folder: Where to write, and to delete again; default: the system's temporary folder.
        size: Width and height in pixels.

    Returns:
        A line for each count and step: `benchmark`, `images`, `step`, `seconds`, `cpu_seconds`,
        `seconds_per_1000` and `cpu_seconds_per_1000` images, and `peak_mib` of resident memory.
    """
    results = []
    with tempfile.TemporaryDirectory(dir=folder) as name:
        originals = Path(name) / "originals"
        originals.mkdir()
        for subject in range(1, RENDERED + 1):
            levels = (255 * render(subject, 2 * size, seed=1)).round().astype(np.uint8)
            Image.fromarray(levels).save(originals / f"{subject}.png")
        for count in counts:
            with tempfile.TemporaryDirectory(dir=name) as place:
                for step, took in steps(originals, count, size, Path(place)):
                    result: Result = {"benchmark": "growth", "images": count, "step": step, **took}
                    for key in ("seconds", "cpu_seconds"):
                        result[f"{key}_per_1000"] = 1000 * took[key] / count
                    results.append(result)
    return results


def steps(
    originals: Path, count: int, size: int, folder: Path
) -> Iterator[tuple[str, dict[str, float]]]:
    """Run the steps on `count` images, and yield their names and what `run_step` returns."""
    source = folder / "images"
    source.mkdir()
    for number, path in zip(range(count), itertools.cycle(originals.iterdir()), strict=False):
        (source / f"{number:06d}.png").symlink_to(path)
    checksums = folder / "images.csv"
    files = sorted(source.iterdir())
    write_table(checksums, ({"file": f.name, "sha256": file_digest(f)} for f in files))
    names = ("images", "train", "test", "noisy")
    images, train, test, noisy = (folder / f"{name}.npy" for name in names)
    ids, split, scores = (folder / f"{name}.csv" for name in ("ids", "split", "scores"))
    job: dict[str, Any] = {
        "input": {"images": str(source), "checksums": str(checksums)},
        "output": {"images": str(images), "ids": str(ids)},
        "params": {"size": size, "white": "auto", "window": False, "fit": "squash"},
        "wildcards": {"dataset": "rendered"},
        "threads": 2,
    }
    yield "resize", run_step("resize_images", **job)
    job = {
        "input": {"images": str(images), "ids": str(ids)},
        "output": {
            **{"train": str(train), "test": str(test), "split": str(split)},
            "twins": str(folder / "twins.txt"),
        },
        # So that the later steps handle nearly all images, which are copies of one another.
        "params": {"train": 1, "test": None, "patient": None, "duplicates": "keep"},
    }
    yield "split", run_step("split_images", **job)
    images.unlink()
    yield "corrupt", run_step("corrupt_images", **corrupt_job(test, split, noisy))
    yield "score", run_step("score_images", **score_job(test, noisy, split, scores))


def corrupt_job(clean: Path, split: Path, noisy: Path) -> dict[str, Any]:
    return {
        "input": {"images": str(clean), "split": str(split)},
        "output": {"images": str(noisy)},
        "params": {"noise": NOISE, "seed": 1},
        "wildcards": {"noise": "gaussian", "part": "test"},
    }


def score_job(clean: Path, images: Path, split: Path, scores: Path) -> dict[str, Any]:
    return {
        "input": {"clean": str(clean), "images": str(images), "split": str(split)},
        "output": {"scores": str(scores), "variance": f"{scores}.variance"},
        "wildcards": {"noise": "gaussian", "method": "noisy"},
    }


def table(results: list[Result]) -> str:
    """Return the results as text."""
    lines = ["  images  step     seconds  per 1000  processor  per 1000  peak MiB"]
    lines += [
        f"{r['images']:8}  {r['step']:8}{r['seconds']:8.1f}{r['seconds_per_1000']:10.2f}"
        f"{r['cpu_seconds']:11.1f}{r['cpu_seconds_per_1000']:10.2f}{r['peak_mib']:10.0f}"
        for r in results
    ]
    return "\n".join(lines)
