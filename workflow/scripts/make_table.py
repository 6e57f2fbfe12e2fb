"""Collects the scores of all test images into the table, beside what was published, if anything."""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from engine.job import Snakemake, run
from engine.messages import number_of
from results.intervals import LEVEL
from results.pages import html, markdown, write_texts
from results.reading import (
    Noise,
    Published,
    published_rows,
    read_published,
    read_scores,
    read_variances,
)
from results.spread import WIDEST, prediction, spread_in, verdict
from results.wording import (
    ALIKE,
    LEAST_VARIANCE,
    MISSING,
    Elsewhere,
    Texts,
    about_scores,
    alike_in_words,
    elsewhere_in_words,
    images_of,
    noise_in_words,
)

Budget = Mapping[str, int]  # of a training: `steps`, and `batch` images in each
Budgets = Mapping[str, Mapping[str, Budget]]  # by method and noise setting
MARKS = {"inside": " ✓", "outside": " ✗", "undecided": " ?"}
VERDICT_NOTES = [
    f"Interval: around ours, where {LEVEL:.0%} of further runs would lie: another draw of the "
    "noise and, for a network, another training. How far runs lie apart is known from replicates",
    f"Verdict: whether the notebook's value is inside. Undecided: half the interval is wider than "
    f"{WIDEST}, or there are no replicates of this row yet.",
]


def mean_table(scores: pd.DataFrame, noise: Mapping[str, Noise]) -> pd.DataFrame:
    """Return the mean SSIM of each noise setting (rows) and method (columns, `noisy` first).

    Args:
        scores: Columns `noise`, `method`, `image`, `ssim`, `psnr`.
        noise: The noise settings by id.
    """
    means = scores.groupby(["noise", "method"])["ssim"].mean(skipna=False).unstack()
    means = means.loc[list(noise), scores["method"].unique()]
    return means.rename_axis(columns=None).reset_index()


def with_published(
    table: pd.DataFrame,
    noise: Mapping[str, Noise],
    published: Published,
    budgets: Budgets,
    spread: Mapping[str, Any],
    runs: Mapping[str, int],
) -> pd.DataFrame:
    """Add what was published for the same noise: value, difference, verdict.

    Adds for each method that was published `published_METHOD` (as the README rounds it),
    `difference_METHOD` (against the notebooks' full precision), `half_width_METHOD` of the
    prediction interval around ours and `verdict_METHOD` on the notebooks' value: inside, outside,
    undecided, or missing where training had less than the published budget.

    Args:
        table: What `mean_table` returned.
        noise, published, budgets: The noise settings, what was published, the trainings.
        spread: What `resources/spread.yaml` holds, or nothing.
        runs: How many runs each method's mean is of.
    """
    table = table.copy()
    rows = published_rows(noise, published)
    for method in list(table.columns[1:]):
        for index, (name, ours) in enumerate(zip(table["noise"], table[method], strict=True)):
            if method not in rows.get(name, {}).get("readme", {}) or pd.isna(ours):
                continue
            difference = ours - rows[name]["notebook"][method]
            table.loc[index, f"published_{method}"] = rows[name]["readme"][method]
            table.loc[index, f"difference_{method}"] = difference
            budget = budgets.get(method, {}).get(name)
            if budget is None or passes(budget) == passes(published["training"]):
                known = spread_in(spread, noise[name]).get(method)
                width = prediction(known, runs[method]) if known else math.nan
                table.loc[index, f"half_width_{method}"] = width
                table.loc[index, f"verdict_{method}"] = verdict(difference, width)
    return table


def with_marks(table: pd.DataFrame, variances: pd.Series) -> pd.DataFrame:
    """Mark scores of images that hardly differ, in `mark_METHOD`; they have no verdict.

    Takes what `mean_table` or `with_published` returns, and `read_variances`.
    """
    table = table.copy()
    for noise, method in variances.index[variances < LEAST_VARIANCE]:
        row = table["noise"] == noise
        judged = table.columns.intersection([f"half_width_{method}", f"verdict_{method}"])
        table.loc[row, judged] = math.nan
        table.loc[row, f"mark_{method}"] = ALIKE
    return table


def passes(budget: Budget) -> int:
    """Return how many images pass through the network in a training."""
    return budget["steps"] * budget["batch"]


def verdict_table(
    table: pd.DataFrame, noise: Mapping[str, Noise], labels: Texts, published: Published
) -> pd.DataFrame:
    """Return a line as text for each published value that has a verdict."""
    lines = []
    rows = published_rows(noise, published)
    for method, label in {"noisy": "noisy", **labels}.items():
        for row in table.to_dict("records"):
            if pd.isna(found := row.get(f"verdict_{method}", math.nan)):
                continue
            width, theirs = row[f"half_width_{method}"], rows[row["noise"]]
            ends = [row[method] - width, row[method] + width]
            line = {"Noise": row["noise"], "Method": label}
            line |= {"README": f"{theirs['readme'][method]:.4f}"}
            line |= {"Notebook": f"{theirs['notebook'][method]:.4f}", "Ours": f"{row[method]:.4f}"}
            line["Difference"] = f"{row[f'difference_{method}']:+.4f}"
            known = " to ".join(f"{end:.4f}" for end in ends)
            lines.append(
                line | {"Interval": MISSING if pd.isna(width) else known, "Verdict": found}
            )
    return pd.DataFrame(lines)


