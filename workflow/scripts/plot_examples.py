"""Draws the best, the median and the worst test image of a method, and what methods make of them.

These are the methods of the published experiment, and the best of the others.
"""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from engine.job import Snakemake, run
from files.arrays import load_images
from files.tables import ids_of, read_table
from results.figures import DPI, FIRST, GREY, SIZE, SOME, interpolation, methods_shown, save
from results.wording import PHANTOM_WARNING, heading_of, images_of

METHODS = 3  # beside the ground truth and the noisy images
# Left, top and side of the square that is enlarged, as shares of the image's side: in lateral
# cephalograms, where the patient looks to the right, it holds the teeth.
DETAIL = 0.44, 0.55, 0.30
ERROR = 0.2  # what is white in all maps of absolute errors, in grey levels of [0, 1]
# Few colours, since noise can't be compressed.
GREYS = {"cmap": colormaps["gray"].resampled(64), "vmin": 0, "vmax": 1}
ERRORS = {"cmap": colormaps[SIZE].resampled(20), "vmin": 0, "vmax": ERROR}
RANKED = 'Test images: the {0} by the SSIM of "{1}".'
NOT_RANKED = 'By the SSIM of "{1}" no test image is best: there is one, or no score differs.'
BELOW_EACH = (
    "Below each: the absolute error, in grey levels of [0, 1], and the part in the frame enlarged, "
    "which holds the teeth in lateral cephalograms."
)
FRAME = {"fill": False, "edgecolor": "#F0E442", "linewidth": 1.2}
HALO = [withStroke(linewidth=2.6, foreground="black")]
Extent = tuple[int, int, int, int]  # left, right, bottom, top
CELL, GAP, LEFT, BELOW, LINE = 256, 8, 34, 34, 17  # pixels; the last of a line of text
LETTERS = 27  # of a heading in a line


