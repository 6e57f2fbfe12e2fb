"""Draws how well each method denoises against what it costs: to run, and to train."""

from collections.abc import Collection, Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import Bbox

from engine.job import Snakemake, run
from files.atomic import replacing
from results.reading import by_noise, read_methods
from results.wording import CLEAN, MARK, PHANTOM_WARNING, caveats_in_words, images_of

MARKED = f"with a caveat ({MARK})"
# Colours that colour-blind people can tell apart (Okabe and Ito), and a marker each.
STYLES = {
    "classical": ("#0072B2", "o"),
    "trained with clean images": ("#D55E00", "s"),
    "trained without clean images": ("#009E73", "^"),
    MARKED: ("#CC79A7", "D"),
}
MARKERS = {"markersize": 7.5, "markeredgecolor": "white"}
PANELS = {
    "milliseconds": ("to run", "milliseconds an image"),
    "training_seconds": ("to train", "seconds for a noise setting (processor time on a CPU)"),
}
LABEL = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": 8.5}
LINE = {"arrowstyle": "-", "color": "0.6", "shrinkA": 0, "shrinkB": 4}  # from a label to its point
HALO = [withStroke(linewidth=3, foreground="white")]
NEAR, FAR = 7, 60  # points between a marker and its label


def group_of(trained: bool, uses: Sequence[str], has_caveat: bool) -> str:
    """Return what kind of method it is, one of `STYLES`."""
    if has_caveat:
        return MARKED
    if not trained:
        return "classical"
    return "trained with clean images" if CLEAN in uses else "trained without clean images"


def summary(
    table: pd.DataFrame, uses: Mapping[str, Sequence[str]], caveats: Collection[str]
) -> tuple[pd.DataFrame, str]:
    """Return the mean SSIM and the median costs of each method, and what these are means over.

    Means compare only over the same noise settings. These are the settings that more than half
    of the methods have; a method that lacks one of them is left out. The table is what
    `compare_methods.comparison` returns.

    Returns:
        Columns `label`, `ssim`, `milliseconds`, `training_seconds`, `group`, a row a method; and
        the sentences that say what was averaged and which methods are left out.
    """
    methods = table[table["method"] != "noisy"]
    ssim = by_noise(methods, methods["method"].unique(), table["noise"].unique())
    share = ssim.notna().mean()
    common = ssim.columns[share > min(0.5, share.max() - 1e-9)] if len(ssim) else ssim.columns
    complete = ssim.index[ssim[common].notna().all(axis=1)]
    used = methods[methods["noise"].isin(common) & methods["method"].isin(complete)]
    points = used.groupby("method", sort=False).agg(
        {"label": "first", "ssim": "mean"} | dict.fromkeys(PANELS, "median")
    )
    trained = points["training_seconds"].notna()
    points["group"] = [group_of(trained[m], uses[m], m in caveats) for m in points.index]
    note = f"Mean over the noise settings {', '.join(common)}."
    if len(complete) < len(ssim):
        labels = methods.loc[~methods["method"].isin(complete), "label"].unique()
        note += f" Left out, since they lack some of these: {', '.join(labels)}."
    return points, note


def compute_figure(methods: pd.DataFrame, note: str) -> Figure:
    """Return the figure: one panel a cost, one labelled point a method; see `summary`."""
    figure = Figure(figsize=(13, 6.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)  # whose renderer measures the labels
    axes = figure.subplots(1, 2, sharey=True)
    handles = {}
    for axis, (cost, (purpose, unit)) in zip(axes, PANELS.items(), strict=True):
        points = methods.dropna(subset=cost).sort_values(cost)
        fair = points[points["group"] != MARKED]
        (line,) = axis.step(fair[cost], fair["ssim"].cummax(), where="post", color="0.8", zorder=1)
        if points.empty:
            axis.text(0.5, 0.5, "none", ha="center", color="0.5", transform=axis.transAxes)
        for group, (colour, marker) in STYLES.items():
            some = points[points["group"] == group]
            (drawn,) = axis.plot(some[cost], some["ssim"], marker, color=colour, **MARKERS)
            if len(some):
                handles[group] = drawn
        axis.set(xscale="log", xlabel=unit)
        axis.set_title(purpose, loc="left", fontweight="bold")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.margins(0.09, 0.07)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("mean SSIM (higher is better)")
    handles["best at this cost or less" + f", without {MARK}" * (MARKED in handles)] = line
    where = {"loc": "outside upper center", "ncols": len(handles), "frameon": False}
    figure.legend(handles.values(), handles, **where)
    figure.supxlabel(fill(note, 170), fontsize=8.5, color="0.35")
    figure.draw_without_rendering()  # labels are placed by what is then in their way
    figure.set_layout_engine("none")
    for axis, cost in zip(axes, PANELS, strict=True):
        place_labels(axis, methods.dropna(subset=cost), cost)
    return figure


def place_labels(axis: Axes, points: pd.DataFrame, cost: str) -> None:
    """Write each point's label at the nearest place where it covers no other and no marker."""
    renderer = axis.figure.canvas.get_renderer()
    pixels = axis.figure.dpi / 72  # a point
    size = MARKERS["markersize"] * pixels
    corners = axis.transData.transform(points[[cost, "ssim"]].to_numpy(float)) - size / 2
    taken = [Bbox.from_bounds(x, y, size, size) for x, y in corners]
    for point in points.itertuples():
        place = getattr(point, cost), point.ssim
        text = axis.annotate(point.label, place, (0, 0), arrowprops=LINE, **LABEL)
        text.set(color=STYLES[point.group][0], path_effects=HALO)
        text.update_positions(renderer)
        box = Text.get_window_extent(text, renderer)  # an annotation's own adds its line
        places = offsets(box.width / 2 / pixels, box.height / 2 / pixels)
        moved = [box.translated(dx * pixels, dy * pixels) for dx, dy in places]
        free = (
            index
            for index, place in enumerate(moved)
            if np.all(axis.bbox.min <= place.min)
            and np.all(place.max <= axis.bbox.max)
            and not place.count_overlaps(taken)
        )
        chosen = next(free, 0)  # if no place is free, the nearest
        text.set_position(places[chosen])
        taken.append(moved[chosen])


def offsets(width: float, height: float) -> list[tuple[float, float]]:
    """Return where the middle of a label of this half width and height may lie, nearest first."""
    angles = np.deg2rad([0, 180, 90, 270, 30, 150, 330, 210, 60, 120, 300, 240])
    return [
        (np.cos(angle) * (width + gap), np.sin(angle) * (height + gap))
        for gap in np.arange(NEAR, FAR, 4.0)
        for angle in angles
    ]


def main(snakemake: Snakemake) -> None:
    params, table = snakemake.params, read_methods(snakemake.input.methods)
    methods, averaged = summary(table, params.uses, params.caveats)
    images = images_of(params.dataset, params.rendered)
    notes = [f"{images[0].upper()}{images[1:]}. {averaged}"]
    if params.rendered:
        notes.append(PHANTOM_WARNING)
    notes += caveats_in_words(methods["label"], params.caveats)
    figure = compute_figure(methods, " ".join(notes))
    with replacing(snakemake.output.figure) as path:
        figure.savefig(path)


if __name__ == "__main__":
    run(main)