def published_form(table: pd.DataFrame, noise: Mapping[str, Noise], labels: Texts) -> pd.DataFrame:
    """Return the table as text, in the published form."""
    settings = [noise[name] for name in table["noise"]]
    columns = {
        "Noise factor": [str(setting.get("factor", MISSING)) for setting in settings],
        "Noise distribution": [noise_in_words(setting) for setting in settings],
    }
    for method, label in {"noisy": "noisy", **labels}.items():
        columns[f"SSIM {label}"] = [cell(row, method) for row in table.to_dict("records")]
    return pd.DataFrame(columns)


def cell(row: Mapping[str, Any], method: str) -> str:
    if pd.isna(row.get(method)):
        return MISSING
    text = f"{row[method]:.4f}"
    if pd.notna(sign := row.get(f"mark_{method}")):
        text += f" {sign}"
    if pd.notna(row.get(f"published_{method}")):
        mark = MARKS.get(row.get(f"verdict_{method}"), "")
        difference = row[f"difference_{method}"]
        text += f" ({row[f'published_{method}']:.4f}, {difference:+.4f}{mark})"
    return text


def notes(
    table: pd.DataFrame,
    labels: Texts,
    budgets: Budgets,
    published: Published | None,
    elsewhere: Elsewhere | None = None,
) -> list[str]:
    """Return what the table's readers must know of the published values and of the trainings."""
    elsewhere = elsewhere or {}
    lines = elsewhere_in_words(labels, elsewhere)
    if published:
        lines.append(
            "In brackets: the published value, our difference from it at full precision, and "
            f"the verdict. Published: {published['source']}."
        )
        for method, label in {"noisy": "noisy", **labels}.items():
            if f"published_{method}" in table:
                judged = table.get(f"verdict_{method}", pd.Series(dtype=object)).dropna()
                lines.append(
                    f"SSIM {label}: {verdicts_in_words(judged, f'mark_{method}' in table)}."
                )
            elif method in elsewhere:
                lines.append(f"SSIM {label}: not compared, since the published one learned here.")
    for method, rows in budgets.items():
        compared = None if method in elsewhere else published
        for text in dict.fromkeys(budget_text(budget, compared) for budget in rows.values()):
            lines.append(f"Training of the {labels[method]}: {text}.")
    return lines


def verdicts_in_words(judged: pd.Series, is_marked: bool) -> str:
    """Say how many of the rows that can be judged have which verdict; none if all are marked."""
    if judged.empty:
        other = "training had another budget than the published one"
        return f"not judged, since {f'its scores have the mark {ALIKE}' if is_marked else other}"
    counts = judged.value_counts()
    found = [
        f"{mark.strip()} {name} in {counts[name]}" for name, mark in MARKS.items() if name in counts
    ]
    return f"{', '.join(found)} of {number_of(len(judged), 'row')}"


def budget_text(budget: Budget, published: Published | None) -> str:
    text = f"{number_of(budget['steps'], 'step')} of {number_of(budget['batch'], 'image')}"
    if published:
        share = passes(budget) / passes(published["training"])
        text += f", {share:.1%} of the published budget" if share != 1 else ", as published"
    return text


def runs_of(scores: pd.DataFrame, trained: Collection[str]) -> dict[str, int]:
    """Return how many runs there are of each method: trainings of a network, draws of others."""
    if "training" not in scores:
        return dict.fromkeys(scores["method"], 1)
    counts = scores.groupby("method")[["training", "draw"]].nunique()
    return {m: row["training" if m in trained else "draw"] for m, row in counts.iterrows()}


def main(snakemake: Snakemake) -> None:
    params, inputs, outputs = snakemake.params, snakemake.input, snakemake.output
    scores = read_scores(inputs.scores)
    table, variances = mean_table(scores, params.noise), read_variances(inputs.variances)
    published = read_published(inputs.get("published"), params.image_size, params.elsewhere)
    file = inputs.get("spread")
    spread = yaml.safe_load(Path(file).read_text(encoding="utf-8")) if file else {}
    if published:
        runs = runs_of(scores, params.budgets)
        table = with_published(table, params.noise, published, params.budgets, spread, runs)
    table, judged = with_marks(table, variances), []
    if published and len(v := verdict_table(table, params.noise, params.labels, published)):
        first = f"{VERDICT_NOTES[0]} ({spread.get('made_of', 'none so far')})."
        judged = ["Each published value", v, [first, *VERDICT_NOTES[1:]]]

    page = markdown(
        f"Denoising radiographs: {images_of(params.dataset, params.rendered)}",
        published_form(table, params.noise, params.labels),
        about_scores(scores, params.rendered)
        + alike_in_words(variances.reset_index(), params.labels)
        + notes(table, params.labels, params.budgets, published, params.elsewhere),
        *judged,
    )
    csv = table.to_csv(index=False)
    write_texts({outputs.md: page, outputs.html: html(page), outputs.csv: csv})


if __name__ == "__main__":
    run(main)
