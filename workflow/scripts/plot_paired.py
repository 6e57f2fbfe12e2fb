"""Draws the SSIM of every test image with each method: a dot an image, lines between its dots."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from engine.job import Snakemake, run
from results.figures import STYLES, methods_shown, save, write_note
from results.intervals import half_width
from results.reading import read_scores
from results.wording import PHANTOM_WARNING, Texts, capitalised, images_of

METHODS, COLUMNS = 8, 4  # at most: methods; panels side by side
MANY = 200  # of more images, dots and lines become pixels: as shapes they would fill a large file
MEAN = {"color": "black", "marker": ".", "markersize": 4, "linestyle": "", "capsize": 4}
ABOUT = (
    "A dot is the SSIM of a test image; a thin line joins the dots of one image. In black, above "
    "the dots: their mean and its 95 % confidence interval over the test images."
)
NO_MEAN = "No mean in black: there are not several images with different scores."
NONE = "There is no method without a caveat."
SOME = "Of {} methods these are the published ones and those with the best mean rank."


def standing(scores: pd.DataFrame, candidates: Iterable[str]) -> dict[str, float]:
    """Return how well each candidate does, best first: its mean rank over the noise settings.

    The worst of n methods has rank 1/n and the best 1. Means of SSIM would compare badly where
    methods were run for different noise settings.
    """
    means = scores.groupby(["method", "noise"])["ssim"].mean().unstack()
    ranks = means.reindex([*candidates]).rank(pct=True).mean(axis=1)
    return ranks.sort_values(ascending=False, kind="stable").to_dict()


def by_image(scores: pd.DataFrame, methods: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return the SSIM by noise setting: a row an image, a column a method that was run there.

    Where there are several trainings or draws, it is the mean over them.
    """
    some = scores[scores["method"].isin(methods)]
    wide = {
        noise: lines.groupby(["image", "method"], sort=False)["ssim"].mean().unstack()
        for noise, lines in some.groupby("noise", sort=False)
    }
    return {noise: table[[m for m in methods if m in table]] for noise, table in wide.items()}


def paired_figure(tables: Mapping[str, pd.DataFrame], labels: Texts, note: list[str]) -> Figure:
    """Return the figure: a panel a noise setting, a row a method.

    Args:
        tables: What `by_image` returns.
        labels: What each method is called, from the top down.
        note: Sentences below all.
    """
    columns = min(COLUMNS, max(1, len(tables)))
    rows = max(1, -(-len(tables) // columns))
    size = 3.1 * columns + 1.8, rows * (0.5 * len(labels) + 0.9) + 0.8
    figure = Figure(figsize=size, layout="constrained")
    axes = [*figure.subplots(rows, columns, squeeze=False, sharey=True).flat]
    heights = dict(zip(labels, reversed(range(len(labels))), strict=True))
    means = []
    for axis, (noise, table) in zip(axes, tables.items(), strict=False):
        places = [heights[method] for method in table]
        look = {"color": STYLES[0]["color"], "rasterized": len(table) > MANY}
        paths = [np.c_[values, places] for values in table.to_numpy()]
        lines = LineCollection(paths, linewidths=0.5, alpha=0.3, **look)
        axis.add_collection(lines)
        for method, values in table.items():
            axis.plot(values, [heights[method]] * len(values), "o", markersize=2.5, **look)
            means.append((values.mean(), half_width(values)))
            if np.isfinite(means[-1]).all():
                axis.errorbar(means[-1][0], heights[method] + 0.3, xerr=means[-1][1], **MEAN)
        axis.set(title=noise, xlabel="SSIM", ylim=(-0.5, len(labels) - 0.3))
        axis.set_yticks([*heights.values()], [fill(text, 20) for text in labels.values()])
        axis.grid(axis="y", visible=False)
    for axis in axes[len(tables) :]:
        axis.remove()
    write_note(figure, [*note, *([] if np.isfinite(means).all() else [NO_MEAN])])
    return figure


def main(snakemake: Snakemake) -> None:
    params, scores = snakemake.params, read_scores([snakemake.input.scores])
    ranks = standing(scores, params.candidates)
    methods = methods_shown(ranks, params.published, ranks, METHODS)
    images = images_of(params.dataset, params.rendered)
    note = [f"{capitalised(images)}.", ABOUT if methods else NONE]
    if len(methods) < len(ranks):
        note.append(SOME.format(len(ranks)))
    if params.rendered:
        note.append(PHANTOM_WARNING)
    labels = {method: params.candidates[method] for method in methods}
    save(paired_figure(by_image(scores, methods), labels, note), snakemake.output)


if __name__ == "__main__":
    run(main)
