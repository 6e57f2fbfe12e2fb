"""Chooses the settings of a method on validation images, for one noise setting."""

import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.job import Snakemake, run
from engine.learning import require_images
from engine.messages import InputError, Progress, log
from files.arrays import load_images
from files.jsons import write_json
from images.films import twins
from noise.models import Noise, clip_inversion, corrupt
from noise.seeds import generator
from results.scores import scores

IMAGES = 16  # the most that settings are tried on
Grid = Mapping[str, Sequence[Any]]


def validation_images(images: np.ndarray) -> list[int]:
    """Return which training images settings are tried on: spread evenly over the last fifth.

    Those that show a film of the other four fifths again are left out.

    Args:
        images: The clean training images, shape (N, H, W).

    Raises:
        InputError: When none is left.
    """
    first = len(images) - max(1, len(images) // 5)
    candidates = spread(np.arange(first, len(images)), 4 * IMAGES)
    free = candidates[~twins(images[candidates], images[:first])]
    if not len(free):
        raise InputError(
            f"training images from number {first + 1} on show films of those before again; tuning "
            "needs films of its own: change `train`, or the order of file names"
        )
    return spread(free, IMAGES).tolist()


def spread(values: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many of the values, in even steps from the first to the last."""
    return values[np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int)]


def tuned(
    denoise: Callable[..., np.ndarray],
    grid: Grid,
    settings: Mapping[str, Any],
    clean: np.ndarray,
    noisy: np.ndarray,
    noise: Noise,
    inversion: bool = False,
) -> list[dict[str, Any]]:
    """Return every combination of the grid with its mean structural similarity, best first.

    Args:
        denoise: The plug-in's function.
        grid: The candidates of each setting that is tuned.
        settings: The others, which are given.
        clean: Ground truth, shape (N, H, W), values in [0, 1].
        noisy: The same images with noise, that of `noise`.
        inversion: Whether the clip-aware inversion is applied to what `denoise` returns.

    Returns:
        Dictionaries of `settings` (the tuned ones), mean `ssim`, and the number of `images`. Of
        equals, what the grid names first comes first.

    Raises:
        InputError: When a pixel of a result is not a finite number.
    """
    combinations = itertools.product(*grid.values())
    candidates = [dict(zip(grid, values, strict=True)) for values in combinations]
    inverse = clip_inversion(noise) if inversion else np.asarray
    progress = Progress("candidates", len(candidates))
    results = []
    for candidate in candidates:
        denoised = inverse(denoise(noisy, noise, {**settings, **candidate}))
        ssim = float(scores(clean, denoised)["ssim"].mean())
        results.append({"settings": candidate, "ssim": ssim, "images": len(clean)})
        progress.advance()
    return sorted(results, key=lambda result: -result["ssim"])  # keeps the order of equals


def at_the_end(best: Mapping[str, Any], grid: Grid) -> list[str]:
    """Return the settings whose best value is the least or the greatest of three or more numbers.

    A value that was not tried may be better then.
    """
    return [
        name
        for name, values in grid.items()
        if len(values) >= 3
        and all(isinstance(value, int | float) for value in values)
        and best[name] in (min(values), max(values))
    ]


def main(snakemake: Snakemake) -> None:
    params, wildcards = snakemake.params, snakemake.wildcards
    name = f"{wildcards.noise}/{wildcards.method}"
    images = load_images(snakemake.input.images, mmap_mode="r")
    require_images(images, snakemake.input.images, snakemake)
    chosen = validation_images(images)
    clean = np.asarray(images[chosen], np.float64)
    rngs = (generator(params.seed, "tune", wildcards.noise, index) for index in chosen)
    noisy = np.stack([corrupt(a, params.noise, rng) for a, rng in zip(clean, rngs, strict=True)])
    denoise = importlib.import_module(f"methods.{params.plugin}").denoise
    images = clean, noisy, params.noise
    results = tuned(denoise, params.grid, params.settings, *images, params.inversion)
    best = results[0]
    log.info("%s: best of %d: %s", name, len(results), best)
    for setting in at_the_end(best["settings"], params.grid):
        value, values = best["settings"][setting], list(params.grid[setting])
        remark = f"the best {setting}, {value}, is at the end of its list {values}"
        log.warning("%s: %s; a longer list may do better", name, remark)
    write_json(snakemake.output.tuning, results)


if __name__ == "__main__":
    run(main)
