"""Draws the training and validation loss of every network, with their spread over its trainings."""

from collections import defaultdict
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from engine.job import Snakemake, run
from results.figures import save, style, write_note

COLUMNS = 3  # of panels, at most
LINES = "Lines: loss while training; markers: validation loss."
SPREAD = (
    "Where a network was trained several times, these are medians; bands and bars go from the "
    "lowest to the highest of {}."
)
NO_SPREAD = "Each network was trained once, so there is no spread."
Histories = dict[str, dict[str, list[pd.DataFrame]]]


def spread(histories: list[pd.DataFrame], loss: str) -> pd.DataFrame:
    """Return the least, the median and the greatest loss, by the images seen; `min` to `max`."""
    by_images = pd.concat(histories).groupby("images")[loss]
    return by_images.agg(["min", "median", "max"]).dropna()


def training_figure(histories: Histories) -> Figure:
    """Return the figure: one panel a method, one colour and dashes a noise setting.

    The histories, by method and noise setting, are those of `training.loop`, one a training.
    """
    columns = min(COLUMNS, len(histories))
    rows = -(-len(histories) // columns)
    size = 5 * columns + 2.5, 3.8 * rows + 0.6
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    settings = dict.fromkeys(noise for some in histories.values() for noise in some)
    styles = {noise: style(index) for index, noise in enumerate(settings)}
    for axis, (method, some) in zip(axes, histories.items(), strict=False):
        for noise, trainings in some.items():
            look = styles[noise]
            loss = spread(trainings, "loss")
            axis.plot(loss.index, loss["median"], **look | {"marker": ""})
            axis.fill_between(
                loss.index, loss["min"], loss["max"], color=look["color"], alpha=0.2, linewidth=0
            )
            checked = spread(trainings, "validation_loss")
            middle = checked["median"]
            bars = [middle - checked["min"], checked["max"] - middle]
            axis.errorbar(middle.index, middle, bars, **look | {"linestyle": ""}, markersize=5)
        axis.set(title=method, xlabel="image passes", yscale="log")
        for which in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            which(LogFormatter())  # which, unlike the default, needs no mathematical text
    for axis in list(axes)[len(histories) :]:
        axis.remove()
    figure.supylabel("mean squared error", fontsize=9)
    lines = [Line2D([], [], **look) for look in styles.values()]
    figure.legend(lines, styles, loc="outside right center", handlelength=4)
    counts = {len(some) for by_noise in histories.values() for some in by_noise.values()}
    several = " or ".join(f"{count} trainings" for count in sorted(counts - {1}))
    write_note(figure, [LINES, SPREAD.format(several) if several else NO_SPREAD])
    return figure


def main(snakemake: Snakemake) -> None:
    histories: Histories = defaultdict(lambda: defaultdict(list))
    folder = Path(snakemake.output.figure).parents[1] / "training"
    for path in map(Path, snakemake.input.histories):
        # NOISE/METHOD.csv, and NOISE/METHOD/NUMBER.csv of the second training and the others
        noise, method, *_ = path.relative_to(folder).with_suffix("").parts
        histories[snakemake.params.labels[method]][noise].append(pd.read_csv(path))
    save(training_figure(histories), snakemake.output)


if __name__ == "__main__":
    run(main)
