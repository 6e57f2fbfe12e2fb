"""Compares all methods: how well they denoise, what they cost and use, how they were tuned."""

import math
from collections.abc import Collection, Iterable, Mapping

import pandas as pd

from engine.job import Snakemake, run
from results import reading, wording
from results.fairness import (
    COST_NOTES,
    LOST_NOTES,
    cost_table,
    decimals,
    given_notes,
    lost_table,
    read_trials,
    require_equal_seconds,
    tuned_table,
)
from results.intervals import (
    ALPHA,
    ENOUGH,
    FEW,
    Grids,
    basis,
    compare,
    from_both_sides,
    grids_of,
    half_width,
)
from results.pages import html, markdown, write_texts
from results.reading import Noise, Published, best, by_noise, differing, published_rows
from results.wording import MARK, MISSING, Texts, marked

PLACES = {"ssim": 4, "psnr": 2}  # decimal places that tables show


def comparison(
    scores: pd.DataFrame,
    costs: pd.DataFrame,
    variances: pd.Series,
    noise: Iterable[str],
    labels: Texts,
) -> pd.DataFrame:
    """Return one line for each noise setting and method that was scored, `noisy` first.

    Takes what `read_scores`, `read_costs` and `read_variances` return; else see `score_table`.

    Returns:
        Columns `noise`, `method`, `label`, mean `ssim`, `ssim_half_width` of its interval, mean
        `psnr` (dB), `COSTS` and `variance_share`.
    """
    means = scores.groupby(["noise", "method"])[["ssim", "psnr"]].mean(skipna=False)
    widths = {key: half_width(grid) for key, grid in grids_of(scores).items()}
    means.insert(1, "ssim_half_width", pd.Series(widths))
    labels = {"noisy": "noisy", **labels}
    order = [(name, method) for name in noise for method in labels if (name, method) in means.index]
    table = means.join([costs.set_index(["noise", "method"]), variances]).loc[order].reset_index()
    table.insert(2, "label", table["method"].map(labels))
    return table


def score_table(
    table: pd.DataFrame,
    noise: Mapping[str, Noise],
    labels: Texts,
    caveats: Texts,
    references: Collection[str],
    published: Published | None = None,
    score: str = "ssim",
) -> pd.DataFrame:
    """Return mean scores as text: a row a method, a column a noise setting, the best in bold.

    Methods with a caveat are marked, and scores of images that hardly differ; these are never in
    bold. What was published for the same noise is in italics.

    Args:
        table: What `comparison` returns.
        noise: The noise settings by id, in order.
        labels: What each method is called, in order.
        caveats: The caveats by method.
        references: Methods that are never in bold.
        published: What was published; None if nothing fits.
        score: `ssim` or `psnr`.
    """
    places = PLACES[score]
    means = by_noise(table, ["noisy", *labels], noise, score).map(lambda m: decimals(m, places))
    rows = means + signs(table, labels, noise)
    compared = by_noise(differing(table), [n for n in labels if n not in references], noise, score)
    for name in noise:
        for method in best(compared[name], caveats, places):
            rows.loc[method, name] = f"**{rows.loc[method, name]}**"
    rows.insert(0, "Method", ["noisy", *marked(labels, caveats).values()])
    found = published_rows(noise, published) if published else {}
    values = {name: row["readme"] for name, row in found.items()}
    italic = pd.DataFrame.from_dict(values, orient="index").T.reindex(columns=list(noise))
    italic = italic.map(lambda value: MISSING if pd.isna(value) else f"*{decimals(value)}*")
    italic.insert(0, "Method", [f"*published {labels.get(m, m)}*" for m in italic.index])
    return pd.concat([rows[:1], italic.drop("noisy", errors="ignore"), rows[1:]])


def sure_table(table: pd.DataFrame, noise: Iterable[str], labels: Texts) -> pd.DataFrame:
    """Return the mean SSIM with its interval as text; see `score_table` for the arguments."""
    names = ["noisy", *labels]
    means = by_noise(table, names, noise).map(decimals)
    widths = by_noise(table, names, noise, "ssim_half_width")
    rows = means + widths.map(lambda width: "" if pd.isna(width) else f" ± {width:.4f}")
    rows += signs(table, labels, noise)
    rows.insert(0, "Method", ["noisy", *labels.values()])
    return rows


