"""Measure what U-Nets that were trained on phantoms make of real films, without the test images.

The films are the training images of the published split: networks learn from phantoms, from more
and more varied phantoms, or from the first 256 films. All are scored on the last 64 films, without
those that show a film of the 256 again. Each training that is asked for adds a line to
`benchmarks/results/transfer.csv`, from which `transfer.md` is written; lines that are there are not
measured again: remove the file after a change of code or settings. A training of 6,000 image passes
takes three minutes of a core with bf16 instructions.
"""

import argparse
import itertools
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from engine.messages import Progress
from files.atomic import write_text
from images.films import twins
from images.reading import SUFFIXES
from images.resizing import read_resized
from methods.unet import build_network
from noise.models import corrupt
from noise.seeds import digest, generator
from recipes.supervised import Supervised
from render_phantom import render_all
from results.pages import markdown
from results.scores import scores
from training.processor import Processor, chosen_processor, keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
VARIED = "phantom_varied"
METHOD = CONFIG["methods"]["unet"]
SEED, SIZE, BATCH = CONFIG["seed"], CONFIG["image_size"], 4
TRAIN, LEARNED = CONFIG["datasets"]["isbi2015"]["train"], 256
KEYS = ["noise", "trained on", "augmentation", "passes"]


def films(folder: Path) -> np.ndarray:
    """Return the training films of a folder, shape (320, 128, 128), values in [0, 1]."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[:TRAIN]
    return np.stack([read_resized(path, SIZE) for path in paths])


def phantoms(entry: dict[str, float]) -> np.ndarray:
    """Return the phantoms of a data set of the configuration, shape (N, 128, 128)."""
    variety = entry.get("variety", 1)
    return np.stack(list(render_all(entry["subjects"], SIZE, entry["seed"], 1, variety)))


def trained(images: np.ndarray, noise: str, augmentation: str, passes: int) -> torch.nn.Module:
    """Return a U-Net that has seen so many of the images (N, H, W), values in [0, 1]."""
    settings = METHOD["training"] | {"batch": BATCH, "steps": passes // BATCH}
    settings |= {"augmentation": augmentation}
    torch.manual_seed(digest(SEED, "transfer"))
    model, processor = CONFIG["noise"][noise], chosen_processor("cpu", settings)
    network = build_network({key: METHOD[key] for key in ("widths", "blocks")}, model)
    draw = partial(generator, SEED, "transfer", noise)
    recipe = Supervised(network, {"clean": images}, model, settings, draw, processor)
    progress = Progress(f"{noise}, {augmentation}", recipe.steps)
    for step in range(recipe.steps):
        recipe.take(step)
        progress.advance()
    network.load_state_dict(recipe.kept())
    return network


def scored(network: torch.nn.Module, images: np.ndarray, noise: str) -> float:
    """Return the mean structural similarity of what a network makes of images (N, H, W)."""
    model = CONFIG["noise"][noise]
    rngs = (generator(SEED, "transfer", noise, place) for place in range(len(images)))
    noisy = np.stack([corrupt(a, model, rng) for a, rng in zip(images, rngs, strict=True)])
    found = Processor(torch.device("cpu")).evaluated(network, noisy).numpy()
    return float(scores(images, found.astype(np.float64))["ssim"].mean())


def page(table: pd.DataFrame, count: int) -> str:
    """Return the measurements in Markdown."""
    rows = table.drop(columns="seconds").astype({"passes": int})
    rows["passes"] = rows["passes"].map("{:,}".format)
    for column in ("films", "phantoms"):
        rows[column] = rows[column].map("{:.4f}".format)
    said = [
        f"films: mean SSIM of {count} films that no network learned from, none a test image",
        "phantoms: mean SSIM of the phantoms that no network learned from",
        "one training each",
    ]
    return markdown("Trained on phantoms, tried on films", said, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--images", type=Path, required=True, help="the folder of the real images")
    add("--noise", nargs="+", default=["gaussian_0.2_0_1"], choices=CONFIG["noise"])
    add("--trained-on", nargs="+", default=["phantom"], choices=["phantom", VARIED, "films"])
    add("--augmentation", nargs="+", default=["flips", "deformations"], help="see the recipe")
    add("--passes", nargs="+", type=int, default=[6000, 19600])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    real, rendered = films(arguments.images), phantoms(CONFIG["datasets"]["phantom"])
    learned, held_out = real[:LEARNED], real[LEARNED:]
    held_out = held_out[~twins(held_out, learned)]
    sources = {"phantom": rendered[:TRAIN], "films": learned}
    if VARIED in arguments.trained_on:
        sources[VARIED] = phantoms(CONFIG["datasets"][VARIED])

    file = RESULTS / "transfer.csv"
    rows = pd.read_csv(file).to_dict("records") if file.exists() else []
    wanted = itertools.product(
        arguments.noise, arguments.trained_on, arguments.augmentation, arguments.passes
    )
    for values in wanted:
        row = dict(zip(KEYS, values, strict=True))
        if any(all(known[key] == row[key] for key in KEYS) for known in rows):
            continue
        started = time.process_time()
        network = trained(sources[row["trained on"]], row["noise"], *values[2:])
        seconds = round(time.process_time() - started)
        results = {"films": held_out, "phantoms": rendered[TRAIN:]}
        row |= {
            name: round(scored(network, set_, row["noise"]), 4) for name, set_ in results.items()
        }
        rows.append(row | {"seconds": seconds})
        table = pd.DataFrame(rows).sort_values(KEYS)
        write_text(file, table.to_csv(index=False))
        write_text(RESULTS / "transfer.md", page(table, len(held_out)))
        print(row, flush=True)


if __name__ == "__main__":
    main()
