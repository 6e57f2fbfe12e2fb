"""Time whole trainings, one a noise setting: the script that a job runs, in a process of its own.

A row of the table costs more than its steps: the interpreter and PyTorch start, the device is set
up, images are read, the model is written. Needs PyTorch and NumPy, no Snakemake.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from step import SCRIPTS, run_step
from training_steps import BATCH, STEPS, images

Result = dict[str, Any]
CONFIG = yaml.safe_load((SCRIPTS.parents[1] / "config.yaml").read_text(encoding="utf-8"))
IMAGES = 1600  # training arrays of the published experiment: 320 films, five times each
CPU_STEPS = 2  # a whole training takes half an hour there: this shows what is besides


def rows(steps: int, device: str, threads: int, count: int = IMAGES) -> list[Result]:
    """Train the published auto-encoder for each noise setting, one after the other.

    Args:
        steps: Of each training.
        device: auto, cpu or cuda.
        threads: On a CPU.
        count: Images, of the digital phantom, the same for all rows: only time is of interest.

    Returns:
        A line a noise setting: `noise`, `steps`, `seconds` of the process from start to end by the
        clock, `training_seconds` of the steps and of validation (processor time on a CPU).
    """
    entry = CONFIG["methods"]["autoencoder"]
    training = entry["training"] | {"steps": steps, "batch": BATCH, "threads": threads}
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {part: str(folder / f"{part}.npy") for part in ("clean", "noisy")}
        for array, path in zip(images(count), files.values(), strict=True):
            np.save(path, array)
        (folder / "results/row/models/row").mkdir(parents=True)
        outputs = {"history": str(folder / "history.csv")}
        outputs["model"] = str(folder / "results/row/models/row/model.pt")
        for noise, model in CONFIG["noise"].items():
            settings = {"tail": entry["tail"]} | entry["overrides"].get(noise, {})
            done = run_step(
                "train_denoiser",
                input=files,
                output=outputs,
                params={
                    **{"plugin": "autoencoder", "settings": settings | {"training": training}},
                    **{"noise": model, "seed": 1, "device": device, "code": "benchmark"},
                    "learns_from": "phantom",
                },
                wildcards={"noise": noise, "method": "autoencoder"},
            )
            cost = torch.load(outputs["model"], weights_only=True)["cost"]
            line = {"noise": noise, "steps": steps, "seconds": done["seconds"]}
            results.append(line | {"training_seconds": cost["training_seconds"]})
    return results


def measure(arguments: argparse.Namespace) -> list[Result]:
    """Return the results on the device that the arguments name; whole trainings on a GPU only."""
    whole = arguments.device != "cpu" and torch.cuda.is_available()
    return rows(STEPS if whole else CPU_STEPS, arguments.device, arguments.threads)


def table(results: list[Result]) -> str:
    """Return results as a table in Markdown."""
    frame = pd.DataFrame(results)
    frame["besides"] = frame["seconds"] - frame["training_seconds"]
    seconds = frame["seconds"].sum()
    return (
        frame.to_markdown(index=False, floatfmt=".1f")
        + f"\n\nAll {len(frame)} trainings of {frame['steps'].max()} steps, one after the other: "
        f"{seconds:.1f} s."
    )
