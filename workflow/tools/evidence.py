"""Keep the scores that a run has, whether or not it is complete, and make a page of them.

Adds every score in results/RUN to resources/evidence/RUN.csv.gz, and to RUN.yaml beside it what
made them. So a comparison that takes days can be made a row at a time, on several machines. Writes
RUN.md there: the mean scores, and how far they are below those of one method.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from engine.configuration import checked, read_file
from engine.methods import Method, methods_of
from engine.plugins import ConfigurationError
from results.evidence import EVIDENCE, Entry, gathered, keep
from results.fairness import decimals
from results.pages import markdown, write_texts
from results.reading import by_noise
from results.wording import CLEAN, MISSING, MODEL

FILES = [Path(name) for name in ("config.yaml", "config/methods.yaml", "config/detector.yaml")]


def page(
    title: str,
    scores: pd.DataFrame,
    made: Mapping[str, Entry],
    methods: Mapping[str, Method],
    noise: list[str],
    yardstick: str,
) -> str:
    """Return the page of a run: a row a method, a column a noise setting.

    Args:
        title: Of the page.
        scores: What `scores_of` returns.
        made: What `made_in` returns.
        methods: By name, in order. Those of the scores that are not among them, since they were
            configured otherwise once, come last by their names.
        noise: The noise settings, in order.
        yardstick: The method that others are compared with.
    """
    means = scores.groupby(["noise", "method"])[["ssim", "psnr"]].mean().reset_index()
    found = set(means["method"])
    others = sorted(found - {"noisy", *methods})
    rows = [name for name in ["noisy", *methods, *others] if name in found]
    columns = [name for name in noise if name in set(means["noise"])]
    labels = [methods[name].label if name in methods else name for name in rows]

    def table(values: pd.DataFrame, places: int) -> pd.DataFrame:
        shown = values.map(lambda value: decimals(value, places))
        shown.insert(0, "Method", labels)
        return shown

    given = pd.DataFrame(
        [
            {
                "Method": method.label,
                **{
                    what.capitalize(): "yes" if what in method.uses else "no"
                    for what in (CLEAN, MODEL)
                },
                "Image passes": passes(made, name),
            }
            for name, method in methods.items()
            if name in found
        ]
    )
    ssim, psnr = (by_noise(means, rows, columns, score) for score in ("ssim", "psnr"))
    dates = sorted({text for entry in made.values() for text in entry["made"].values()})
    parts = [
        table(ssim, 4),
        [
            f"Mean SSIM over {scores['image'].nunique()} test images. "
            f"{MISSING}: not run yet. Trained on: {'; '.join(dates)}."
        ],
    ]
    parts += ["What each was given", given]
    if yardstick in rows:
        parts += [
            "How far below",
            table(ssim.loc[yardstick] - ssim, 4),
            [f"Below {methods[yardstick].label}: differences of mean SSIM."],
        ]
    return markdown(title, *parts, "PSNR", table(psnr, 2), ["Mean, dB."])


def passes(made: Mapping[str, Entry], method: str) -> str:
    """Return how many images went through a network in training, `MISSING` if it is none."""
    settings = [e["settings"].get("training") for n, e in made.items() if n.split("/")[1] == method]
    counts = sorted({each["steps"] * each["batch"] for each in settings if each})
    return ", ".join(f"{count:,}" for count in counts) or MISSING


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a folder in results/")
    parser.add_argument("--configfile", type=Path, nargs="+", default=FILES, metavar="FILE")
    parser.add_argument("--title", default="Scores so far", help="of the page")
    parser.add_argument("--yardstick", default="unet_mse", metavar="METHOD")
    arguments = parser.parse_args()
    images, scores, made = gathered(arguments.run, elsewhere=True)
    try:
        config = checked(*map(read_file, arguments.configfile))
    except ConfigurationError as error:
        sys.exit(f"The configuration can't be used; give all files that the run had.\n{error}")
    title = f"{arguments.title}: {images}"
    methods = methods_of(config)
    noise = list(dict.fromkeys([*config["select"]["noise"], *config["noise"]]))
    text = page(title, scores, made, methods, noise, arguments.yardstick)
    keep(arguments.run, scores, made, Path(__file__).name)
    write_texts({str(EVIDENCE / f"{arguments.run.name}.md"): text})


if __name__ == "__main__":
    main()
