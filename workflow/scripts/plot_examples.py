"""Draws the demo figure of one noise setting: ground truth, noisy, and what methods make of it.

These are the methods of the published experiment, and whichever method is best.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from engine.job import Snakemake, run
from files.arrays import load_images
from files.atomic import replacing
from files.tables import ids_of, read_table
from results.wording import Texts, images_of, noise_in_words

EXAMPLES = 4


def fixed_examples(count: int) -> list[int]:
    """Return the indices of a few of `count` test images: always the same, spread evenly."""
    return sorted(set(np.linspace(0, count - 1, min(EXAMPLES, count)).round().astype(int).tolist()))


def chosen_methods(labels: Texts, candidates: Texts, means: Mapping[str, float]) -> dict[str, str]:
    """Return the headings of the methods to show, by method.

    These are the methods of `labels` that are candidates, and after them the candidate with the
    highest mean SSIM, if it is not among them.
    """
    chosen = {name: label for name, label in labels.items() if name in candidates}
    if candidates:
        best = max(candidates, key=lambda method: means[method])
        chosen.setdefault(best, f"best here: {candidates[best]}")
    return chosen


def heading_of(noise: Mapping[str, float | str]) -> str:
    """Return a noise setting in words, with its factor if it has one."""
    return noise_in_words(noise) + (f", factor {noise['factor']}" if "factor" in noise else "")


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
    size = 1.9 * len(columns) + 0.3, 2.05 * len(names) + 0.6
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(names), len(columns), squeeze=False)
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


def main(snakemake: Snakemake) -> None:
    inputs, params = snakemake.input, snakemake.params
    clean = load_images(inputs.clean, mmap_mode="r")
    chosen = fixed_examples(len(clean))
    ids = ids_of("test", inputs.split)

    methods = ["noisy", *params.candidates]
    images = dict(zip(methods, [inputs.noisy, *inputs.denoised], strict=True))
    scores = {
        method: [float(line["ssim"]) for line in read_table(path)]
        for method, path in zip(methods, inputs.scores, strict=True)
    }
    means = {method: np.mean(ssim) for method, ssim in scores.items()}
    headings = {"noisy": "noisy", **chosen_methods(params.labels, params.candidates, means)}
    columns = {"ground truth": clean[chosen]}
    similarity = {}
    for method, heading in headings.items():
        columns[heading] = load_images(images[method], mmap_mode="r")[chosen]
        similarity[heading] = [scores[method][index] for index in chosen]

    title = f"{images_of(params.dataset, params.rendered)}: {heading_of(params.noise)}"
    figure = example_figure(columns, similarity, [ids[index] for index in chosen], title)
    with replacing(snakemake.output.figure) as path:
        figure.savefig(path, dpi=110)


if __name__ == "__main__":
    run(main)
