"""Draws the demo figure of one noise setting: ground truth, noisy, and what each method makes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pandas as pd

from common.files import replacing
from common.job import run
from common.noise_models import described
from common.split import ids_of

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

EXAMPLES = 4


def fixed_examples(count: int) -> list[int]:
    """Return which of `count` test images are shown: always the same, spread evenly."""
    return sorted(set(np.linspace(0, count - 1, min(EXAMPLES, count)).round().astype(int).tolist()))


def example_figure(
    columns: Mapping[str, np.ndarray],
    similarity: Mapping[str, Sequence[float]],
    names: Sequence[str],
    title: str,
) -> Figure:
    """Return the figure: one row an image, one column a method.

    Args:
        columns: By heading, images of shape (n, H, W) with values in [0, 1].
        similarity: By heading, the SSIM of each of these images; not for the ground truth.
        names: What each image is called.
        title: Above all.
    """
    figure, axes = plt.subplots(
        len(names),
        len(columns),
        figsize=(1.9 * len(columns) + 0.3, 2.05 * len(names) + 0.6),
        squeeze=False,
        layout="constrained",
    )
    figure.suptitle(title, fontsize=11)
    for column, (heading, images) in enumerate(columns.items()):
        axes[0, column].set_title(heading, fontsize=10)
        for row, name in enumerate(names):
            axis = axes[row, column]
            axis.imshow(images[row], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if column == 0:
                axis.set_ylabel(f"image {name}", fontsize=9)
            if heading in similarity:
                axis.set_xlabel(f"SSIM {similarity[heading][row]:.3f}", fontsize=9, labelpad=2)
    return figure


def main(snakemake: "snakemake") -> None:
    labels = snakemake.params.labels
    clean = np.load(snakemake.input.clean, mmap_mode="r")
    chosen = fixed_examples(len(clean))
    ids = ids_of("test", snakemake.input.split)
    names = [ids[index] for index in chosen]

    headings = ["noisy", *labels.values()]
    images = [snakemake.input.noisy, *snakemake.input.denoised]
    columns = {"ground truth": clean[chosen]}
    similarity = {}
    for heading, path, scores in zip(headings, images, snakemake.input.scores, strict=True):
        columns[heading] = np.load(path, mmap_mode="r")[chosen]
        similarity[heading] = pd.read_csv(scores)["ssim"].iloc[chosen].tolist()

    noise = f"{described(snakemake.params.noise)}, factor {snakemake.params.noise['factor']}"
    title = f"{snakemake.params.kind} ({snakemake.params.dataset}): {noise}"
    figure = example_figure(columns, similarity, names, title)
    with replacing(snakemake.output.figure) as path:
        figure.savefig(path, dpi=110)


if __name__ == "__main__":
    run(main, snakemake)