def signs(table: pd.DataFrame, labels: Texts, noise: Iterable[str]) -> pd.DataFrame:
    """Return the mark, or nothing, for each score of `noisy` and of the methods; a row a method."""
    return by_noise(table, ["noisy", *labels], noise, "variance_share").map(wording.sign)


def verdict_table(
    pairs: pd.DataFrame,
    table: pd.DataFrame,
    noise: Iterable[str],
    labels: Texts,
    caveats: Texts,
    references: Collection[str],
) -> pd.DataFrame:
    """Return as text the verdict on each method against the best one; empty if there is none.

    Takes what `compare` returns; see `score_table` for the other arguments. Methods with a caveat
    and references are no yardstick.
    """
    judged = from_both_sides(pairs[pairs["verdict"] != ""])
    found = judged.set_index(["noise", "first", "second"])["verdict"].to_dict()
    compared = [name for name in labels if name not in {*caveats, *references}]
    means = by_noise(differing(table), compared, noise)
    yardsticks = means.dropna(how="all", axis=1).idxmax()
    rows = pd.DataFrame(MISSING, index=list(labels), columns=list(noise))
    for name, yardstick in yardsticks.items():
        rows[name] = [found.get((name, method, yardstick), MISSING) for method in labels]
        if (rows[name] != MISSING).any():
            rows.loc[yardstick, name] = "**best**"
    rows = rows[(rows != MISSING).any(axis=1)]
    rows.insert(0, "Method", [marked(labels, caveats)[name] for name in rows.index])
    return rows


def ssim_notes(
    noise: Mapping[str, Noise],
    labels: Texts,
    caveats: Texts,
    references: Collection[str],
    published: Published | None,
) -> list[str]:
    """Return what explains the table of SSIM; see `score_table` for the arguments."""
    sentences = wording.caveats_in_words(labels, caveats)
    without = f", and the best of those without {MARK}" if sentences else ""
    lines = [f"In bold: the best method{without}.", *sentences, *[REFERENCE][: len(references)]]
    if any(entry["distribution"] == "poisson" for entry in noise.values()):
        lines.append(wording.POISSON_WARNING.format("columns"))
    if published and published_rows(noise, published):
        lines.append(f"In italics: published. Published: {published['source']}.")
    return lines


def sure_notes(grids: Grids, labels: Texts, trained: Collection[str]) -> list[str]:
    """Return over what the interval of each mean is; see `compare` for the arguments."""
    found: dict[str, dict[str, str]] = {}
    for (_, method), grid in grids.items():
        over = basis([grid], [method in trained])
        found.setdefault(over, {})[method] = labels[method]
    return [
        "After ±: half of the 95 % confidence interval of the mean. Each image has noise of its "
        "own in each draw. Over what the intervals are:",
        *(f"{', '.join(names.values())}: {over}." for over, names in found.items()),
    ]


def psnr_notes(scores: pd.DataFrame, labels: Texts) -> list[str]:
    """Return what explains the table of PSNR; of an exact copy it is infinite, and so is a mean."""
    counts = (scores["psnr"] == math.inf).groupby([scores["noise"], scores["method"]])
    found = [
        f"{labels[method]} in {noise} ({exact.sum()} of {len(exact)})"
        for (noise, method), exact in counts
        if exact.any()
    ]
    what = "inf: some images are exactly the clean ones, so their PSNR is infinite, and the mean"
    return [*PSNR_NOTES, *[f"{what}: {', '.join(found)}."][: len(found)]]


def verdict_notes(pairs: pd.DataFrame, margin: float) -> list[str]:
    """Return what explains the verdicts, and why some pairs have none."""
    if pairs.empty:
        return ["No verdict, since no noise setting has two methods."]
    why = [f"No verdict: {over}." for over in pairs.loc[pairs["p"].isna(), "over"].unique()]
    if FEW in pairs["over"].to_numpy():
        why.append(f"For verdicts on trained methods, set replicates: {{training: {ENOUGH}}}.")
    count = pairs["p"].count()
    if not count:
        return why
    return [
        "Against the best method, without caveats and references. Better or worse: by more than "
        f"{margin:g} SSIM. Equivalent: within {margin:g}. Undecided: the scores allow several of "
        "these.",
        "By two one-sided tests on paired differences, with Holm's correction for all pairs that "
        f"have a verdict ({count}), at p = {ALPHA:g}, so that at most 5 % of such tables have any "
        "wrong verdict. All pairs, with intervals, are in pairs.csv.",
        *why,
    ]


