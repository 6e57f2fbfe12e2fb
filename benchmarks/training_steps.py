"""Time a training step side by side with plain PyTorch and with Keras, on the same images.

All start from the same weights and see the same batches, so their losses can be compared as well.
Needs PyTorch and NumPy; Keras, if it is to take part, in an environment of its own
(`--keras PYTHON`).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from methods import autoencoder, unet
from noise.models import corrupt
from noise.seeds import generator
from recipes.published import Published
from recipes.supervised import Supervised
from render_phantom import render
from trainers import Keras, Ours, PlainPyTorch
from training.processor import Processor, chosen_processor, keep_freed_memory
from training.recipe import Recipe

NOISE = {"distribution": "gaussian", "factor": 0.2, "mean": 0, "std": 1}
TAIL = [32, 16, 8]
UNET = {"widths": [32, 64, 128, 192], "blocks": 1}
UNET_BATCH = 4
SIZE, BATCH, RATE, STEPS = 128, 64, 1e-3, 3000  # published
# That the auto-encoder's activations move, an image, layer by layer.
BYTES = {"bf16": 24e6, "fp32": 48e6}

# The workflow's ways to take a step.
WAYS = {
    "workflow": {"precision": "auto"},
    "workflow, contiguous": {"precision": "auto", "layout": "contiguous"},
    "workflow, fp32": {"precision": "fp32"},
}
ON_A_GPU = {"workflow, no graph": {"precision": "auto", "capture": False}}

# The side of matrices that show the peak, and how many numbers show the bandwidth.
LARGE = {"cpu": (2048, 2**26), "cuda": (8192, 2**28)}

Result = dict[str, Any]


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return phantoms, shape (count, SIZE, SIZE), repeated from a few; and noisy ones."""
    few = np.stack([render(subject, SIZE, seed=7) for subject in range(min(count, 16))])
    clean = np.resize(few, (count, SIZE, SIZE)).astype(np.float32)
    noisy = corrupt(clean.astype(np.float64), NOISE, generator(7, "benchmark"))
    return clean, noisy.astype(np.float32)


def published_recipe(clean: np.ndarray, noisy: np.ndarray, processor: Processor) -> Recipe:
    """Return a training of the published auto-encoder that sees all images; always the same one."""
    torch.manual_seed(0)
    network = autoencoder.build_network({"tail": TAIL}, NOISE)
    settings = {"steps": STEPS, "batch": BATCH, "learning_rate": RATE, "keep": "last"}
    recipe = Published(network, {"clean": clean, "noisy": noisy}, NOISE, settings, draw, processor)
    recipe.train_count = len(clean)
    recipe.steps_an_epoch = len(clean) // BATCH
    return recipe


def draw(*purpose: str | int) -> np.random.Generator:
    return generator(7, *purpose)


def side_by_side(
    trainers: Mapping[str, Any], rounds: int, steps: int, batch: int, baseline: str
) -> list[Result]:
    """Let trainers take turns; return for each the images a second and the ratio to a baseline.

    Args:
        trainers: Objects with `fit(steps)`, by name.
        rounds: How often each has its turn, after a first one that does not count.
        steps: Steps a turn.
        batch: Images a step.
        baseline: The name of the one that the others are compared with.
    """
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    losses: dict[str, float] = {}
    for turn in range(rounds + 1):
        for name, trainer in trainers.items():
            spent, losses[name] = trainer.fit(steps)
            if turn:
                seconds[name].append(spent / steps)
    results = []
    for name, spent in seconds.items():
        ratios = [a / b for a, b in zip(seconds[baseline], spent, strict=True)]
        results.append(
            {
                "what": name,
                "seconds_a_step": statistics.median(spent),
                "seconds_a_step_range": [min(spent), max(spent)],
                "images_a_second": batch / statistics.median(spent),
                f"times_{baseline}": statistics.median(ratios),
                f"times_{baseline}_range": [min(ratios), max(ratios)],
                "loss": losses[name],
                "steps": (rounds + 1) * steps,
            }
        )
    return results


def autoencoder_results(arguments: argparse.Namespace) -> list[Result]:
    """Time the published auto-encoder: our ways, plain PyTorch, Keras if it is there."""
    clean, noisy = images(10 * BATCH)

    def recipe(**settings: Any) -> Recipe:  # noqa: ANN401
        processor = chosen_processor(arguments.device, settings)
        return published_recipe(clean, noisy, processor)

    trainers: dict[str, Any] = {name: Ours(recipe(**way)) for name, way in arguments.ways.items()}
    trainers["plain PyTorch"] = PlainPyTorch(recipe(precision="fp32"), clean, noisy)
    if arguments.keras:
        start = recipe(precision="fp32")
        trainers["Keras"] = Keras(arguments.keras, start, clean, noisy, arguments.threads)
    baseline = "Keras" if arguments.keras else "plain PyTorch"
    try:
        results = side_by_side(trainers, arguments.rounds, arguments.steps, BATCH, baseline)
    finally:
        if arguments.keras:
            trainers["Keras"].close()
    return [{"network": "auto-encoder", "batch": BATCH} | line for line in results]


