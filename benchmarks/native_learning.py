"""Measure what is gained when a network learns from the noisy films that it is to denoise.

Parts of real films get the noise of a detector, once. From these noisy parts alone, with the noise
that is estimated of each, a network learns as `make denoise METHOD=blind_spot` does, and denoises
them. It is compared with the network that it started from, `unet_any`, which comes with the
project and is told the same estimates. Writes the page `benchmarks/results/native_learning.md` and
the scores of each part as CSV; what was measured before at other doses, or with more or fewer
films, stays in it. Half an hour of a core for each dose, ten minutes with bf16 instructions.
"""

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from engine.configuration import checked, read_file
from engine.digests import source_digests
from engine.films import film_method
from files.atomic import write_text
from files.tensors import save_tensors
from films.examining import Record, examined
from films.learning import learned
from films.methods import denoiser_of
from native import DOSES, MEASURED, MODEL, RESULTS, ROOT, interval, noisy_part, parts, scores
from results.pages import markdown
from training.processor import chosen_processor, keep_freed_memory

SIDE = 768  # pixels of a film's part
LEARNED, GIVEN = "blind spot, learned from these films", "U-Net, any noise"


def measured(
    clean: dict[str, np.ndarray], dose: int, seed: int, folder: Path, settings: dict
) -> list[dict[str, object]]:
    """Return a row for each part and method at a dose.

    Args:
        clean: The parts by the names of their films.
        dose: Of the noise that they get.
        seed: Of noise and training.
        folder: Keeps the noisy parts, and the progress of learning.
        settings: By which the method learns.
    """
    noisy = {name: np.float32(noisy_part(part, name, dose, seed)) for name, part in clean.items()}
    records: list[Record] = []
    for name, part in noisy.items():
        file = folder / f"{name}.tif"
        tifffile.imwrite(file, part)
        records.append(examined(file, file.name, None))
    model = learned(
        folder,
        [record for record in records if not record["refused"]],
        MODEL,
        settings,
        seed=seed,
        processor=chosen_processor("cpu", settings["training"]),
        checkpoint=folder / "checkpoint.pt",
        code=source_digests("films/learning.py"),
    )
    save_tensors(folder / "model.pt", model)
    about = {"dose": dose, "films": len(clean), "steps": model["training"]["steps"]}
    rows = []
    for (name, part), record in zip(clean.items(), records, strict=True):
        for method, file in ((LEARNED, folder / "model.pt"), (GIVEN, MODEL)):
            denoise = denoiser_of("unet_any", str(file), record["gain"], record["deviation"])
            found = denoise(noisy[name])
            rows.append({"film": name, **about, "method": method} | scores(part, found))
        rows.append({"film": name, **about, "method": "noisy"} | scores(part, noisy[name]))
    return rows


def page(table: pd.DataFrame) -> str:
    """Return the measurements in Markdown; `table` has the rows of `measured`."""
    rows = []
    for (dose, films, steps), lines in table.groupby(["dose", "films", "steps"], sort=False):
        by_film = lines.pivot_table(["PSNR", "SSIM"], "film", "method")
        for method in ("noisy", GIVEN, LEARNED):
            row = {"dose": dose, "parts": films, "steps": f"{steps:,}", "method": method}
            for score, digits in (("PSNR", 2), ("SSIM", 4)):
                own = by_film[score]
                row[score] = f"{own[method].mean():.{digits}f}"
                gained = own[LEARNED] - own[method]
                row[f"{score} gained"] = "" if method == LEARNED else interval(gained, digits)
            rows.append(row)
    told = [
        f"parts of {SIDE} x {SIDE} pixels, each of another film at its own size; learned from "
        "these noisy parts alone, in so many steps",
        "gained: by how much the network that learned from them has more, with the 95 % interval "
        "over films",
        "both are told the noise that was estimated of each part",
    ]
    frame = pd.DataFrame(rows).astype(str)
    return markdown("Learned from the films themselves", "Learning", told, frame)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the real images")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for what is made meanwhile"
    )
    parser.add_argument("--films", type=int, default=8)
    parser.add_argument("--doses", type=int, nargs="+", default=list(DOSES))
    parser.add_argument("--steps", type=int, help="of learning; default: those of the method")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1811, help="of parts, noise and learning")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    chosen = {"images": str(given.images), "method": "blind_spot"}
    files = (read_file(ROOT / name) for name in ("config.yaml", "config/denoise.yaml"))
    settings = film_method(checked(*files, chosen), str).learning
    if given.steps:
        settings["training"]["steps"] = given.steps
    clean = dict(parts(given.images, MEASURED, given.films, given.seed, SIDE))
    file = RESULTS / "native_learning.csv"
    for dose in given.doses:
        folder = given.work / str(dose)
        folder.mkdir(parents=True, exist_ok=True)
        rows = pd.DataFrame(measured(clean, dose, given.seed, folder, settings)).round(5)
        known = pd.read_csv(file, dtype={"film": str}) if file.exists() else rows.head(0)
        others = (known["dose"] != dose) | (known["films"] != len(clean))
        table = pd.concat([known[others], rows], ignore_index=True)
        table = table.sort_values(["dose", "films"], ascending=False, kind="stable")
        write_text(file, table.to_csv(index=False))
        write_text(RESULTS / "native_learning.md", page(table))


if __name__ == "__main__":
    main()