REFERENCE = (
    "(reference): shown for comparison, as are published numbers. It may have been given more than "
    "the other methods were allowed, and is never in bold."
)
PSNR_NOTES = ["Mean peak signal-to-noise ratio (PSNR), dB; higher is better. In bold as for SSIM."]
TUNED_NOTES = ["Of the settings that were tried, those with the highest mean SSIM."]


def main(snakemake: Snakemake) -> None:
    params, inputs, outputs = snakemake.params, snakemake.input, snakemake.output
    noise, uses, caveats, references = params.noise, params.uses, params.caveats, params.references
    scores = reading.read_scores(inputs.scores)
    costs, variances = reading.read_costs(inputs.costs), reading.read_variances(inputs.variances)
    table = comparison(scores, costs, variances, noise, params.labels)
    bound = [name for name in params.trained if name not in references]
    require_equal_seconds(table, bound, params.allowed)
    labels = {
        name: f"{label} (reference)" if name in references else label
        for name, label in params.labels.items()
    }
    found = grids_of(scores)
    grids = {key: found[key] for key in zip(table["noise"], table["method"], strict=True)}
    methods = {key: grid for key, grid in grids.items() if key[1] != "noisy"}
    alike = methods.keys() - differing(table).set_index(["noise", "method"]).index
    pairs = compare(methods, params.trained, params.margin, alike)
    elsewhere, own = params.elsewhere, {"dataset": params.dataset, "rendered": params.rendered}
    published = reading.read_published(inputs.get("published"), params.image_size, elsewhere)
    tuned = reading.read_tuned(inputs.get("tuning") or [])
    tried = read_trials(inputs.get("tuning") or [])
    learning = (*params.trained, *params.given, *tried["method"])
    learned = {name: elsewhere.get(name, own) for name in learning}
    about = wording.about_scores(scores, params.rendered)
    about += wording.elsewhere_in_words(labels, elsewhere)
    about += wording.alike_in_words(table, labels)
    about += ssim_notes(noise, labels, caveats, references, published)
    with_mark = marked(labels, caveats)
    all_labels = {"noisy": "noisy", **with_mark}
    sure, exact = sure_notes(grids, all_labels, params.trained), psnr_notes(scores, all_labels)
    verdicts = verdict_table(pairs, table, noise, labels, caveats, references)
    marks = labels, caveats, references
    lowest = table.groupby("method")["variance_share"].min()
    with_marks = {n: text + wording.sign(lowest.get(n, math.nan)) for n, text in with_mark.items()}
    phantoms = {name for name, images in learned.items() if images["rendered"]}
    origins = {name: images["dataset"] for name, images in learned.items()} if elsewhere else {}
    costs = cost_table(table, with_marks, uses, tried, phantoms, origins)
    given = given_notes(with_mark, uses, elsewhere)
    lost = lost_table(table, noise, labels, uses, caveats, references)
    parts = (
        ("SSIM", score_table(table, noise, *marks, published), about),
        ("PSNR", score_table(table, noise, *marks, score="psnr"), exact),
        ("How sure the means are", sure_table(table, noise, with_mark), sure),
        ("Verdicts", *[verdicts][: len(verdicts)], verdict_notes(pairs, params.margin)),
        ("Cost and what each method uses", costs, [*given, *COST_NOTES]),
        ("Lost without clean images", lost, LOST_NOTES),
        ("Tuned settings", tuned_table(tuned, noise, with_marks), TUNED_NOTES),
    )
    title = f"All methods: {wording.images_of(params.dataset, params.rendered)}"
    page = markdown(title, *(piece for part in parts if len(part[1]) for piece in part))
    tables = {outputs.csv: table, outputs.scores: scores, outputs.pairs: pairs}
    texts = {path: frame.to_csv(index=False) for path, frame in tables.items()}
    write_texts({outputs.md: page, outputs.html: html(page)} | texts)


if __name__ == "__main__":
    run(main)
