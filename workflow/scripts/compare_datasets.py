"""Compare the digital phantom with the real cephalograms, and write the page on the phantom.

Only curves and tables are made from the real images; pictures show phantom subjects alone.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import yaml
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas import DataFrame
from PIL import Image
from scipy.ndimage import median_filter, uniform_filter
from skimage.util import montage

from engine.job import Snakemake, run
from files.arrays import load_images
from files.atomic import replacing
from noise.models import corrupt
from noise.seeds import generator
from results.pages import write_texts
from results.reading import Noise, Published, published_rows
from results.scores import scores

Array = NDArray[np.float64]
Curve = tuple[Array, Array]  # abscissa, and one row an image

SPECTRUM = "power spectrum, cycles an image"
COLOURS = {"real": "#444444", "phantom": "#d95f02"}
MARGIN = {"noisy": 0.03, "median": 0.05}  # how far a mean SSIM may lie from the published one


def gradient_magnitude(image: Array) -> Array:
    """Return the length of the central-difference gradient, in grey a pixel; same shape."""
    return np.hypot(*np.gradient(image))


def local_variance(image: Array, window: int = 7) -> Array:
    """Return the sample variance in the window that SSIM uses; its border is cropped."""
    mean, square = uniform_filter(image, window), uniform_filter(image**2, window)
    edge, pixels = window // 2, window**2
    variance = (square - mean**2) * pixels / (pixels - 1)
    return np.maximum(variance, 0)[edge:-edge, edge:-edge]


FEATURES = {  # of pixels, and the bins of their distributions
    "grey value": (np.asarray, np.linspace(0, 1, 52)),
    "gradient magnitude": (gradient_magnitude, np.logspace(-4, 0, 49)),
    "local variance (7 x 7)": (local_variance, np.logspace(-7, -0.5, 53)),
}


def power_spectrum(image: Array) -> Array:
    """Return the radially averaged power spectrum, from 1 to size/2 cycles an image.

    A Hann window keeps the jump between opposite borders out of the spectrum.
    """
    size = len(image)
    hann = np.hanning(size)
    power = np.abs(np.fft.fft2((image - image.mean()) * np.outer(hann, hann))) ** 2 / size**2
    frequency = np.fft.fftfreq(size, 1 / size)
    ring = np.rint(np.hypot(frequency[:, None], frequency)).astype(int).ravel()
    mean = np.bincount(ring, power.ravel()) / np.bincount(ring)
    return mean[1 : size // 2 + 1]


def densities(images: Array, feature: Callable[[Array], Array], bins: Array) -> Array:
    """Return each image's share of pixels in each bin of `feature`: (images, bins)."""
    clipped = (np.clip(feature(image), bins[0], bins[-1]) for image in images)
    return np.array([np.histogram(values, bins)[0] / values.size for values in clipped])


