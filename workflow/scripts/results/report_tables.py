"""The tables of a report, as pages and LaTeX show them."""

import importlib.metadata
import math
import platform
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from results.answer import REFERENCES, winners
from results.jobs import Records, checksums, packages, times
from results.reading import Noise, by_noise
from results.wording import MISSING, Texts, heading_of, sign

SPECIAL = re.compile(r"([#$%&_{}])")  # in LaTeX
OF_MEAN = ("ssim", "ssim_half_width", "variance_share")  # in the order of `with_width`
UNRECORDED = ("numpy", "pandas", "matplotlib", "snakemake")  # packages that no record names


class Cell(NamedTuple):
    """Of a table: what it says, the number by which it is sorted, and a picture above."""

    text: str
    order: float | str | None = None
    picture: str = ""
    about: str = ""


class Table(NamedTuple):
    """Texts and `Cell`s in rows, each as long as the head."""

    id: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]


def number(value: float, digits: int = 4, more: str = "") -> Cell:
    """Return a number as a cell; what is no finite number is missing, and comes last or first."""
    return Cell(f"{value:,.{digits}f}{more}", value) if math.isfinite(value) else Cell(MISSING, "")


def with_width(mean: float, half_width: float, variance_share: float) -> Cell:
    """Return a mean as a cell, with half its interval if there is one, and its mark."""
    width = f" ± {half_width:.4f}" if math.isfinite(half_width) else ""
    return number(mean, more=width + sign(variance_share))


def answer_table(table: pd.DataFrame, noise: Mapping[str, Noise], labels: Texts) -> Table:
    """Return the means of the published methods and of the best here, one row a noise setting.

    Args:
        table: What `reading.read_methods` returns of `methods.csv`.
        noise: The noise settings by id.
        labels: The methods without a caveat, by name.
    """
    others = [name for name in (*REFERENCES, "noisy") if name in (*labels, "noisy")]
    best = winners(table, labels)
    parts = [by_noise(table, ["noisy", *labels], noise, value) for value in OF_MEAN]
    rows = []
    for name, setting in noise.items():
        found = best.get(name, [])
        cells = [
            with_width(*(part.loc[method, name] for part in parts)) if method else MISSING
            for method in (next(iter(found), ""), *others)
        ]
        names = ", ".join(labels[method] for method in found) or MISSING
        rows.append([heading_of(setting), names, *cells])
    head = ["Noise", "Highest", "its mean", *(labels.get(name, name) for name in others)]
    return Table("answer", "Mean SSIM of each noise setting", head, rows)


def methods_table(
    table: pd.DataFrame, labels: Texts, tuned: Mapping[tuple[str, str], Mapping[str, Any]]
) -> Table:
    """Return all that was measured of each method; see `answer_table` and `read_tuned`."""
    head = ["Noise setting", "Method", "SSIM", "±", "PSNR, dB", "Parameters", "Image passes"]
    rows = []
    for line in table.itertuples():
        settings = tuned.get((line.noise, line.method), {})
        row = [
            *(line.noise, labels.get(line.method, line.label) + sign(line.variance_share)),
            *(number(line.ssim), number(line.ssim_half_width), number(line.psnr, 2)),
            *(number(line.parameters, 0), number(line.training_images, 0)),
            *(number(line.training_seconds, 1), number(line.milliseconds, 1)),
        ]
        if tuned:
            row.append(", ".join(f"{key} {value}" for key, value in settings.items()) or MISSING)
        rows.append(row)
    head += ["Training, s", "ms an image", *(["Tuned to"] if tuned else [])]
    return Table("methods", "All methods: scores and costs", head, rows)


def pairs_table(pairs: pd.DataFrame, labels: Texts) -> Table:
    """Return the differences of methods with their verdicts, `pairs.csv`."""
    names = {"noisy": "noisy", **labels}
    rows = [
        [
            *(line.noise, names.get(line.first, line.first), names.get(line.second, line.second)),
            *map(number, (line.difference, line.low, line.high, line.p)),
            *(line.verdict or MISSING, line.over),
        ]
        for line in pairs.itertuples()
    ]
    head = ["Noise setting", "First", "Second", "First minus second", "Low", "High", "p"]
    caption = "Differences of mean SSIM, the ends of their 95 % intervals, and verdicts"
    return Table("pairs", caption, [*head, "The first is", "Interval over"], rows)


def times_table(jobs: Records) -> Table:
    """Return what the jobs of each rule took."""
    rows = [
        [
            *(line.rule, number(line.jobs, 0), number(line.seconds, 1)),
            *(number(line.processor, 1), number(line.memory, 0)),
        ]
        for line in times(jobs).itertuples()
    ]
    head = ["Rule", "Jobs", "Seconds", "Processor seconds", "Memory, MB (most)"]
    return Table("times", "Time and memory by rule", head, rows)


def total_in_words(jobs: Records) -> str:
    """Return what all jobs took together."""
    sums = times(jobs)[["jobs", "seconds", "processor"]].sum()
    return "{:,.0f} jobs, {:,.0f} seconds, {:,.0f} seconds of processors".format(*sums)


def checksums_table(jobs: Records) -> Table:
    """Return the files behind the page, with when they were made and their digests."""
    head = ["File", "Rule", "Made (UTC)", "SHA-256"]
    return Table("checksums", "Checksums", head, checksums(jobs).to_numpy().tolist())


def versions_table(jobs: Records) -> Table:
    """Return the versions of packages: recorded with the results, and installed now."""
    recorded = packages(jobs)
    rows = [["python", MISSING, platform.python_version()]]
    for name in sorted({*recorded, *UNRECORDED}):
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = MISSING
        rows.append([name, ", ".join(recorded.get(name, [])) or MISSING, installed])
    head = ["Package", "Recorded with the results", "Installed when this page was made"]
    return Table("versions", "Versions", head, rows)


def latex(frame: pd.DataFrame, caption: str, label: str) -> str:
    """Return a table as LaTeX; it wants the package booktabs."""
    text = SPECIAL.sub(r"\\\1", caption)
    return frame.to_latex(index=False, escape=True, caption=text, label=f"tab:{label}")


def published_latex(table: pd.DataFrame, noise: Mapping[str, Noise], labels: Texts) -> pd.DataFrame:
    """Return `table.csv` as text: the means, and what was published for the same noise."""
    columns = {"Noise": [heading_of(noise[name]) for name in table["noise"]]}
    for method, label in {"noisy": "noisy", **labels}.items():
        for column, head in ((method, label), (f"published_{method}", f"{label}, published")):
            if column in table:
                columns[head] = [number(value).text for value in table[column]]
        if f"mark_{method}" in table:
            marks = table[f"mark_{method}"].map(" {}".format, na_action="ignore").fillna("")
            columns[label] = columns[label] + marks
    return pd.DataFrame(columns)


def methods_latex(table: pd.DataFrame, labels: Texts) -> pd.DataFrame:
    """Return the means of all methods as text, with half their intervals."""
    noise, names = table["noise"].unique(), {"noisy": "noisy", **labels}
    parts = [by_noise(table, names, noise, value) for value in OF_MEAN]
    rows = [
        [
            label,
            *(
                with_width(*cell).text
                for cell in zip(*(part.loc[name] for part in parts), strict=True)
            ),
        ]
        for name, label in names.items()
    ]
    return pd.DataFrame(rows, columns=["Method", *noise])
