"""Draws the training and validation loss of every network."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from engine.job import Snakemake, run
from files.atomic import replacing


def training_figure(histories: dict[str, dict[str, pd.DataFrame]]) -> Figure:
    """Return the figure: one panel a method, one colour a noise setting.

    The histories, by method and noise setting, are those of `training.loop`.
    """
    figure = Figure(figsize=(6.5 * len(histories), 4.2), layout="constrained")
    axes = figure.subplots(1, len(histories), squeeze=False, sharey=True)
    settings = dict.fromkeys(noise for rows in histories.values() for noise in rows)
    colours = {noise: f"C{index}" for index, noise in enumerate(settings)}
    for axis, (method, rows) in zip(axes[0], histories.items(), strict=True):
        for noise, history in rows.items():
            axis.plot(history["images"], history["loss"], color=colours[noise], linewidth=1.2)
            dots = history.dropna(subset="validation_loss")
            axis.plot(dots["images"], dots["validation_loss"], "o", color=colours[noise], ms=4)
        axis.set(title=method, xlabel="image passes", yscale="log")
        axis.grid(alpha=0.3, which="both")
    axes[0, 0].set_ylabel("mean squared error (dots: validation)")
    lines = [Line2D([], [], color=colour) for colour in colours.values()]
    figure.legend(lines, colours, fontsize=8, loc="outside right center", frameon=False)
    return figure


def main(snakemake: Snakemake) -> None:
    histories: dict[str, dict[str, pd.DataFrame]] = {}
    folder = Path(snakemake.output.figure).parents[1] / "training"
    for path in map(Path, snakemake.input.histories):
        noise, method, *again = path.relative_to(folder).with_suffix("").parts
        if not again:
            histories.setdefault(snakemake.params.labels[method], {})[noise] = pd.read_csv(path)
    with replacing(snakemake.output.figure) as path:
        training_figure(histories).savefig(path, dpi=110)


if __name__ == "__main__":
    run(main)
