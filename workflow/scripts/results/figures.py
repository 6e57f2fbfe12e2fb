"""The look of all figures: importing this sets it. And which methods a figure shows."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from textwrap import fill

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from files.atomic import replacing

DPI = 120
CLIPS = re.compile(r"(?<=[\"#])p[0-9a-f]{10}(?=[\")])")  # in id="..." and url(#...)
# Colours that colour-blind people can tell apart (Okabe and Ito), with a marker and dashes each,
# which tell them apart in a print without colours.
STYLES = [
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    {"color": "#E69F00", "marker": "v", "linestyle": (0, (6, 1.5, 1, 1.5, 1, 1.5))},
    {"color": "#56B4E9", "marker": "P", "linestyle": (0, (8, 2))},
    {"color": "#000000", "marker": "X", "linestyle": (0, (2, 1))},
]
SIZE, SIGN = "magma", "gray"  # colour maps of absolute and of signed errors: lighter is more
GREY = "0.35"
FIRST = "Images, scores and errors are those of the first training and draw."
SOME = "Of {} methods these are the published ones and those with the highest mean SSIM."
matplotlib.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.3,
        "legend.frameon": False,
        "image.composite_image": False,  # an image is embedded with its own pixels, no more
        "text.parse_math": False,  # names may hold dollar signs
        # As outlines, text is where it was measured to fit, whatever fonts a reader has.
        "svg.fonttype": "path",
        "svg.hashsalt": "the same ids in each run",
    }
)


def style(index: int) -> dict:
    """Return colour, marker and dashes of the curve of this number."""
    return STYLES[index % len(STYLES)]


def interpolation(image: np.ndarray, inches: float) -> str:
    """Return how to draw a square image on so many inches: its own pixels, but of many the mean."""
    return "none" if len(image) <= round(inches * DPI) else "antialiased"


def write_note(figure: Figure, sentences: Iterable[str]) -> None:
    """Write sentences under a figure, which has a layout that makes room for them."""
    text = fill(" ".join(sentences), int(13 * figure.get_figwidth()))
    figure.supxlabel(text, fontsize=8.5, color=GREY)


def save(figure: Figure, paths: Iterable[str | Path]) -> None:
    """Write a figure to each path, in the format that its suffix says: always the same bytes."""
    for path in map(Path, paths):
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=DPI, metadata={"Date": None})
            if path.suffix == ".svg":  # matplotlib names shapes that clip by their place in memory
                text = temporary.read_text(encoding="utf-8")
                temporary.write_text(with_counted_clips(text), encoding="utf-8")


def with_counted_clips(text: str) -> str:
    """Return an SVG in which shapes that clip are called by the order in which they come."""
    order = dict.fromkeys(CLIPS.findall(text))
    names = {name: f"clip{number}" for number, name in enumerate(order)}
    return CLIPS.sub(lambda found: names[found[0]], text)


def methods_shown(
    candidates: Iterable[str], published: Collection[str], means: Mapping[str, float], most: int
) -> list[str]:
    """Return at most `most` of the candidates: the published ones first, then the best.

    They are in the order of the candidates. `means` is the mean SSIM of each.
    """
    candidates = list(candidates)
    first = sorted(candidates, key=lambda name: (name not in published, -means[name]))[:most]
    return [name for name in candidates if name in first]
