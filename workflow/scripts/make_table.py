"""Collects the scores of all test images into the table, beside what was published, if anything."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from engine.job import Snakemake, run
from results.pages import html, markdown, write_texts
from results.reading import Noise, Published, published_rows, read_published, read_scores
from results.wording import MISSING, Texts, about_scores, images_of, noise_in_words

Budget = Mapping[str, int]  # of a training: `steps`, and `batch` images in each
Budgets = Mapping[str, Mapping[str, Budget]]  # by method and noise setting


def mean_table(scores: pd.DataFrame, noise: Mapping[str, Noise]) -> pd.DataFrame:
    """Return the mean SSIM of each noise setting (rows) and method (columns, `noisy` first).

    Args:
        scores: Columns `noise`, `method`, `image`, `ssim`, `psnr`.
        noise: The noise settings by id.
    """
    means = scores.groupby(["noise", "method"])["ssim"].mean().unstack()
    means = means.loc[list(noise), scores["method"].unique()]
    return means.rename_axis(columns=None).reset_index()


def with_published(
    table: pd.DataFrame, noise: Mapping[str, Noise], published: Published, budgets: Budgets
) -> pd.DataFrame:
    """Add what was published for the same noise: value, difference, whether the two agree.

    Adds for each method that was published `published_METHOD` (as the README rounds it),
    `difference_METHOD` (against the notebooks' full precision) and `agrees_METHOD`: True, False,
    or missing where it can't be judged, since training had less than the published budget.
    """
    table = table.copy()
    rows = published_rows(noise, published)
    for method, tolerance in published["tolerance"].items():
        if method not in table:
            continue
        for index, (name, ours) in enumerate(zip(table["noise"], table[method], strict=True)):
            if name not in rows or pd.isna(ours):
                continue
            difference = ours - rows[name]["notebook"][method]
            table.loc[index, f"published_{method}"] = rows[name]["readme"][method]
            table.loc[index, f"difference_{method}"] = difference
            budget = budgets.get(method, {}).get(name)
            if budget is None or passes(budget) >= passes(published["training"]):
                far = -difference if "below" in tolerance else abs(difference)
                table.loc[index, f"agrees_{method}"] = bool(far <= max(tolerance.values()))
    return table


def passes(budget: Budget) -> int:
    """Return how many images pass through the network in a training."""
    return budget["steps"] * budget["batch"]


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
    if pd.notna(row.get(f"published_{method}")):
        mark = {True: " ✓", False: " ✗"}.get(row.get(f"agrees_{method}"), "")
        difference = row[f"difference_{method}"]
        text += f" ({row[f'published_{method}']:.4f}, {difference:+.4f}{mark})"
    return text


def notes(
    table: pd.DataFrame, labels: Texts, budgets: Budgets, published: Published | None
) -> list[str]:
    """Return what the table's readers must know of the published values and of the trainings."""
    lines = []
    if published:
        lines.append(
            "In brackets: the published value, our difference from it at full precision, and "
            f"whether the two agree. Published: {published['source']}."
        )
        for method, tolerance in published["tolerance"].items():
            if f"published_{method}" in table:
                judged = table.get(f"agrees_{method}", pd.Series(dtype=object)).dropna()
                said = agreement(judged, tolerance)
                lines.append(f"SSIM {labels.get(method, method)}: {said}.")
    for method, rows in budgets.items():
        for text in dict.fromkeys(budget_text(budget, published) for budget in rows.values()):
            lines.append(f"Training of the {labels[method]}: {text}.")
    return lines


def agreement(judged: pd.Series, tolerance: Mapping[str, float]) -> str:
    """Say in how many of the rows that can be judged we agree with what was published."""
    if judged.empty:
        return "not judged, since training had less than the published budget"
    ((kind, limit),) = tolerance.items()
    words = f"within {limit}" if kind == "within" else f"not more than {limit} below"
    return f"agrees in {int(judged.sum())} of {len(judged)} rows ({words})"


def budget_text(budget: Budget, published: Published | None) -> str:
    text = f"{budget['steps']} steps of {budget['batch']} images"
    if published:
        share = passes(budget) / passes(published["training"])
        text += f", {share:.1%} of the published budget" if share != 1 else ", as published"
    return text


def main(snakemake: Snakemake) -> None:
    params, inputs, outputs = snakemake.params, snakemake.input, snakemake.output
    scores = read_scores(inputs.scores)
    table = mean_table(scores, params.noise)
    published = read_published(inputs.get("published"), params.image_size)
    if published:
        table = with_published(table, params.noise, published, params.budgets)

    page = markdown(
        f"Denoising radiographs: {images_of(params.dataset, params.rendered)}",
        published_form(table, params.noise, params.labels),
        about_scores(scores["image"].nunique(), params.rendered)
        + notes(table, params.labels, params.budgets, published),
    )
    csv = table.to_csv(index=False)
    write_texts({outputs.md: page, outputs.html: html(page), outputs.csv: csv})


if __name__ == "__main__":
    run(main)