def ranked(scores: Sequence[float]) -> dict[int, str]:
    """Return the indices of the best, the median and the worst image, with these words.

    Of two images none is the median. Where the scores put no image before another, it is the first
    image, with no word.
    """
    order = np.argsort(scores, kind="stable").tolist()
    if len(order) < 2 or not np.isfinite(scores).all() or np.ptp(scores) == 0:
        return {0: ""}
    words = {order[len(order) // 2]: "median", order[-1]: "best", order[0]: "worst"}
    return {index: words[index] for index in reversed(order) if index in words}


def short(name: str) -> str:
    """Return a name without its middle, if it is too long to be written beside an image."""
    return name if len(name) <= 40 else f"{name[:19]}...{name[-18:]}"


def detail(image: np.ndarray) -> np.ndarray:
    """Return the part of a square image that is enlarged."""
    left, top, side = (round(share * len(image)) for share in DETAIL)
    return image[top : top + side, left : left + side]


def show(axis: Axes, image: np.ndarray, extent: Extent, colours: Mapping) -> AxesImage:
    """Draw an image at a place, which is in halves of a cell; one of many pixels is smoothed."""
    how = interpolation(image, (extent[1] - extent[0]) * CELL / 2 / DPI)
    return axis.imshow(image, extent=extent, interpolation=how, aspect="auto", **colours)


def example_figure(
    columns: Mapping[str, np.ndarray],
    similarity: Mapping[str, Sequence[float]],
    names: Sequence[str],
    title: str,
    note: str,
) -> Figure:
    """Return the figure: a row an image; a column a method, with its errors and a detail below.

    Args:
        columns: By heading, images of shape (n, H, H) with values in [0, 1]; first the truth.
        similarity: By heading, the SSIM of each of these images; not for the ground truth.
        names: What each image is called.
        title, note: Above and below all.
    """
    height = 3 * CELL // 2
    width_of_all = LEFT + (CELL + GAP) * len(columns)
    title, note = fill(title, width_of_all // 10), fill(note, width_of_all // 9)
    headings = ["\n".join(fill(line, LETTERS) for line in text.split("\n")) for text in columns]
    above = LINE * (title.count("\n") + max(text.count("\n") for text in headings) + 4)
    height_of_all = above + (height + BELOW) * len(names) + LINE * (note.count("\n") + 2)
    figure = Figure(figsize=(width_of_all / DPI, height_of_all / DPI), dpi=DPI)

    def axes_at(left: int, top: int, width: int, height: int) -> Axes:
        place = left, height_of_all - top - height, width, height
        return figure.add_axes(np.divide(place, 2 * (width_of_all, height_of_all)))

    truth = next(iter(columns.values()))
    for column, (text, images) in enumerate(columns.items()):
        for row, name in enumerate(names):
            left, top = LEFT + (CELL + GAP) * column, above + (height + BELOW) * row
            axis = axes_at(left, top, CELL, height)
            axis.spines[:].set_visible(False)
            show(axis, images[row], (0, 2, 1, 3), GREYS)
            show(axis, detail(images[row]), (1, 2, 0, 1), GREYS)
            if row == 0:
                axis.set_title(headings[column], loc="center", fontweight="normal")
            if column == 0:
                axis.set_ylabel(name)
                left, top, side = DETAIL
                frame = Rectangle((2 * left, 3 - 2 * (top + side)), 2 * side, 2 * side, **FRAME)
                axis.add_patch(frame).set_path_effects(HALO)
            else:
                error = np.abs(images[row] - truth[row])
                shown = show(axis, error, (0, 1, 0, 1), ERRORS)
                axis.set_xlabel(f"SSIM {similarity[text][row]:.3f}", labelpad=2)
            axis.set(xlim=(0, 2), ylim=(0, 3), xticks=[], yticks=[])
    bar = axes_at(LEFT + 12, above + height - 76, 100, 12)
    figure.colorbar(shown, bar, orientation="horizontal", extend="max", ticks=[0, ERROR / 2, ERROR])
    bar.set_title("absolute error", loc="center", fontsize=9, fontweight="normal")
    figure.text(0.5, 1 - 8 / height_of_all, title, fontsize=11, ha="center", va="top")
    figure.text(0.5, 8 / height_of_all, note, fontsize=8.5, color=GREY, ha="center")
    return figure


def main(snakemake: Snakemake) -> None:
    inputs, params = snakemake.input, snakemake.params
    labels = {"noisy": "noisy"} | params.candidates
    scores = {
        method: [float(line["ssim"]) for line in read_table(path)]
        for method, path in zip(labels, inputs.scores, strict=True)
    }
    means = {method: np.mean(values) for method, values in scores.items()}
    methods = methods_shown(params.candidates, params.published, means, METHODS)
    reference = [*methods, "noisy"][0]
    chosen = ranked(scores[reference])

    places = list(chosen)
    files = dict(zip(labels, [inputs.noisy, *inputs.denoised], strict=True))
    columns = {"ground truth": load_images(inputs.clean, mmap_mode="r")[places]}
    similarity = {}
    for method in ["noisy", *methods]:
        heading = f"{labels[method]}\nmean SSIM {means[method]:.3f}"
        columns[heading] = load_images(files[method], mmap_mode="r")[places]
        similarity[heading] = [scores[method][place] for place in places]
    ids = ids_of("test", inputs.split)
    names = [f"{word} image {short(ids[place])}".strip() for place, word in chosen.items()]
    title = f"{images_of(params.dataset, params.rendered)}: {heading_of(params.noise)}"
    words = ", the ".join(filter(None, chosen.values()))
    notes = [(RANKED if words else NOT_RANKED).format(words, labels[reference]), BELOW_EACH]
    if len(methods) < len(params.candidates):
        notes.append(SOME.format(len(params.candidates)))
    if params.repeated:
        notes.append(FIRST)
    if params.rendered:
        notes.append(PHANTOM_WARNING)
    figure = example_figure(columns, similarity, names, title, " ".join(notes))
    save(figure, snakemake.output)


if __name__ == "__main__":
    run(main)
