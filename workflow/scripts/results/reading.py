"""Reads what the steps before wrote, and what was published."""

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from files.jsons import read_json
from results.wording import LEAST_VARIANCE

Noise = Mapping[str, Any]  # a noise setting, as in the configuration
Published = Mapping[str, Any]  # as in `resources/published.yaml`
REPLICATE = ["training", "draw"]
COSTS = ["parameters", "training_images", "training_seconds", "milliseconds"]
NUMBERS = ["ssim", "ssim_half_width", "psnr", *COSTS, "variance_share"]  # of `methods.csv`


def read_scores(paths: Iterable[str]) -> pd.DataFrame:
    """Return the lines of all score files: `noise`, `method`, `image`, `ssim`, `psnr` (dB).

    Where there are replicates, also the number of the `training` and of the `draw` of the noise.
    """
    text = {"noise": str, "method": str, "image": str}
    unknown = {name: ["", "nan"] for name in ("ssim", "psnr")}
    read = partial(pd.read_csv, dtype=text, keep_default_na=False, na_values=unknown)
    frames = [read(path) for path in paths]
    scores = pd.concat(frames, ignore_index=True)
    numbers = scores.filter(REPLICATE)
    return scores if (numbers > 1).any(axis=None) else scores.drop(columns=numbers)


def read_costs(paths: Iterable[str]) -> pd.DataFrame:
    """Return the lines of all cost files: `noise`, `method` and `COSTS`; empty is NaN."""
    frames = [read_methods(path) for path in paths]
    return pd.concat(frames or [pd.DataFrame(columns=["noise", "method", *COSTS])])


def read_variances(paths: Iterable[str]) -> pd.Series:
    """Return `variance_share`, the lowest of all replicates, by noise setting and method.

    It is the variance between a method's images as a share of that between the clean ones; NaN
    where these do not vary.
    """
    lines = pd.concat(map(read_methods, paths))
    return lines.groupby(["noise", "method"])["variance_share"].min()


def differing(table: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of a table but those of methods whose images hardly differ."""
    return table[~(table["variance_share"] < LEAST_VARIANCE)]


def read_methods(path: str | Path) -> pd.DataFrame:
    """Return a file of costs, or `methods.csv`, which has them too; a method may be called `NA`."""
    return pd.read_csv(
        path,
        dtype=dict.fromkeys(["noise", "method", "label"], str) | dict.fromkeys(NUMBERS, float),
        keep_default_na=False,
        na_values={name: [""] for name in NUMBERS},
    )


def read_tuning(paths: Iterable[str]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return all trials of each tuning, best first, by noise setting and method.

    Args:
        paths: Files `.../NOISE/METHOD.json`, as `tune_method` writes them.
    """
    return {(path.parent.name, path.stem): read_json(path) for path in map(Path, paths)}


def read_tuned(paths: Iterable[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the best settings by noise setting and method; see `read_tuning`."""
    return {key: best["settings"] for key, (best, *_) in read_tuning(paths).items()}


def read_published(
    path: str | None, image_size: int, elsewhere: Collection[str] = ()
) -> Published | None:
    """Return what was published, or None: SSIM depends on the size of the images.

    Values of methods that learned elsewhere here are left out: they say nothing about these.
    """
    if not path:
        return None
    published = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for row in published["rows"]:
        for column in ("readme", "notebook"):
            for method in row.get(column, {}).keys() & set(elsewhere):
                del row[column][method]
    return published if published["image_size"] == image_size else None


def published_rows(noise: Mapping[str, Noise], published: Published) -> dict[str, Published]:
    """Return the published row of each noise setting that has one, by id."""
    return {name: row for name in noise for row in published["rows"] if row["noise"] == noise[name]}


def by_noise(
    table: pd.DataFrame, methods: Iterable[str], noise: Iterable[str], value: str = "ssim"
) -> pd.DataFrame:
    """Return a value of a table: a row a method, a column a noise setting; NaN where not run."""
    wide = table.pivot(index="method", columns="noise", values=value)
    return wide.reindex(index=list(methods), columns=list(noise))


def best(means: pd.Series, caveats: Collection[str], places: int = 4) -> set[str]:
    """Return the methods with the highest mean, and the highest of those without a caveat.

    The means are NaN where a method was not run, and are compared to this many decimal places.
    """
    rounded = means.dropna().map(lambda mean: float(f"{mean:.{places}f}"))
    groups = (rounded, rounded.drop(list(caveats), errors="ignore"))
    return {method for group in groups for method in group.index[group == group.max()]}
