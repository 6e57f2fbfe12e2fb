"""Collects the scores of all test images into the table, beside the published one if there is one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from common.files import replacing
from common.job import run
from common.noise_models import described

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

Noise = Mapping[str, Any]


def mean_table(scores: pd.DataFrame, noise: Mapping[str, Noise]) -> pd.DataFrame:
    """Return the mean SSIM of each noise setting (rows) and method (columns, `noisy` first).

    Args:
        scores: Columns `noise`, `method`, `image`, `ssim`, `psnr`.
        noise: The noise settings by id.
    """
    methods = scores["method"].unique()
    means = scores.groupby(["noise", "method"])["ssim"].mean().unstack()
    means = means.loc[list(noise), methods]
    means.columns.name = None
    return means.reset_index()


def with_published(
    table: pd.DataFrame,
    noise: Mapping[str, Noise],
    published: Mapping[str, Any],
    budgets: Mapping[str, Mapping[str, Mapping[str, int]]],
) -> pd.DataFrame:
    """Add what was published for the same noise: value, difference, whether the two agree.

    Adds for each method that was published `published_METHOD` (as the README rounds it),
    `difference_METHOD` (against the notebooks' full precision) and `agrees_METHOD`: True, False,
    or missing where it can't be judged, since training had less than the published budget.
    """
    table = table.copy()
    rows = {name: row for name in noise for row in published["rows"] if row["noise"] == noise[name]}
    for method, tolerance in published["tolerance"].items():
        if method not in table:
            continue
        for index, (name, ours) in enumerate(zip(table["noise"], table[method], strict=True)):
            if name not in rows:
                continue
            difference = ours - rows[name]["notebook"][method]
            table.loc[index, f"published_{method}"] = rows[name]["readme"][method]
            table.loc[index, f"difference_{method}"] = difference
            budget = budgets.get(method, {}).get(name)
            if budget is None or passes(budget) >= passes(published["training"]):
                agrees = (
                    abs(difference) <= tolerance["within"]
                    if "within" in tolerance
                    else difference >= -tolerance["below"]
                )
                table.loc[index, f"agrees_{method}"] = bool(agrees)
    return table


def passes(budget: Mapping[str, int]) -> int:
    """Return how many images pass through the network in a training."""
    return budget["steps"] * budget["batch"]


def shown(
    table: pd.DataFrame, noise: Mapping[str, Noise], labels: Mapping[str, str]
) -> pd.DataFrame:
    """Return the table as text, in the published form."""
    settings = [noise[name] for name in table["noise"]]
    columns = {
        "Noise factor": [str(setting["factor"]) for setting in settings],
        "Noise distribution": [described(setting) for setting in settings],
    }
    for method, label in {"noisy": "noisy", **labels}.items():
        columns[f"SSIM {label}"] = [cell(row, method) for row in table.to_dict("records")]
    return pd.DataFrame(columns)


def cell(row: Mapping[str, Any], method: str) -> str:
    text = f"{row[method]:.4f}"
    if pd.notna(row.get(f"published_{method}")):
        mark = {True: " ✓", False: " ✗"}.get(row.get(f"agrees_{method}"), "")
        difference = row[f"difference_{method}"]
        text += f" ({row[f'published_{method}']:.4f}, {difference:+.4f}{mark})"
    return text


def notes(
    table: pd.DataFrame,
    kind: str,
    count: int,
    labels: Mapping[str, str],
    budgets: Mapping[str, Mapping[str, Mapping[str, int]]],
    published: Mapping[str, Any] | None,
) -> list[str]:
    """Return the sentences that stand under the table."""
    lines = [f"Mean structural similarity (SSIM) over {count} test images; higher is better."]
    if kind == "digital phantom":
        lines.append("The images are a digital phantom: this says nothing about patients.")
    if published:
        lines.append(
            "In brackets: the published value, our difference from it at full precision, and "
            f"whether the two agree. Published: {published['source']}."
        )
        for method, tolerance in published["tolerance"].items():
            label = {"noisy": "noisy", **labels}.get(method)
            if f"published_{method}" in table:
                lines.append(agreement(table, method, str(label), tolerance))
    for method, rows in budgets.items():
        for text in dict.fromkeys(budget_text(budget, published) for budget in rows.values()):
            lines.append(f"Training of the {labels[method]}: {text}.")
    return lines


def agreement(table: pd.DataFrame, method: str, label: str, tolerance: Mapping[str, float]) -> str:
    """Say in how many rows a method agrees with what was published."""
    judged = table.get(f"agrees_{method}", pd.Series(dtype=object)).dropna()
    if judged.empty:
        return f"SSIM {label}: not judged, since training had less than the published budget."
    limit = (
        f"within {tolerance['within']}"
        if "within" in tolerance
        else f"not more than {tolerance['below']} below"
    )
    return f"SSIM {label}: agrees in {int(judged.sum())} of {len(judged)} rows ({limit})."


def budget_text(budget: Mapping[str, Any], published: Mapping[str, Any] | None) -> str:
    text = f"{budget['steps']} steps of {budget['batch']} images"
    if published:
        share = passes(budget) / passes(published["training"])
        text += f", {share:.1%} of the published budget" if share != 1 else ", as published"
    return text


def markdown(title: str, table: pd.DataFrame, lines: Sequence[str]) -> str:
    text = table.to_markdown(index=False, disable_numparse=True, stralign="right")
    return f"# {title}\n\n{text}\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"


def html(title: str, table: pd.DataFrame, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{line}</li>" for line in lines)
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font-family:sans-serif}td,th{padding:.3em .8em;text-align:right}</style>"
        f"<h1>{title}</h1>{table.to_html(index=False, border=0)}<ul>{items}</ul></html>\n"
    )


def main(snakemake: "snakemake") -> None:
    params = snakemake.params
    scores = pd.concat(
        [
            pd.read_csv(path, dtype={"image": str}, keep_default_na=False)
            for path in snakemake.input.scores
        ],
        ignore_index=True,
    )
    table = mean_table(scores, params.noise)
    published = None
    if snakemake.input.get("published"):
        published = yaml.safe_load(Path(snakemake.input.published).read_text(encoding="utf-8"))
        if published["image_size"] == params.image_size:
            table = with_published(table, params.noise, published, params.budgets)
        else:
            published = None  # SSIM depends on the size of the images

    title = f"Denoising radiographs: {params.kind} ({params.dataset})"
    text = shown(table, params.noise, params.labels)
    count = scores["image"].nunique()
    lines = notes(table, params.kind, count, params.labels, params.budgets, published)
    outputs = {
        snakemake.output.md: markdown(title, text, lines),
        snakemake.output.html: html(title, text, lines),
        snakemake.output.csv: table.to_csv(index=False),
        snakemake.output.scores: scores.to_csv(index=False),
    }
    for name, content in outputs.items():
        with replacing(name) as path:
            path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    run(main, snakemake)
