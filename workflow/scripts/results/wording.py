"""What tables and figures say in the same words."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from engine.messages import number_of

if TYPE_CHECKING:
    import pandas as pd

Texts = Mapping[str, str]  # by method, in order: what it is called, or its caveat
# By method that learned from another data set than the one that is scored: its name as `dataset`,
# and whether it is `rendered`.
Elsewhere = Mapping[str, Mapping[str, Any]]
CLEAN, MODEL = "clean images", "noise model"  # what a plug-in may declare in USES
MARK = "†"  # on each method that has a caveat
ALIKE = "‡"  # on each score of a method whose images hardly differ from each other
# Of the variance from one clean image to the next. A network that gives one picture for all has 0;
# on the published noise the filter has 7 % or more (where noise makes most pixels white, else 99 %)
# and the networks 80 % or more.
LEAST_VARIANCE = 0.05
MISSING = "\N{EN DASH}"
PHANTOM_WARNING = "The images are a digital phantom: this says nothing about patients."

POISSON_WARNING = (
    "Poisson is the published noise, which adds steps of one size whatever the signal. Networks "
    "can learn these steps, so these {} say little about clinical noise."
)


def capitalised(text: str) -> str:
    """Return a text with its first letter as a capital, as a sentence begins."""
    return text[:1].upper() + text[1:]


def images_of(dataset: str, rendered: bool) -> str:
    """Return a data set in words, such as `digital phantom (NAME)` if it is rendered."""
    return f"{'digital phantom' if rendered else 'real images'} ({dataset})"


def about_scores(scores: "pd.DataFrame", rendered: bool) -> list[str]:
    """Return the sentences under every table of scores: what was averaged, and over what."""
    counts = scores.filter(["image", "training", "draw"]).nunique()
    kinds = [number_of(counts["image"], "test image")]
    if "training" in counts:
        kinds += [f"trainings of each network: {counts['training']}", f"draws: {counts['draw']}"]
    over = ", ".join(kinds)
    lines = [f"Mean structural similarity (SSIM) over {over}; higher is better."]
    return [*lines, PHANTOM_WARNING] if rendered else lines


def noise_in_words(noise: Mapping[str, float | str]) -> str:
    """Return a noise setting without its factor, such as `Gaussian (mean 0, std 1)`."""
    settings = (f"{k} {v}" for k, v in noise.items() if k not in ("distribution", "factor"))
    name = str(noise["distribution"]).replace("_", "-").title()
    return f"{name} ({', '.join(settings)})"


def heading_of(noise: Mapping[str, float | str]) -> str:
    """Return a noise setting in words, with its factor if it has one."""
    return noise_in_words(noise) + (f", factor {noise['factor']}" if "factor" in noise else "")


def caveats_in_words(labels: Texts, caveats: Texts, mark: str = MARK) -> list[str]:
    """Return a sentence for each caveat: the methods of `labels` that have it, what it says."""
    methods: dict[str, list[str]] = {}
    for method, label in labels.items():
        if method in caveats:
            methods.setdefault(caveats[method], []).append(label)
    return [f"{mark} {', '.join(found)}: {caveat}" for caveat, found in methods.items()]


def elsewhere_in_words(labels: Texts, elsewhere: Elsewhere) -> list[str]:
    """Return a sentence for each other data set: the methods of `labels` that learned from it."""
    methods: dict[str, list[str]] = {}
    for name in filter(elsewhere.get, labels):
        methods.setdefault(images_of(**elsewhere[name]), []).append(labels[name])
    return [
        f"{', '.join(found)}: learned from other images, {images}, and from none of this data set."
        for images, found in methods.items()
    ]


def marked(labels: Texts, caveats: Iterable[str]) -> dict[str, str]:
    """Return the labels, those of methods with a caveat with the mark."""
    return {name: f"{text} {MARK}" if name in caveats else text for name, text in labels.items()}


def sign(variance_share: float) -> str:
    """Return what follows a score: `ALIKE`, or nothing if the images vary or that is not known."""
    return f" {ALIKE}" if variance_share < LEAST_VARIANCE else ""


def alike(table: "pd.DataFrame") -> dict[str, str]:
    """Return what to say of each method that has scores with the mark `ALIKE`.

    Takes a table with the columns `noise`, `method` and `variance_share`.
    """
    found = table[table["variance_share"] < LEAST_VARIANCE]
    return {
        method: f"in {', '.join(lines['noise'])} its images hardly differ from each other: "
        f"they have less than {LEAST_VARIANCE:.0%} of the variance between the clean images. "
        "Such a score is never in bold, never the best and has no verdict."
        for method, lines in found.groupby("method", sort=False)
    }


def alike_in_words(table: "pd.DataFrame", labels: Texts) -> list[str]:
    """Return the sentences on scores with the mark `ALIKE`; see `alike`."""
    return caveats_in_words({"noisy": "noisy", **labels}, alike(table), ALIKE)
