"""Keep the scores of replicates where they outlive results/, and say how far runs lie apart.

Adds every score in results/RUN, whether or not the run is complete, to
resources/evidence/RUN.csv.gz, and to RUN.yaml beside it what made them. Writes from both
resources/spread.yaml, which verdicts on published numbers need, and docs/replicates.md. It does not
replace those of another run.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from engine.configuration import read_file
from engine.messages import number_of
from engine.records import LOGS, RECORDS, read_records
from files.atomic import replacing
from results.intervals import ENOUGH, basis, compare, grids_of, half_width
from results.pages import markdown, write_texts
from results.reading import REPLICATE, read_scores
from results.spread import spread_of
from results.wording import MISSING, images_of

EVIDENCE, SPREAD = Path("resources/evidence"), Path("resources/spread.yaml")
DATASETS = Path("resources/datasets")
RUN = ["noise", "method", *REPLICATE]
Entry = dict[str, Any]


def made_in(run: Path, before: dict[str, Entry]) -> dict[str, Entry]:
    """Return what made each method's results, by `NOISE/METHOD`, earlier and in a run's records.

    Raises:
        SystemExit: When a method had other settings, since its runs are then no replicates.
    """
    found = dict(before)
    for path, record in read_records([run]):
        rule, params = record["rule"], record["params"]
        if rule in ("train_denoiser", "filter_images"):
            noise, *parts = path.relative_to(run / RECORDS / rule).with_suffix("").parts
            (method,) = (part for part in parts if not part.isdigit())
            name = f"{noise}/{method}"
            kept = {key: params[key] for key in ("plugin", "settings", "noise")}
            entry = found.setdefault(name, kept | {"made": {}})
            if any(entry[key] != value for key, value in kept.items()):
                sys.exit(f"{name}: its settings differ among runs; give the run a new name")
            if rule == "train_denoiser":
                number = int(parts[-1]) if parts[-1].isdigit() else 1
                packages = (f"{name} {version}" for name, version in params["packages"].items())
                log = run / LOGS / path.relative_to(run / RECORDS).with_suffix(".log")
                made_on = re.findall(r" runs on (.*?):", log.read_text(encoding="utf-8"))
                entry["made"][number] = ", ".join([record["made"][:10], *packages, *made_on[-1:]])
    return dict(sorted(found.items()))


def images_in(run: Path) -> str:
    """Return in words of which images a run has scores, by the records of both.

    Raises:
        SystemExit: When the records don't tell whether these images are rendered.
    """
    inputs = {p for _, record in read_records([run]) for p in record["inputs"]}
    inputs = {Path(p).relative_to(DATASETS).parts[0] for p in inputs if p.startswith(str(DATASETS))}
    made_by = {d: {record["rule"] for _, record in read_records([DATASETS / d])} for d in inputs}
    kinds = {d: rules & {"render_phantom", "fetch_images"} for d, rules in made_by.items()}
    if len(kinds) != 1 or len(*kinds.values()) != 1:
        sys.exit(
            f"{DATASETS}: the records don't say where the images of {run} come from: keep them"
        )
    ((dataset, (rule,)),) = kinds.items()
    return images_of(dataset, rendered=rule == "render_phantom")


def scores_of(run: Path, kept: Path) -> pd.DataFrame:
    """Return the scores of earlier and present runs; a present one replaces its earlier self."""
    files = sorted((run / "scores").rglob("[!.]*.csv"))
    if not files:
        sys.exit(f"{run / 'scores'}: there are no scores")
    scores = read_scores(map(str, [*([kept] if kept.exists() else []), *files]))
    scores = scores.assign(**{key: scores.get(key, 1) for key in REPLICATE})
    return scores.drop_duplicates([*RUN, "image"], keep="last").sort_values([*RUN, "image"])


def spread_rows(scores: pd.DataFrame, made: dict[str, Entry]) -> list[Entry]:
    """Return the lines of resources/spread.yaml: how far runs of each method lie apart."""
    rows = []
    for noise, some in scores.groupby("noise"):
        entries = {name.split("/")[1]: made[name] for name in made if name.split("/")[0] == noise}
        methods = {
            method: spread_of(lines, bool(entries.get(method, {}).get("made")))
            for method, lines in some.groupby("method")
        }
        model = next(iter(entries.values()))["noise"]
        known = {name: spread for name, spread in methods.items() if spread}
        rows.append({"noise": model, "methods": known})
    return rows


def verdicts(scores: pd.DataFrame, made: dict[str, Entry], margin: float) -> list[Any]:
    """Return the heading, the table and the notes of what can be said of each two methods."""
    draws = scores.groupby(["noise", "method"])["draw"].max().min()
    paired = scores[(scores["draw"] <= draws) & (scores["method"] != "noisy")]
    trained = {name.split("/")[1] for name in made if made[name]["made"]}
    pairs = compare(grids_of(paired), trained, margin)
    pairs = pairs.dropna(subset="p")
    shown = pd.DataFrame(
        {
            "Noise": pairs["noise"],
            "Method": pairs["first"],
            "is": pairs["verdict"],
            "to": pairs["second"],
            "by": pairs["difference"].map("{:+.4f}".format),
            "Interval": pairs["low"].map("{:.4f}".format) + pairs["high"].map(" to {:.4f}".format),
            "p": pairs["p"].map("{:.1g}".format),
        }
    )
    notes = [
        f"Where each network was trained {ENOUGH} times or more. Over the first {draws} draws.",
        f"Better or worse: by more than {margin:g} SSIM. Equivalent: within it. p: with Holm's "
        f"correction for {number_of(len(pairs), 'pair')}.",
    ]
    return ["Which methods are better", shown, notes] if len(pairs) else []


def page(title: str, scores: pd.DataFrame, made: dict[str, Entry], margin: float) -> str:
    """Return docs/replicates.md: how sure means are, how far runs lie apart, what is better.

    `margin` is that of the configuration.
    """
    lines = []
    for (noise, method), grid in grids_of(scores).items():
        entry = made.get(f"{noise}/{method}", {"made": {}})
        some = scores[(scores["noise"] == noise) & (scores["method"] == method)]
        runs = some.groupby(REPLICATE)["ssim"].mean()
        width, spread = half_width(grid), spread_of(some, bool(entry["made"]))
        lines.append(
            {
                "Noise": noise,
                "Method": method,
                "Trainings": str(len(entry["made"]) or MISSING),
                "Draws": str(some["draw"].nunique()),
                "SSIM": f"{grid.mean():.4f}" + (f" ± {width:.4f}" if width == width else ""),
                "over": basis([grid], [bool(entry["made"])]).partition(", since")[0],
                "Runs from": f"{runs.min():.4f}",
                "to": f"{runs.max():.4f}",
                "Deviation of a run": f"{spread['deviation']:.4f}" if spread else MISSING,
            }
        )
    budgets = {
        f"{name.split('/')[1]}: {training['steps']} steps of {training['batch']} images."
        for name, entry in made.items()
        if (training := entry["settings"].get("training"))
    }
    dates = sorted({text for entry in made.values() for text in entry["made"].values()})
    notes = [
        "A run is a training and a draw of the noise of the test images. Runs of one method and "
        "noise setting differ by chance alone.",
        "After ±: half of the 95 % confidence interval of the mean, over what the next column has.",
        "Deviation of a run: the standard deviation of the mean of one run, a training and a draw. "
        "It needs two draws, and of a network two trainings.",
        *sorted(budgets),
        *([f"Trained on: {'; '.join(dates)}."] if dates else []),
    ]
    return markdown(title, pd.DataFrame(lines), notes, *verdicts(scores, made, margin))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "run", type=Path, help="a folder in results/, as results/isbi2015-replicates"
    )
    arguments = parser.parse_args()
    kept, sidecar = (EVIDENCE / f"{arguments.run.name}.{kind}" for kind in ("csv.gz", "yaml"))
    owner = yaml.safe_load(SPREAD.read_text(encoding="utf-8"))["made_of"] if SPREAD.exists() else ""
    if owner not in ("", str(kept)):
        sys.exit(f"{SPREAD} was made of {owner}: move it away to make one of {arguments.run}")
    before = yaml.safe_load(sidecar.read_text(encoding="utf-8")) if sidecar.exists() else {}
    title, made = f"Replicates: {images_in(arguments.run)}", made_in(arguments.run, before)
    scores = scores_of(arguments.run, kept)
    with replacing(kept) as path:  # a few more decimals than tables show; no date in the file
        scores.round(7).to_csv(path, index=False, compression={"method": "gzip", "mtime": 1})
    spread = {"made_of": str(kept), "rows": spread_rows(scores, made)}
    texts = {sidecar: made, SPREAD: spread}
    margin = read_file(Path("config.yaml"))["margin"]
    head = "# Made by workflow/tools/replicates.py\n"
    write_texts({str(p): head + yaml.safe_dump(v, sort_keys=False) for p, v in texts.items()})
    write_texts({"docs/replicates.md": page(title, scores, made, margin)})
    print(
        f"{kept}: {len(scores.drop_duplicates(RUN))} runs of {len(scores.drop_duplicates(RUN[:2]))}"
        " methods and noise settings"
    )


if __name__ == "__main__":
    main()
