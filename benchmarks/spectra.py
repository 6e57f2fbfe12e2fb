"""Measure how much detail real films have at their own resolution, and how much phantoms have.

Parts of films that are no test images are compared with parts of phantoms at about that resolution,
as they are and with the texture that the network that comes with the project sees in its training.
Writes the page `benchmarks/results/spectra.md`. A minute.
"""

import argparse
import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from engine.configuration import read_file
from files.atomic import write_text
from native import PART, RESULTS, ROOT, TUNED, parts
from noise.device_random import DeviceGenerator
from recipes.any_noise import windows
from render_phantom import render_all
from results.pages import markdown
from training.augmentation import deformed, textured

BANDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.5)  # cycles a pixel


def spectrum(part: np.ndarray) -> list[float]:
    """Return how strong a part (H, W) is in each of the bands.

    It is the square root of the mean power there, scaled so that white noise has its standard
    deviation in each of them.
    """
    window = np.multiply.outer(*map(np.hanning, part.shape))
    power = np.abs(np.fft.fft2((part - part.mean()) * window)) ** 2 / (window**2).sum()
    frequency = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, part.shape), indexing="ij"))
    return [
        float(np.sqrt(power[(low <= frequency) & (frequency < high)].mean()))
        for low, high in itertools.pairwise(BANDS)
    ]


def row(name: str, images: Iterable[np.ndarray]) -> dict[str, str]:
    """Return the median, and the least and the greatest but a tenth, of each band."""
    low, middle, high = np.quantile([spectrum(part) for part in images], [0.1, 0.5, 0.9], axis=0)
    bands = (f"{lowest:g} to {highest:g}" for lowest, highest in itertools.pairwise(BANDS))
    cells = (f"{b:.4f} ({a:.4f} to {c:.4f})" for a, b, c in zip(low, middle, high, strict=True))
    return {"images": name, **dict(zip(bands, cells, strict=True))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the real images")
    parser.add_argument("--count", type=int, default=16, help="parts, each of another film")
    parser.add_argument("--seed", type=int, default=1811, help="of places and of texture")
    given = parser.parse_args()
    model, config = (read_file(ROOT / name) for name in ("config/model.yaml", "config.yaml"))
    training, data = model["methods"]["unet_any"]["training"], config["datasets"][model["dataset"]]
    films = [part for _, part in parts(given.images, TUNED, given.count, given.seed)]
    rendered = render_all(given.count, model["image_size"], data["seed"], 1, data["variety"])
    phantoms = torch.as_tensor(np.float32(list(rendered))).unsqueeze(1)
    rng = DeviceGenerator(torch.device("cpu"))
    rng.seed(given.seed)
    plain = deformed(phantoms, rng, windows(phantoms, PART, 1 / training["magnification"], rng))
    added = textured(plain, training["texture"], torch.ones(len(plain)), rng)
    table = pd.DataFrame(
        [
            row("films", films),
            row("phantoms", plain[:, 0].numpy()),
            row("phantoms with texture", added[:, 0].numpy()),
        ]
    )
    said = [
        f"{given.count} parts of {PART} x {PART} pixels, each of another film or phantom; no test "
        "image",
        f"phantoms: rendered with {model['image_size']} x {model['image_size']} pixels, magnified "
        f"{training['magnification']} times",
        "how strong grey levels vary in each band of spatial frequencies, in cycles a pixel: the "
        "standard deviation of white noise of the same power there; median over the parts, and in "
        "brackets 10 % and 90 %",
    ]
    write_text(RESULTS / "spectra.md", markdown("Detail of films and of phantoms", said, table))


if __name__ == "__main__":
    main()