def statistics(images: Array) -> dict[str, Curve]:
    """Return the curves (abscissa, one row an image) that the page compares, by name."""
    curves = {n: (bins, densities(images, of, bins)) for n, (of, bins) in FEATURES.items()}
    cycles = np.arange(1, images.shape[1] // 2 + 1)
    return curves | {SPECTRUM: (cycles, np.array([*map(power_spectrum, images)]))}


def hardness(test: Array, noise: Mapping[str, Noise], published: Published, seed: int) -> DataFrame:
    """Return the mean SSIM of noisy and median-filtered images beside the published means.

    Args:
        test: Test images (n, size, size) in [0, 1].
        noise, seed: The configuration's noise settings by id, and its seed.
        published: The published numbers.

    Returns:
        One line a noise setting that was published; columns `noisy` and `median` with, for each,
        `published ...` and `difference ...`.
    """
    rows = {}
    for name, row in published_rows(noise, published).items():
        noisy = corrupt(test, noise[name], generator(seed, "comparison", name))
        rows[name] = {}
        for method, images in {"noisy": noisy, "median": median_filter(noisy, (1, 3, 3))}.items():
            ours, theirs = scores(test, images)["ssim"].mean(), row["notebook"][method]
            columns = method, f"published {method}", f"difference {method}"
            rows[name] |= zip(columns, (ours, theirs, ours - theirs), strict=True)
    return DataFrame.from_dict(rows, orient="index")


def summary(images: Array) -> dict[str, float]:
    """Return a few numbers that describe a set of images."""
    means = images.mean(axis=(1, 2))
    return {
        "mean grey": means.mean(),
        "standard deviation of the image means": means.std(),
        "standard deviation within an image": images.std(axis=(1, 2)).mean(),
        "median gradient magnitude": np.mean([np.median(gradient_magnitude(i)) for i in images]),
        "median local variance (7 x 7)": np.mean([np.median(local_variance(i)) for i in images]),
        "pixel-wise standard deviation over subjects": images.std(axis=0).mean(),
    }


def remarks(phantom: Mapping[str, Curve], real: Mapping[str, Curve]) -> str:
    """Return one sentence on each curve of the figure: where the phantom's lies."""
    lines = []
    for name in FEATURES:
        ours, theirs = (curves[name][1].mean(axis=0).cumsum() for curves in (phantom, real))
        lines.append(
            f"- {name.capitalize()}: the two distributions over all pixels differ by at most "
            f"{np.abs(ours - theirs).max():.3f} in their cumulative shares."
        )
    cycles, power = phantom[SPECTRUM]
    ratio = np.median(power, axis=0) / np.median(real[SPECTRUM][1], axis=0)
    ratios = ", ".join(
        f"{np.exp(np.log(ratio[low - 1 : high]).mean()):.2f} from {low} to {high}"
        for low, high in ((1, 4), (5, 16), (17, cycles[-1]))
        if low < high <= cycles[-1]
    )
    text = f"the phantom has this multiple of the real power: {ratios} cycles."
    return "\n".join([*lines, f"- Power spectrum: {text}"])


def statistics_figure(phantom: Mapping[str, Curve], real: Mapping[str, Curve]) -> Figure:
    """Return the figure that overlays the curves of `statistics` for the two sets."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    for axis, name in zip(axes.flat, phantom, strict=True):
        for label, curves in (("real", real), ("phantom", phantom)):
            abscissa, values = curves[name]
            low, middle, high = np.percentile(values, [10, 50, 90], axis=0)
            if name in FEATURES:
                abscissa = (abscissa[1:] + abscissa[:-1]) / 2  # the middle of each bin
            axis.fill_between(abscissa, low, high, color=COLOURS[label], alpha=0.2, linewidth=0)
            axis.plot(abscissa, middle, color=COLOURS[label], label=label)
        axis.set(xlabel=name, ylabel="share of the pixels" if name in FEATURES else "power")
        axis.set_xscale("linear" if name == "grey value" else "log")
        axis.set_yscale("linear" if name in FEATURES else "log")
        axis.grid(alpha=0.3)
    axes[0, 0].legend()
    return figure


def montage_of(images: Array, columns: int = 6, rows: int = 4) -> NDArray[np.uint8]:
    """Return `columns` x `rows` of the images, evenly chosen, as one picture in 8 bits."""
    chosen = np.linspace(0, len(images) - 1, columns * rows).round().astype(int)
    picture = montage(images[chosen], grid_shape=(rows, columns))
    return np.round(255 * picture).astype(np.uint8)


def main(snakemake: Snakemake) -> None:
    inputs, outputs, params = snakemake.input, snakemake.output, snakemake.params
    phantom, real = load_images(inputs.phantom), load_images(inputs.real)
    published = yaml.safe_load(Path(inputs.published).read_text(encoding="utf-8"))
    test = phantom[params.first_test :]
    table = hardness(test, params.noise, published, params.seed)
    decimals = ["+.3f" if column.startswith("difference") else ".3f" for column in table]
    similar = DataFrame({"phantom": summary(phantom), "real": summary(real)})
    curves = statistics(phantom), statistics(real)
    template = Path(inputs.template).read_text(encoding="utf-8")
    page = template.format(
        phantom_count=len(phantom),
        real_count=len(real),
        first_test=params.first_test + 1,
        test_count=len(test),
        **{f"{method}_margin": margin for method, margin in MARGIN.items()},
        **{f"{m}_worst": f"{table[f'difference {m}'].abs().max():.3f}" for m in MARGIN},
        hardness=table.rename_axis("noise").to_markdown(floatfmt=["", *decimals]),
        summary=similar.rename_axis("mean over the images").to_markdown(floatfmt=".4f"),
        remarks=remarks(*curves),
        **{name: Path(outputs[name]).name for name in ("statistics", "subjects")},
    )
    with replacing(outputs.statistics) as path:
        statistics_figure(*curves).savefig(path, dpi=90)
    with replacing(outputs.subjects) as path:
        Image.fromarray(montage_of(phantom)).save(path, optimize=True)
    write_texts({outputs.page: page})


if __name__ == "__main__":
    run(main)
