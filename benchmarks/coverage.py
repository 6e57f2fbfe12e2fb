"""Simulate scores of which the truth is known: how often intervals cover it, verdicts are wrong.

The intervals and verdicts are the workflow's own. Writes `benchmarks/results/coverage.md`; takes a
quarter of an hour on one core. Needs NumPy, SciPy, pandas and tabulate.
"""

import argparse
import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from files.atomic import write_text
from results.intervals import ENOUGH, compare, estimate, quantile

RESULT = Path(__file__).resolve().parent / "results" / "coverage.md"
IMAGES, DRAWS, NOISES, METHODS = 80, 2, 7, 6
MARGIN = 0.005
# Standard deviations of SSIM. Images: what all methods share, and each method's own share.
SHARED, OWN, INTERACTION, RESIDUAL = 0.015, 0.008, 0.004, 0.003
# Of trainings: their standard deviation, and the skew of theirs and of all others.
SCENARIOS = {
    "0.0005": (0.0005, 0, 0),
    "0.002": (0.002, 0, 0),
    "0.005": (0.005, 0, 0),
    "0.005, skewed images": (0.005, 0, -0.7),
    "0.005, skewed trainings": (0.005, -1, 0),
}
# True means of a table's methods, the same in each of its noise settings.
TABLES = {
    f"{METHODS} methods, all equal": [0] * METHODS,
    f"{METHODS} methods, two groups a margin apart": [0, 0, 0, MARGIN, MARGIN, MARGIN],
    f"{METHODS} methods, each a margin above the last": [MARGIN * step for step in range(METHODS)],
    f"{METHODS} methods, some a margin apart, others far": [0, 0, MARGIN, MARGIN, 0.05, 0.2],
}


class Simulation:
    """Draws scores of a scenario."""

    def __init__(self, scenario: str, seed: int) -> None:
        self.trainings, self.skew_of_trainings, self.skew = SCENARIOS[scenario]
        self.rng = np.random.default_rng(seed)

    def values(self, deviation: float, skew: float, *shape: int) -> np.ndarray:
        """Return numbers of mean 0, of a normal or a mirrored gamma distribution."""
        if skew == 0:
            return deviation * self.rng.standard_normal(shape)
        gamma = self.rng.gamma(4 / skew**2, size=shape)
        return deviation * np.sign(skew) * (gamma * abs(skew) / 2 - 2 / abs(skew))

    def grids(self, means: Iterable[float], trainings: Iterable[int]) -> list[np.ndarray]:
        """Return a grid, shape (IMAGES, trainings), for each method; 0: it is not trained."""
        shared = self.values(SHARED, self.skew, IMAGES, 1)
        return [
            mean + shared + self.own(count) for mean, count in zip(means, trainings, strict=True)
        ]

    def own(self, trainings: int) -> np.ndarray:
        """Return what a method adds to the scores of images."""
        count = max(1, trainings)
        found = self.values(OWN, self.skew, IMAGES, 1)
        found = found + self.values(RESIDUAL, self.skew, IMAGES, count, DRAWS).mean(2)
        if trainings:
            found += self.values(self.trainings, self.skew_of_trainings, count)
            found += self.values(INTERACTION, self.skew, IMAGES, count)
        return found


def covers(*grids: np.ndarray) -> bool:
    """Return whether the interval of a mean, or of a difference, has the true one, which is 0."""
    mean, error, freedom = estimate(*grids)
    return abs(mean) <= quantile(freedom) * error


def coverage(scenario: str, trainings: int, repeats: int, seed: int = 0) -> dict[str, float]:
    """Return the share of intervals that cover, by what they are of."""
    simulation = Simulation(scenario, seed)
    hits = []
    for _ in range(repeats):
        first, second, filtered = simulation.grids([0] * 3, [trainings, trainings, 0])
        pairs = {"two trained": (first, second), "trained and filter": (first, filtered)}
        line = {"mean": covers(first)} | {name: covers(*two) for name, two in pairs.items()}
        averaged = [grid.mean(1, keepdims=True) for grid in (first, second)]
        hits.append(line | {"two trained, images alone": covers(*averaged)})
    return pd.DataFrame(hits).mean().to_dict()


