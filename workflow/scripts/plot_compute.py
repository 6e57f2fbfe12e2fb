"""Draws how well each method denoises against what it costs: to run, and to train."""

from collections.abc import Collection, Mapping, Sequence

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
from results.figures import save, style, write_note
from results.intervals import half_width
from results.reading import by_noise, read_methods, read_scores
from results.wording import (
    CLEAN,
    MARK,
    PHANTOM_WARNING,
    alike,
    capitalised,
    caveats_in_words,
    images_of,
)

MARKED = f"with a caveat ({MARK})"
KINDS = ["classical", "trained with clean images", "trained without clean images", MARKED]
LOOKS = {kind: style(index) for index, kind in enumerate(KINDS)}
MARKERS = {"markersize": 6, "markeredgecolor": "white"}
PANELS = {
    "milliseconds": ("to run", "milliseconds an image"),
    "training_seconds": ("to train", "seconds for a noise setting (processor time on a CPU)"),
}
BARS = (
    "Bars: 95 % confidence intervals of these means over the test images; of each image the mean "
    "over the settings counts."
)
NO_BAR = "No interval, for want of several images with different scores:"
LABEL = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": 8.5}
LINE = {"arrowstyle": "-", "color": "0.6", "shrinkA": 0, "shrinkB": 4}  # from a label to its point
HALO = [withStroke(linewidth=3, foreground="white")]
NEAR, FAR = 7, 60  # points between a marker and its label


def group_of(trained: bool, uses: Sequence[str], has_caveat: bool) -> str:
    """Return what kind of method it is, one of `KINDS`."""
    if has_caveat:
        return MARKED
    if not trained:
        return "classical"
    return "trained with clean images" if CLEAN in uses else "trained without clean images"


def summary(
    table: pd.DataFrame,
    scores: pd.DataFrame,
    uses: Mapping[str, Sequence[str]],
    caveats: Collection[str],
) -> tuple[pd.DataFrame, str]:
    """Return the mean SSIM and the median costs of each method, and what these are means over.

    Means compare only over the same noise settings. These are the settings that more than half
    of the methods have; a method that lacks one of them is left out. The table is what
    `compare_methods.comparison` returns of the scores. The interval of a mean over settings is that
    of the images' means over them, since the scores of one image belong together.

    Returns:
        Columns `label`, `ssim`, `milliseconds`, `training_seconds`, `group`, `half_width`, a row a
        method; and the sentences that say what was averaged and which methods are left out.
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
    of_common = scores[scores["noise"].isin(common) & scores["method"].isin(complete)]
    by_setting = of_common.groupby(["method", "noise", "image"])["ssim"].mean()
    images = by_setting.groupby(["method", "image"]).mean()
    widths = images.groupby("method").agg(half_width)
    points["half_width"] = widths.reindex(points.index)
    note = f"Mean over the noise settings {', '.join(common)}."
    if points["half_width"].notna().any():
        note += f" {BARS}"
    if unsure := points["label"][points["half_width"].isna()].tolist():
        every = len(unsure) == len(points) > 1
        note += f" {NO_BAR} {'all methods' if every else ', '.join(unsure)}."
    if len(complete) < len(ssim):
        labels = methods.loc[~methods["method"].isin(complete), "label"].unique()
        note += f" Left out, since they lack some of these: {', '.join(labels)}."
    return points, note


def compute_figure(methods: pd.DataFrame, note: str) -> Figure:
    """Return the figure: one panel a cost, one labelled point a method; see `summary`."""
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    FigureCanvasAgg(figure)  # whose renderer measures the labels
    axes = figure.subplots(1, 2, sharey=True)
    handles = {}
    for axis, (cost, (purpose, unit)) in zip(axes, PANELS.items(), strict=True):
        points = methods.dropna(subset=cost).sort_values(cost)
        fair = points[points["group"] != MARKED]
        (line,) = axis.step(fair[cost], fair["ssim"].cummax(), where="post", color="0.8", zorder=1)
        if points.empty:
            axis.text(0.5, 0.5, "none", ha="center", color="0.5", transform=axis.transAxes)
        for group, look in LOOKS.items():
            some = points[points["group"] == group]
            look = look | {"linestyle": "", "capsize": 3} | MARKERS
            drawn = axis.errorbar(some[cost], some["ssim"], some["half_width"], **look)
            if len(some):
                handles[group] = drawn
        axis.set(xscale="log", xlabel=unit)
        axis.set_title(purpose)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.margins(0.09, 0.07)
    axes[0].set_ylabel("mean SSIM (higher is better)")
    handles["best at this cost or less" + f", without {MARK}" * (MARKED in handles)] = line
    where = {"loc": "outside upper center", "ncols": len(handles)}
    figure.legend(handles.values(), handles, **where)
    write_note(figure, [note])
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
    half = points["half_width"].fillna(0)
    low, high = (
        axis.transData.transform(np.c_[points[cost], points["ssim"] + sign * half])
        for sign in (-1, 1)
    )
    taken = [Bbox([bottom, top]).padded(size / 2) for bottom, top in zip(low, high, strict=True)]
    for point in points.itertuples():
        place = getattr(point, cost), point.ssim
        text = axis.annotate(point.label, place, (0, 0), arrowprops=LINE, **LABEL)
        text.set(color=LOOKS[point.group]["color"], path_effects=HALO)
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
    scores = read_scores([snakemake.input.scores])
    caveats = params.caveats | alike(table)
    methods, averaged = summary(table, scores, params.uses, caveats)
    images = images_of(params.dataset, params.rendered)
    notes = [f"{capitalised(images)}. {averaged}"]
    if params.rendered:
        notes.append(PHANTOM_WARNING)
    notes += caveats_in_words(methods["label"], caveats)
    save(compute_figure(methods, " ".join(notes)), snakemake.output)


if __name__ == "__main__":
    run(main)
