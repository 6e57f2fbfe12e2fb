"""Draws the results of a machine: how fast a training step is, and how time and memory grow."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

Result = dict[str, Any]
OURS, OTHERS = "#1f77b4", "#b0b0b0"


def draw(results: dict[str, Any], title: str, path: Path) -> None:
    """Write a figure of the `training` results, and of the growth in `data`, if they are there."""
    growth = [line for line in results.get("data", []) if line["benchmark"] == "growth"]
    figure, axes = plt.subplots(
        1,
        3 if growth else 1,
        figsize=(13 if growth else 6, 3.6),
        layout="constrained",
        squeeze=False,
    )
    steps(axes[0, 0], [line for line in results.get("training", []) if "network" in line])
    if growth:
        curves(axes[0, 1], growth, "seconds", "seconds")
        curves(axes[0, 2], growth, "peak_mib", "memory, MiB")
        axes[0, 1].set_yscale("log")
        axes[0, 2].set_ylim(bottom=0)
        axes[0, 1].legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def steps(axes: Axes, lines: list[Result]) -> None:
    """Draw the images a second of each way to train, ours in colour."""
    names = [f"{line['network']}: {line['what']}" for line in lines]
    values = [line["images_a_second"] for line in lines]
    colours = [OURS if line["what"] == "workflow" else OTHERS for line in lines]
    bars = axes.barh(names, values, color=colours)
    axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("images a second in training")
    axes.set_xlim(right=1.15 * max(values, default=1))
    axes.spines[["top", "right"]].set_visible(False)


def curves(axes: Axes, lines: list[Result], key: str, label: str) -> None:
    """Draw what each step of the data's way takes over the number of images."""
    for step in dict.fromkeys(line["step"] for line in lines):
        chosen = [line for line in lines if line["step"] == step]
        axes.plot(
            [line["images"] for line in chosen], [line[key] for line in chosen], "o-", label=step
        )
    axes.set_xscale("log")
    axes.set_xlabel("images")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