def judged(
    scenario: str,
    means: list[float],
    trainings: list[int],
    noises: int,
    repeats: int,
    seed: int = 0,
) -> dict[str, float]:
    """Return the shares of tables with a wrong verdict, and of pairs with a verdict that decides.

    Args:
        scenario: One of `SCENARIOS`.
        means: The true means of the methods.
        trainings: Of each method; 0: it is not trained.
        noises: How many noise settings the table has.
        repeats: How many tables are simulated.
        seed: Of the random numbers.
    """
    simulation = Simulation(scenario, seed)
    trained = {str(number) for number, count in enumerate(trainings) if count}
    wrong, decided = 0, 0.0
    for _ in range(repeats):
        table = compare(
            {
                (str(noise), str(number)): grid
                for noise in range(noises)
                for number, grid in enumerate(simulation.grids(means, trainings))
            },
            trained,
            MARGIN,
        )
        truth = np.array(
            [means[int(a)] - means[int(b)] for a, b in table[["first", "second"]].values]
        )
        right = {
            "better": truth > MARGIN + 1e-9,
            "worse": truth < -MARGIN - 1e-9,
            "equivalent": abs(truth) < MARGIN - 1e-9,
            "undecided": np.ones(len(truth), bool),
        }
        wrong += not all(right[verdict][row] for row, verdict in enumerate(table["verdict"]))
        decided += (table["verdict"] != "undecided").mean()
    return {"wrong tables": wrong / repeats, "decided pairs": float(decided / repeats)}


def coverage_table(repeats: int) -> pd.DataFrame:
    """Return a row for each scenario and number of trainings."""
    rows = []
    for scenario, trainings in itertools.product(SCENARIOS, (1, 2, 3, ENOUGH, 10)):
        names = {"SD of trainings": scenario, "trainings": str(trainings)}
        rows.append(names | coverage(scenario, trainings, repeats))
    return pd.DataFrame(rows)


def verdict_table(pairs: int, tables: int) -> pd.DataFrame:
    """Return a row for each scenario and kind of table."""
    rows = []
    for scenario in SCENARIOS:
        two = {"two trained": [ENOUGH] * 2, "trained and filter": [ENOUGH, 0]}
        for name, trainings in two.items():
            found = judged(scenario, [MARGIN, 0], trainings, 1, pairs)
            rows.append({"SD of trainings": scenario, "table": f"{name}, a margin apart"} | found)
        for name, means in TABLES.items():
            trainings = [*[ENOUGH] * (METHODS - 1), 0]
            found = judged(scenario, means, trainings, NOISES, tables)
            rows.append({"SD of trainings": scenario, "table": name} | found)
    return pd.DataFrame(rows)


def page(repeats: int, tables: int) -> str:
    """Return the results in Markdown."""
    parts = [
        f"# How often intervals cover and verdicts are wrong, in {repeats:,} simulations each",
        "Of the 95 % intervals, these cover the true mean or the true difference:",
        markdown(coverage_table(repeats)),
        f"- {IMAGES} images, {DRAWS} draws. Standard deviations of SSIM: {SHARED} of images for "
        f"all methods, {OWN} for each; {INTERACTION} of a training on an image; "
        f"{RESIDUAL} of a draw.\n"
        f"- With fewer than {ENOUGH} trainings the intervals are over images and draws alone. The "
        "last column has such intervals for any number.",
        "Of these tables, so many have a wrong verdict:",
        markdown(verdict_table(repeats, tables)),
        f"- Each trained method has {ENOUGH} trainings; the margin is {MARGIN} SSIM. The tables of "
        f"{METHODS} methods, one a filter, have {NOISES} noise settings, and {tables:,} were "
        "simulated.",
    ]
    return "\n\n".join(parts) + "\n"


def markdown(table: pd.DataFrame) -> str:
    shares = table.map(lambda cell: f"{cell:.1%}" if isinstance(cell, float) else cell)
    return shares.to_markdown(index=False, disable_numparse=True, stralign="right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=6000, help="simulations each")
    parser.add_argument("--tables", type=int, default=600, help="large tables each")
    arguments = parser.parse_args()
    text = page(arguments.repeats, arguments.tables)
    write_text(RESULT, text)
    print(text)


if __name__ == "__main__":
    main()
