"""What the methods of a table were given, and whether that was the same for all."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from engine.messages import InputError
from results.reading import COSTS, by_noise, differing, read_tuning
from results.wording import CLEAN, MISSING, MODEL, Elsewhere, Texts, images_of, marked

Uses = Mapping[str, Sequence[str]]  # by method: `CLEAN`, `MODEL`, both or nothing
COST_NOTES = [
    "Clean images, noise model: whether training, tuning or denoising needs them. Phantoms: "
    "whether it was trained or tuned on them.",
    "Trials: combinations of settings that were tried for one noise setting, 1 where nothing is "
    "tuned. The settings of networks, such as the learning rate, are not tuned by the workflow. "
    "Those of the U-Net were chosen by hand before, in trials with prototypes that are not counted "
    "(docs/denoisers.md, What was tried).",
    "Image passes and training seconds are those of one noise setting. The seconds are processor "
    "time on a CPU and elapsed time on a GPU. All times are medians over the noise settings.",
]

LOST_NOTES = [
    "How much lower the SSIM is than that of the best method that needs clean images, which a "
    "clinic may not have.",
]


def read_trials(paths: Iterable[str]) -> pd.DataFrame:
    """Return how much each tuning tried: `noise`, `method`, `trials` and on how many `images`."""
    lines = [(*key, len(tried), tried[0]["images"]) for key, tried in read_tuning(paths).items()]
    return pd.DataFrame(lines, columns=["noise", "method", "trials", "images"])


def require_equal_seconds(
    table: pd.DataFrame, methods: Collection[str], allowed: Mapping[str, Any]
) -> None:
    """Refuse trainings that took another time than that of the method `seconds_as`.

    Args:
        table: Columns `noise`, `method` and `training_seconds`.
        methods: The trained methods that the limit is for.
        allowed: What the configuration allows; without `seconds_as`, any time.

    Raises:
        InputError: Naming each method, the noise setting, its seconds and what is allowed.
    """
    if "seconds_as" not in allowed:
        return
    yardstick, tolerance = allowed["seconds_as"], allowed["tolerance"]
    seconds = table.set_index(["noise", "method"])["training_seconds"]
    wrong = []
    for (noise, method), found in seconds[table["method"].isin(methods).to_numpy()].items():
        low, high = (seconds[noise, yardstick] * (1 + sign * tolerance) for sign in (-1, 1))
        if not low <= found <= high:  # nor if one of them is unknown
            wrong.append(
                f"methods.{method}: the training for {noise} took {digits(found)} s; "
                f"allowed: {digits(low)} to {digits(high)} s, as {yardstick} (allowed.seconds_as)"
            )
    if wrong:
        raise InputError("\n".join([*wrong, "Change the steps of these methods."]))


def cost_table(
    table: pd.DataFrame,
    labels: Texts,
    uses: Uses,
    tried: pd.DataFrame,
    phantoms: Collection[str],
    origins: Texts | None = None,
) -> pd.DataFrame:
    """Return as text what each method costs and was given.

    Args:
        table: Columns `method` and `COSTS`.
        labels: What each method is called, in order.
        uses: What it needs.
        tried: What `read_trials` returns.
        phantoms: The methods that learned from phantoms.
        origins: The data set that each method learned from, where that is to be shown.
    """
    rows = []
    for method, label in labels.items():
        costs = table.loc[table["method"] == method, COSTS]
        medians = costs.median()
        tuning = tried[tried["method"] == method]
        rows.append(
            {
                "Method": label,
                "Clean images": "yes" if CLEAN in uses[method] else "no",
                "Noise model": "yes" if MODEL in uses[method] else "no",
                "Phantoms": "yes" if method in phantoms else "no",
                **({"Learned from": origins.get(method, MISSING)} if origins else {}),
                "Trials": "1" if tuning.empty else span(tuning["trials"]),
                "Validation images": span(tuning["images"]),
                "Parameters": span(costs["parameters"]),
                "Image passes": span(costs["training_images"]),
                "Training, s": digits(medians["training_seconds"]),
                "ms an image": digits(medians["milliseconds"]),
            }
        )
    return pd.DataFrame(rows)


def tuned_table(
    tuned: Mapping[tuple[str, str], Mapping[str, Any]], noise: Iterable[str], labels: Texts
) -> pd.DataFrame:
    """Return what `read_tuned` returns as text: a row a tuned method, a column a noise setting."""
    tuned_methods = {method for _, method in tuned}
    return pd.DataFrame(
        {"Method": label} | {name: settings_text(tuned.get((name, method))) for name in noise}
        for method, label in labels.items()
        if method in tuned_methods
    )


def settings_text(settings: Mapping[str, Any] | None) -> str:
    """Return settings as short text, such as `sigma 1.5, size 3`."""
    if not settings:
        return MISSING
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in settings.items()
    )


def lost_table(
    table: pd.DataFrame,
    noise: Iterable[str],
    labels: Texts,
    uses: Uses,
    caveats: Texts,
    references: Collection[str],
) -> pd.DataFrame:
    """Return as text how far methods without clean images stay behind the best one with them.

    A row a method, a column a noise setting; see `score_table` for the arguments. Methods with a
    caveat and references are no yardstick.
    """
    means = by_noise(differing(table), list(labels), noise)
    no_yardstick = {*caveats, *references}
    with_clean = [n for n in labels if CLEAN in uses[n] and n not in no_yardstick]
    without = [name for name in labels if CLEAN not in uses[name]]
    lost = (means.loc[with_clean].max() - means).loc[without].dropna(how="all")
    rows = lost.map(decimals)
    rows.insert(0, "Method", [marked(labels, caveats)[name] for name in rows.index])
    return rows


def given_notes(labels: Texts, uses: Uses, elsewhere: Elsewhere | None = None) -> list[str]:
    """Return in words what some methods of a table were given and others were not."""
    differ = []
    for what in (CLEAN, MODEL):
        without = [label for name, label in labels.items() if what not in uses[name]]
        if 0 < len(without) < len(labels):
            differ.append(f"without {what}: {', '.join(without)}")
    others: dict[str, list[str]] = {}
    for name, images in (elsewhere or {}).items():
        others.setdefault(images_of(**images), []).append(labels[name])
    differ += [f"learned from {images}: {', '.join(found)}" for images, found in others.items()]
    return [f"Not all methods were given the same; {'; '.join(differ)}."] if differ else []


def decimals(value: float, places: int = 4) -> str:
    return MISSING if pd.isna(value) else f"{value:.{places}f}"


def digits(value: float) -> str:
    """Return a number to about three digits."""
    if pd.isna(value):
        return MISSING
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def span(values: pd.Series) -> str:
    """Return whole numbers as one, or as a range where they differ."""
    found = [f"{value:,.0f}" for value in sorted(values.dropna().unique())]
    return " to ".join(dict.fromkeys([found[0], found[-1]])) if found else MISSING
