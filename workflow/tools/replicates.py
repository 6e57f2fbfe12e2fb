"""Keep the scores of replicates where they outlive results/, and say how far runs lie apart.

Adds every score in results/RUN, whether or not the run is complete, to
resources/evidence/RUN.csv.gz, and to RUN.yaml beside it what made them. Writes from both
resources/spread.yaml, which verdicts on published numbers need, and docs/replicates.md. It does not
replace those of another run.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from engine.configuration import read_file
from engine.messages import number_of
from results.evidence import RUN, Entry, gathered, keep, kept_files
from results.intervals import ENOUGH, basis, compare, grids_of, half_width
from results.pages import markdown, write_texts
from results.reading import REPLICATE
from results.spread import spread_of
from results.wording import MISSING

SPREAD = Path("resources/spread.yaml")


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
    kept, _ = kept_files(arguments.run)
    owner = yaml.safe_load(SPREAD.read_text(encoding="utf-8"))["made_of"] if SPREAD.exists() else ""
    if owner not in ("", str(kept)):
        sys.exit(f"{SPREAD} was made of {owner}: move it away to make one of {arguments.run}")
    images, scores, made = gathered(arguments.run)
    keep(arguments.run, scores, made, Path(__file__).name)
    spread = {"made_of": str(kept), "rows": spread_rows(scores, made)}
    margin = read_file(Path("config.yaml"))["margin"]
    head = "# Made by workflow/tools/replicates.py\n"
    write_texts({str(SPREAD): head + yaml.safe_dump(spread, sort_keys=False)})
    write_texts({"docs/replicates.md": page(f"Replicates: {images}", scores, made, margin)})
    print(
        f"{kept}: {len(scores.drop_duplicates(RUN))} runs of {len(scores.drop_duplicates(RUN[:2]))}"
        " methods and noise settings"
    )


if __name__ == "__main__":
    main()