def unet_results(arguments: argparse.Namespace) -> list[Result]:
    """Time the U-Net's steps in our ways."""
    clean, _ = images(BATCH)

    def recipe(way: Mapping[str, Any]) -> Recipe:
        torch.manual_seed(0)
        settings = {"steps": STEPS, "batch": UNET_BATCH, "learning_rate": 2e-3}
        processor = chosen_processor(arguments.device, way)
        network = unet.build_network(UNET, NOISE)
        return Supervised(network, {"clean": clean}, NOISE, settings, draw, processor)

    trainers = {name: Ours(recipe(way)) for name, way in arguments.ways.items()}
    steps = arguments.steps * 8
    results = side_by_side(trainers, arguments.rounds, steps, UNET_BATCH, "workflow, fp32")
    return [{"network": "U-Net", "batch": UNET_BATCH} | line for line in results]


def ceilings(device: torch.device) -> Result:
    """Measure the machine: FLOP/s of large matrix products, bytes a second of a large copy."""
    side, count = LARGE[device.type]
    found: Result = {"what": "ceilings"}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        found[f"{name}_flops"] = 2 * side**3 / best_of(lambda a=a, b=b: a @ b, device)
    source = torch.randn(count, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.nbytes
    found["bytes_a_second"] = moved / best_of(lambda: target.copy_(source), device)
    return found


def best_of(function: Callable[[], object], device: torch.device, repeats: int = 7) -> float:
    """Return the seconds of the fastest of some calls."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)


def flops_an_image(network: nn.Module) -> int:
    """Return the floating-point operations, forward and backward, for an image."""
    network.train()
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 1, SIZE, SIZE)).mean().backward()
    return counter.get_total_flops()


def with_floors(
    results: list[Result], limits: Result, ways: Mapping[str, Any], device: torch.device
) -> list[Result]:
    """Add how far each step is from what the machine could do.

    On a CPU the floor is arithmetic in the precision of the hardware's best; on a GPU the
    auto-encoder's is the memory's.
    """
    flops = max(limits["fp32_flops"], limits["bf16_flops"])
    work_of = {
        "auto-encoder": flops_an_image(autoencoder.build_network({"tail": TAIL}, NOISE)),
        "U-Net": flops_an_image(unet.build_network(UNET, NOISE)),
    }
    for line in results:
        work = line["batch"] * work_of[line["network"]]
        line["share_of_peak"] = work / flops / line["seconds_a_step"]
        if device.type == "cuda" and line["network"] == "auto-encoder":
            way = ways.get(line["what"], {"precision": "fp32"})
            precision = "fp32" if way["precision"] == "fp32" else "bf16"
            floor = line["batch"] * BYTES[precision] / limits["bytes_a_second"]
            line["share_of_bandwidth"] = floor / line["seconds_a_step"]
            line["seconds_a_row"] = line["seconds_a_step"] * STEPS
    return results


def measure(arguments: argparse.Namespace) -> list[Result]:
    """Return all results, as dictionaries."""
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    device = chosen_processor(arguments.device, {"precision": "fp32"}).device
    arguments.ways = WAYS | (ON_A_GPU if device.type == "cuda" else {})
    arguments.steps = arguments.steps or (300 if device.type == "cuda" else 5)
    limits = ceilings(device)
    results = autoencoder_results(arguments) + unet_results(arguments)
    return [limits, *with_floors(results, limits, arguments.ways, device)]


def arguments_of(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5, help="turns that count (default: 5)")
    parser.add_argument(
        "--steps", type=int, help="steps a turn (default: 5 on a CPU, 300 on a GPU)"
    )
    parser.add_argument("--keras", metavar="PYTHON", help="interpreter with TensorFlow")


def table(results: list[Result]) -> str:
    """Return results as a table in Markdown."""
    (limits,) = (line for line in results if line["what"] == "ceilings")
    rows = []
    for line in results:
        if line is limits:
            continue
        baseline = next(k for k in line if k.startswith("times_") and not k.endswith("range"))
        low, high = line[f"{baseline}_range"]
        slow, fast = (1000 * s for s in line["seconds_a_step_range"])
        rows.append(
            {
                "network": f"{line['network']}, batch {line['batch']}",
                "how": line["what"],
                "ms a step": f"{1000 * line['seconds_a_step']:.1f} ({slow:.1f}-{fast:.1f})",
                "images/s": f"{line['images_a_second']:,.0f}",
                "times as fast": f"{line[baseline]:.2f} ({low:.2f}-{high:.2f}) "
                f"as {baseline.removeprefix('times_')}",
                "of peak": f"{line['share_of_peak']:.0%}",
                "of bandwidth": f"{line['share_of_bandwidth']:.0%}"
                if "share_of_bandwidth" in line
                else "",
                "s a row": f"{line['seconds_a_row']:.1f}" if "seconds_a_row" in line else "",
                "loss": f"{line['loss']:.4f} after {line['steps']} steps",
            }
        )
    return (
        pd.DataFrame(rows).to_markdown(index=False)
        + f"\n\nPeak: matrix products, fp32 {limits['fp32_flops'] / 1e9:,.0f}, bf16 "
        f"{limits['bf16_flops'] / 1e9:,.0f} GFLOP/s. Bandwidth: a copy, "
        f"{limits['bytes_a_second'] / 1e9:,.0f} GB/s read and written. Turns in rotation; medians, "
        "and ranges in brackets."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    arguments_of(parser)
    print(table(measure(parser.parse_args())))
