"""Collects the scores of all test images into the table, beside the published one if there is one."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from engine.job import run
from files.atomic import replacing
from noise.models import described

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

Noise = Mapping[str, Any]
Part = str | pd.DataFrame | Sequence[str]  # of a page: a heading, a table or a list

PHANTOM = "digital phantom"
PHANTOM_WARNING = "The images are a digital phantom: this says nothing about patients."
MISSING = "\N{EN DASH}"


def read_scores(paths: Iterable[str]) -> pd.DataFrame:
    """Return the lines of all score files: `noise`, `method`, `image`, `ssim`, `psnr`."""
    text = {"noise": str, "method": str, "image": str}
    frames = [pd.read_csv(path, dtype=text, keep_default_na=False) for path in paths]
    return pd.concat(frames, ignore_index=True)


def read_published(path: str | None, image_size: int) -> dict[str, Any] | None:
    """Return what was published, or None: SSIM depends on the size of the images."""
    if not path:
        return None
    published = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return published if published["image_size"] == image_size else None


def published_rows(
    noise: Mapping[str, Noise], published: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """Return the published row of each noise setting that has one, by id."""
    return {name: row for name in noise for row in published["rows"] if row["noise"] == noise[name]}


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
        "Noise factor": [str(setting.get("factor", MISSING)) for setting in settings],
        "Noise distribution": [described(setting) for setting in settings],
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
    table: pd.DataFrame,
    kind: str,
    count: int,
    labels: Mapping[str, str],
    budgets: Mapping[str, Mapping[str, Mapping[str, int]]],
    published: Mapping[str, Any] | None,
) -> list[str]:
    """Return the sentences that stand under the table."""
    lines = about_images(kind, count)
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


def about_images(kind: str, count: int) -> list[str]:
    """Return the sentences under every table: what was averaged, and whether it is a phantom."""
    lines = [f"Mean structural similarity (SSIM) over {count} test images; higher is better."]
    if kind == PHANTOM:
        lines.append(PHANTOM_WARNING)
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


def markdown(title: str, *parts: Part) -> str:
    """Return a page. A cell of a table may be marked up as a whole: `*italic*`, `**bold**`."""
    texts = [f"# {title}"]
    for part in parts:
        if isinstance(part, str):
            texts.append(f"## {part}")
        elif isinstance(part, pd.DataFrame):
            texts.append(part.to_markdown(index=False, disable_numparse=True, stralign="right"))
        else:
            texts.append("\n".join(f"- {line}" for line in part))
    return "\n\n".join(texts) + "\n"


def html(title: str, *parts: Part) -> str:
    """Return the page that `markdown` returns, in HTML."""
    body = ""
    for part in parts:
        if isinstance(part, str):
            body += f"<h2>{part}</h2>"
        elif isinstance(part, pd.DataFrame):
            body += part.map(html_cell).to_html(index=False, border=0, escape=False)
        else:
            body += f"<ul>{''.join(f'<li>{line}</li>' for line in part)}</ul>"
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font-family:sans-serif}td,th{padding:.3em .8em;text-align:right}</style>"
        f"<h1>{title}</h1>{body}</html>\n"
    )


def html_cell(text: str) -> str:
    for mark, tag in (("**", "b"), ("*", "i")):
        if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark):
            return f"<{tag}>{escape(text[len(mark) : -len(mark)])}</{tag}>"
    return escape(text)


def main(snakemake: "snakemake") -> None:
    params = snakemake.params
    scores = read_scores(snakemake.input.scores)
    table = mean_table(scores, params.noise)
    published = read_published(snakemake.input.get("published"), params.image_size)
    if published:
        table = with_published(table, params.noise, published, params.budgets)

    title = f"Denoising radiographs: {params.kind} ({params.dataset})"
    text = shown(table, params.noise, params.labels)
    count = scores["image"].nunique()
    lines = notes(table, params.kind, count, params.labels, params.budgets, published)
    outputs = {
        snakemake.output.md: markdown(title, text, lines),
        snakemake.output.html: html(title, text, lines),
        snakemake.output.csv: table.to_csv(index=False),
    }
    for name, content in outputs.items():
        with replacing(name) as path:
            path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    run(main, snakemake)
