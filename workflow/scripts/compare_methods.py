"""Compares all methods: how well they denoise, what they cost and use, how they were tuned."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from engine.job import run
from files.atomic import replacing
from make_table import (
    MISSING,
    Noise,
    about_images,
    html,
    markdown,
    published_rows,
    read_published,
    read_scores,
)

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

COSTS = ["parameters", "training_images", "training_seconds", "milliseconds"]
CLEAN, MODEL = "clean images", "noise model"  # what a method may use
MARK = "†"


def read_costs(paths: Iterable[str]) -> pd.DataFrame:
    """Return the lines of all cost files: `noise`, `method` and `COSTS`; empty is NaN."""
    frames = [read_methods(path) for path in paths]
    return pd.concat(frames or [pd.DataFrame(columns=["noise", "method", *COSTS])])


def read_methods(path: str | Path) -> pd.DataFrame:
    """Return a table of costs, or one that `comparison` made; a method may be called `NA`."""
    return pd.read_csv(
        path,
        dtype=dict.fromkeys(["noise", "method", "label"], str) | dict.fromkeys(COSTS, float),
        keep_default_na=False,
        na_values={name: [""] for name in COSTS},
    )


def comparison(
    scores: pd.DataFrame,
    costs: pd.DataFrame,
    noise: Iterable[str],
    labels: Mapping[str, str],
) -> pd.DataFrame:
    """Return one line for each noise setting and method that was scored, `noisy` first.

    Args:
        scores: What `read_scores` returns.
        costs: What `read_costs` returns.
        noise: The ids of the noise settings, in order.
        labels: What each method is called, in order.

    Returns:
        Columns `noise`, `method`, `label`, mean `ssim`, mean `psnr` (dB) and `COSTS`.
    """
    means = scores.groupby(["noise", "method"])[["ssim", "psnr"]].mean()
    labels = {"noisy": "noisy", **labels}
    order = [(name, method) for name in noise for method in labels if (name, method) in means.index]
    table = means.join(costs.set_index(["noise", "method"])).loc[order].reset_index()
    table.insert(2, "label", table["method"].map(labels))
    return table


def best(means: pd.Series, lattice: Sequence[str]) -> set[str]:
    """Return the methods with the highest mean, and those with the highest without the lattice.

    Args:
        means: Mean SSIM by method; NaN where a method was not run. Compared to four decimals.
        lattice: Methods that exploit the lattice of the published Poisson noise.
    """
    rounded = means.dropna().map(lambda mean: float(f"{mean:.4f}"))
    groups = (rounded, rounded.drop(lattice, errors="ignore"))
    return {method for group in groups for method in group.index[group == group.max()]}


def ssim_table(
    table: pd.DataFrame,
    noise: Mapping[str, Noise],
    labels: Mapping[str, str],
    lattice: Sequence[str],
    published: Mapping[str, Any] | None,
) -> pd.DataFrame:
    """Return the mean SSIM as text: a row a method, a column a noise setting, the best in bold.

    Args:
        table: What `comparison` returns.
        noise: The noise settings by id, in order.
        labels: What each method is called, in order.
        lattice: Methods that exploit the lattice of the published Poisson noise; marked.
        published: What was published, for rows in italics; None if nothing fits.
    """
    means = table.pivot(index="method", columns="noise", values="ssim")
    means = means.reindex(index=["noisy", *labels], columns=list(noise))
    rows = [{"Method": "noisy"} | means.loc["noisy"].map(decimals).to_dict()]
    found = published_rows(noise, published) if published else {}
    for method in dict.fromkeys(name for row in found.values() for name in row["readme"]):
        if method != "noisy":
            cells = {name: row["readme"].get(method) for name, row in found.items()}
            values = {name: decimals(cells.get(name)) for name in noise}
            row = {"Method": f"published {labels.get(method, method)}"} | values
            rows.append(
                {key: text if text == MISSING else f"*{text}*" for key, text in row.items()}
            )
    bold = {name: best(means.loc[list(labels), name], lattice) for name in noise}
    for method, label in marked(labels, lattice).items():
        row = means.loc[method].map(decimals)
        cells = {name: f"**{row[name]}**" if method in bold[name] else row[name] for name in noise}
        rows.append({"Method": label} | cells)
    return pd.DataFrame(rows)


def marked(labels: Mapping[str, str], lattice: Sequence[str]) -> dict[str, str]:
    """Return the labels, those of lattice methods with a mark."""
    return {name: f"{text} {MARK}" if name in lattice else text for name, text in labels.items()}


def lost_table(
    table: pd.DataFrame,
    noise: Iterable[str],
    labels: Mapping[str, str],
    uses: Mapping[str, Sequence[str]],
    lattice: Sequence[str],
) -> pd.DataFrame:
    """Return as text how far methods without clean images stay behind the best one with them.

    A row a method, a column a noise setting; see `ssim_table` and `cost_table` for the arguments.
    Methods that exploit the lattice are no yardstick.
    """
    means = table.pivot(index="method", columns="noise", values="ssim")
    means = means.reindex(index=list(labels), columns=list(noise))
    with_clean = [m for m in labels if CLEAN in uses[m] and m not in lattice]
    lost = means.loc[with_clean].max() - means
    return pd.DataFrame(
        [
            {"Method": label} | lost.loc[method].map(decimals).to_dict()
            for method, label in marked(labels, lattice).items()
            if CLEAN not in uses[method] and lost.loc[method].notna().any()
        ]
    )


def cost_table(
    table: pd.DataFrame,
    labels: Mapping[str, str],
    uses: Mapping[str, Sequence[str]],
    lattice: Sequence[str],
) -> pd.DataFrame:
    """Return as text what each method costs and uses; see `ssim_table` for the arguments."""
    rows = []
    for method, label in marked(labels, lattice).items():
        costs = table.loc[table["method"] == method, COSTS]
        medians = costs.median()
        rows.append(
            {
                "Method": label,
                "Clean images": "yes" if CLEAN in uses[method] else "no",
                "Noise model": "yes" if MODEL in uses[method] else "no",
                "Parameters": span(costs["parameters"]),
                "Image passes": span(costs["training_images"]),
                "Training, s": digits(medians["training_seconds"]),
                "ms an image": digits(medians["milliseconds"]),
            }
        )
    return pd.DataFrame(rows)


def tuned_table(
    tuned: Mapping[tuple[str, str], Mapping[str, Any]],
    noise: Iterable[str],
    labels: Mapping[str, str],
    lattice: Sequence[str],
) -> pd.DataFrame:
    """Return the best settings as text: a row a tuned method, a column a noise setting.

    Args:
        tuned: The best settings by noise setting and method.
        noise: The ids of the noise settings, in order.
        labels: What each method is called, in order.
        lattice: Methods that exploit the lattice of the published Poisson noise; marked.
    """
    methods = {method for _, method in tuned}
    return pd.DataFrame(
        [
            {"Method": label, **{name: settings_text(tuned.get((name, method))) for name in noise}}
            for method, label in marked(labels, lattice).items()
            if method in methods
        ]
    )


def read_tuned(paths: Iterable[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the best settings by noise setting and method, which are in the files' names.

    Args:
        paths: Files `.../NOISE/METHOD.json`, each a list of `settings` and `ssim`, best first.
    """
    found = {}
    for path in map(Path, paths):
        tried = json.loads(path.read_text(encoding="utf-8"))
        found[path.parent.name, path.stem] = tried[0]["settings"]
    return found


