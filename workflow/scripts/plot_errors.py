"""Draws where methods err, and whether what they remove looks like the noise or like the image."""

from collections.abc import Iterable, Mapping
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure, SubFigure

from engine.job import Snakemake, run
from files.arrays import StoredImages
from files.tables import read_table
from results.figures import (
    FIRST,
    SIGN,
    SIZE,
    SOME,
    interpolation,
    methods_shown,
    save,
    style,
    write_note,
)
from results.wording import PHANTOM_WARNING, heading_of, images_of

Images = np.ndarray | StoredImages  # (N, H, W), values in [0, 1]
METHODS = 5  # at most, beside the noisy images
LAGS = 16  # pixels, at most
MAP = 1.9  # inches
NOTE = (
    "Maps: means over the test images ({}) of the absolute and of the signed error (denoised - "
    "truth), in grey levels of [0, 1]; the ends of a scale stand for what is beyond them too. "
    "Curves: autocorrelation of what was removed (noisy - denoised), down and across, mean over "
    "the images. Of a perfect denoiser it is that of the noise itself (noisy - truth), which "
    "depends on the image where values are clipped. Above that curve, structure was removed as "
    "well; below it, noise was left. The grey band holds 95 % of such means of white noise."
)
NO_CURVE = "No curve, since in some image nothing was removed, or the same everywhere: {}."


def autocorrelation(image: np.ndarray, lags: int) -> np.ndarray:
    """Return how pixels correlate that lie 1, 2 ... `lags` pixels apart, down or across.

    It is NaN for an image that has the same value everywhere.
    """
    if np.ptp(image) < 1e-9:  # but for rounding
        return np.full(lags, np.nan)
    rest = image - image.mean()
    products = (
        [(view[lag:] * view[:-lag]).mean() for view in (rest, rest.T)] for lag in range(1, lags + 1)
    )
    return np.mean([*products], axis=1) / rest.var()


def mean_errors(clean: Images, denoised: Images) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over the images of the absolute and of the signed error, shape (H, W)."""
    absolute, signed = np.zeros(clean.shape[1:]), np.zeros(clean.shape[1:])
    for truth, image in zip(clean, denoised, strict=True):
        absolute += np.abs(image - truth)
        signed += image - truth
    return absolute / len(clean), signed / len(clean)


def mean_autocorrelation(noisy: Images, rest: Images) -> np.ndarray:
    """Return that of what is removed where `rest` is left of the noisy images, at 1, 2 ... pixels.

    It is NaN if from some image nothing is removed, or the same everywhere.
    """
    lags = min(LAGS, noisy.shape[1] // 2)
    pairs = zip(noisy, rest, strict=True)
    return sum(autocorrelation(first - second, lags) for first, second in pairs) / len(noisy)


def white_noise(shape: tuple[int, int, int]) -> np.ndarray:
    """Return what 95 % of the mean autocorrelations of (N, H, H) values of white noise are within.

    Those of one image and direction are nearly normal, with one over the number of pairs of pixels
    as variance. The result is for 1, 2 ... pixels, as that of `mean_autocorrelation`.
    """
    count, size, _ = shape
    pairs = size * (size - np.arange(1, min(LAGS, size // 2) + 1))
    return 1.96 / np.sqrt(2 * count * pairs)


def limit_of(maps: Iterable[np.ndarray]) -> float:
    """Return the end of a scale, in grey levels: what 99 % of the pixels do not exceed."""
    return max(0.01, np.ceil(100 * np.percentile(np.abs([*maps]), 99)) / 100)


def draw_maps(part: SubFigure, maps: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Draw what `mean_errors` returns by heading, on scales that suit all but the first."""
    axes = part.subplots(2, len(maps), squeeze=False)
    scaled = [*maps.values()][1:] or [*maps.values()]
    size, sign = (limit_of(kind) for kind in zip(*scaled, strict=True))
    looks = (
        ("absolute error", "max", {"cmap": SIZE, "vmin": 0, "vmax": size}),
        ("signed error", "both", {"cmap": SIGN, "vmin": -sign, "vmax": sign}),
    )
    for row, (kind, ends, look) in enumerate(looks):
        for axis, (heading, means) in zip(axes[row], maps.items(), strict=True):
            how = interpolation(means[row], MAP)
            shown = axis.imshow(means[row], interpolation=how, **look)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(fill(heading, 22), loc="center", fontweight="normal")
        part.colorbar(shown, ax=axes[row].tolist(), extend=ends, label=f"mean {kind}", aspect=14)


def draw_curves(part: SubFigure, curves: Mapping[str, np.ndarray], white: np.ndarray) -> None:
    """Draw what `mean_autocorrelation` returns by label; the first is of the noise itself."""
    axis = part.subplots()
    pixels = range(1, len(white) + 1)
    axis.fill_between(pixels, -white, white, color="0.8", label="white noise")
    for index, (label, curve) in enumerate(curves.items(), start=-1):
        axis.plot(pixels, curve, markersize=4, **style(index), label=label)
    axis.set(xlabel="distance, pixels", ylabel="autocorrelation")
    part.legend(loc="outside right center", handlelength=4)


def main(snakemake: Snakemake) -> None:
    inputs, params = snakemake.input, snakemake.params
    clean, noisy = StoredImages(inputs.clean), StoredImages(inputs.noisy)
    labels, paths = params.candidates, dict(zip(params.candidates, inputs.denoised, strict=True))
    scores = dict(zip(labels, map(read_table, inputs.scores), strict=True))
    means = {m: np.mean([float(line["ssim"]) for line in lines]) for m, lines in scores.items()}
    methods = methods_shown(labels, params.published, means, METHODS)
    maps = {"noisy": mean_errors(clean, noisy)}
    curves = {"the noise itself": mean_autocorrelation(noisy, clean)}
    for method in methods:
        denoised = StoredImages(paths[method])
        maps[labels[method]] = mean_errors(clean, denoised)
        curves[labels[method]] = mean_autocorrelation(noisy, denoised)

    figure = Figure(figsize=(max(8, MAP * len(maps) + 1.4), 8.4), layout="constrained")
    figure.suptitle(f"{images_of(params.dataset, params.rendered)}: {heading_of(params.noise)}")
    upper, lower = figure.subfigures(2, height_ratios=(1.45, 1))
    draw_maps(upper, maps)
    draw_curves(lower, curves, white_noise(noisy.shape))
    notes = [NOTE.format(len(clean))]
    if without := [label for label, curve in curves.items() if np.isnan(curve).any()]:
        notes.append(NO_CURVE.format(", ".join(without)))
    if len(methods) < len(labels):
        notes.append(SOME.format(len(labels)))
    if params.repeated:
        notes.append(FIRST)
    if params.rendered:
        notes.append(PHANTOM_WARNING)
    write_note(figure, notes)
    save(figure, snakemake.output)


if __name__ == "__main__":
    run(main)
