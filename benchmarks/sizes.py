"""Time training steps, denoising and scoring on images of several sizes, in one run.

Processor time of one thread, in turn, so that ratios hold on a busy machine too. Writes
`benchmarks/results/sizes.md`.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from files.atomic import write_text
from methods import autoencoder, unet
from noise.models import corrupt
from recipes.published import Published
from recipes.supervised import Supervised
from render_phantom import render
from results.pages import markdown
from results.scores import scores
from trainers import Ours
from training.processor import chosen_processor, keep_freed_memory
from training_steps import NOISE, TAIL, UNET, draw

RESULT = Path(__file__).parent / "results" / "sizes.md"
SIZES = (128, 256, 512)  # ratios are to the first
COUNT = 10  # images
BATCHES = {"auto-encoder": 4, "U-Net": 2}  # as in config.yaml


def ways(size: int) -> dict[str, Callable[[], object]]:
    """Return what is timed on images of a size, by name."""
    clean = np.stack([render(subject, size, seed=7) for subject in range(COUNT)])
    noisy = corrupt(clean, NOISE, draw("benchmark"))
    arrays = {"clean": clean.astype(np.float32), "noisy": noisy.astype(np.float32)}
    networks = {
        "auto-encoder": (Published, autoencoder.build_network({"tail": TAIL}, NOISE)),
        "U-Net": (Supervised, unet.build_network(UNET, NOISE)),
    }
    processor, found = chosen_processor("cpu", {"precision": "auto"}), {}
    for name, (recipe, network) in networks.items():
        batch = BATCHES[name]
        settings = {"steps": 10**6, "batch": batch, "learning_rate": 1e-3, "keep": "last"}
        trainer = Ours(recipe(network, arrays, NOISE, settings, draw, processor))
        found[f"{name}: a training step of {batch} images"] = lambda trainer=trainer: trainer.fit(1)
    for name, (_, network) in networks.items():
        found[f"{name}: denoising an image"] = lambda network=network: processor.evaluated(
            network, noisy[:1]
        )
    return found | {"scoring an image": lambda: scores(clean[:1], noisy[:1])}


def measure(sizes: Sequence[int], rounds: int) -> pd.DataFrame:
    """Return what each call took (processor ms): columns `way`, `size`, `round`, `ms`."""
    found, lines = {size: ways(size) for size in sizes}, []
    for turn in range(rounds + 1):  # the first does not count
        for size, calls in found.items():
            for way, call in calls.items():
                started = time.process_time()
                call()
                lines.append((way, size, turn, 1000 * (time.process_time() - started)))
    table = pd.DataFrame(lines, columns=["way", "size", "round", "ms"])
    return table[table["round"] > 0]


def page(table: pd.DataFrame) -> str:
    """Return what `measure` returns in Markdown: medians, and ratios to the first size."""
    wide = table.pivot(index=["way", "round"], columns="size", values="ms")
    first, *others = wide.columns
    ratios = wide[others].div(wide[first], axis=0).groupby("way", sort=False).median()
    medians = wide.groupby("way", sort=False).median()
    rows = pd.DataFrame({f"{first}, ms": medians[first].map("{:.1f}".format)})
    for size in others:
        rows[f"{size}, ms"] = medians[size].map("{:.1f}".format)
        rows[f"{size}, times {first}"] = ratios[size].map("{:.1f}".format)
    note = (
        f"Processor time of one thread; medians of {wide.index.levshape[1]} rounds, in which sizes "
        "took turns."
    )
    return markdown("Times by image size", rows.rename_axis("").reset_index(), [note])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="that count (default: 15)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    keep_freed_memory()
    text = page(measure(SIZES, rounds))
    write_text(RESULT, text)
    print(text)


if __name__ == "__main__":
    main()