def settings_text(settings: Mapping[str, Any] | None) -> str:
    """Return settings as short text, such as `sigma 1.5, size 3`."""
    if not settings:
        return MISSING
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in settings.items()
    )


def decimals(value: float | None) -> str:
    return MISSING if pd.isna(value) else f"{value:.4f}"


def digits(value: float) -> str:
    """Return a number to about three digits."""
    if pd.isna(value):
        return MISSING
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def span(values: pd.Series) -> str:
    """Return whole numbers as one, or as a range where they differ."""
    found = [f"{value:,.0f}" for value in sorted(values.dropna().unique())]
    return " to ".join(dict.fromkeys([found[0], found[-1]])) if found else MISSING


def ssim_notes(
    kind: str,
    count: int,
    noise: Mapping[str, Noise],
    labels: Mapping[str, str],
    lattice: Sequence[str],
    published: Mapping[str, Any] | None,
) -> list[str]:
    """Return the sentences that stand under the table of SSIM."""
    lines = about_images(kind, count)
    if set(lattice) & set(labels):
        lines += [
            f"In bold: the best method, and the best of those without {MARK}.",
            f"{MARK} exploits the lattice of the published Poisson noise, which adds only whole "
            "multiples of its factor, whatever the signal. This works on that noise model, not "
            "on clinical noise.",
        ]
    else:
        lines.append("In bold: the best method.")
    if any(entry["distribution"] == "poisson" for entry in noise.values()):
        lines.append(
            "Poisson is the published noise, which does not depend on the signal. Any network can "
            "learn its steps, so these columns say little about clinical noise."
        )
    if published and published_rows(noise, published):
        lines.append(f"In italics: published. Published: {published['source']}.")
    return lines


COST_NOTES = [
    "Clean images, noise model: whether the method has to be given them, to be trained or tuned too.",
    "Image passes and seconds: the training for one noise setting; of processor time on a CPU, of "
    "the clock on a GPU. Seconds and milliseconds are the median over the noise settings.",
]
LOST_NOTES = [
    "SSIM below the best method that was trained or tuned with clean images, which a clinic may not have.",
]
TUNED_NOTES = ["Of the settings that were tried, those with the highest mean SSIM."]


def main(snakemake: "snakemake") -> None:
    params, inputs = snakemake.params, snakemake.input
    noise, labels, lattice = params.noise, params.labels, params.lattice
    scores, costs = read_scores(inputs.scores), read_costs(inputs.costs)
    table = comparison(scores, costs, noise, labels)
    published = read_published(inputs.get("published"), params.image_size)
    count = scores["image"].nunique()

    title = f"All methods: {params.kind} ({params.dataset})"
    parts = [
        "SSIM",
        ssim_table(table, noise, labels, lattice, published),
        ssim_notes(params.kind, count, noise, labels, lattice, published),
    ]
    if labels:
        costs_text = cost_table(table, labels, params.uses, lattice)
        parts += ["Cost and what each method uses", costs_text, COST_NOTES]
    lost = lost_table(table, noise, labels, params.uses, lattice)
    if len(lost):
        parts += ["Lost without clean images", lost, LOST_NOTES]
    tuned = tuned_table(read_tuned(inputs.get("tuning") or []), noise, labels, lattice)
    if len(tuned):
        parts += ["Tuned settings", tuned, TUNED_NOTES]
    outputs = {
        snakemake.output.md: markdown(title, *parts),
        snakemake.output.html: html(title, *parts),
        snakemake.output.csv: table.to_csv(index=False),
        snakemake.output.scores: scores.to_csv(index=False),
    }
    for name, content in outputs.items():
        with replacing(name) as path:
            path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    run(main, snakemake)
