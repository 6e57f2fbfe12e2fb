"""Run all benchmarks that fit this machine, and write their results.

Writes `benchmarks/results/MACHINE.json` and the tables to read beside it. Needs PyTorch, NumPy, scikit-image,
pandas, matplotlib and tabulate; the workflow's own overhead is measured where Snakemake is installed and
`make run` was run before, and Keras takes part where it is installed.
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

import torch

import data
import figure
import overhead
import training
from common.files import replacing

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
RUN = [ROOT / "results" / "phantom", ROOT / "resources" / "datasets" / "phantom"]
PACKAGES = ["torch", "numpy", "scipy", "scikit-image", "snakemake"]


def machine() -> dict[str, Any]:
    """Return what the results depend on: processor, GPU, versions, and the day."""
    found: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "bf16 instructions": torch.cpu._is_avx512_bf16_supported(),
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        if importlib.util.find_spec(package.replace("scikit-image", "skimage")):
            found[package] = importlib.metadata.version(package)
    return found


def processor_name() -> str:
    """Return the processor's name as Linux has it, or what Python knows."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    name = re.search(r"model name\s*: (.*)", text)
    return name[1] if name else platform.processor() or platform.machine()


def file_name(found: dict[str, Any]) -> str:
    """Return a file name for a machine: its GPU, or its processor and cores."""
    text = found["gpu"] or f"{found['processor']} {found['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def measured(arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Return the results of each benchmark that can be run."""
    found = {"training": training.measure(arguments)}
    if not arguments.training_only:
        found["data"] = data.benchmark(arguments.images, sizes=arguments.sizes)
        if importlib.util.find_spec("snakemake") and all(path.is_dir() for path in RUN):
            found["overhead"] = overhead.overhead(RUN, os.cpu_count() or 1)
    return found


def page(found: dict[str, Any], results: dict[str, list[dict[str, Any]]]) -> str:
    """Return the results as a page to read."""
    shown = {"training": training.shown, "data": data.table, "overhead": overhead.table}
    lines = [f"# {found['gpu'] or found['processor']}, {found['cores']} cores", ""]
    lines += [", ".join(f"{key}: {value}" for key, value in found.items()), ""]
    lines += [f"![Training steps, and growth of time and memory]({file_name(found)}.png)"]
    for name, part in results.items():
        text = shown[name](part)
        fence = [] if text.startswith("|") else ["```"]
        lines += ["", f"## {name.capitalize()}", "", *fence, text, *fence]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    training.arguments_of(parser)
    parser.add_argument("--images", type=Path, help="folder of films to resize")
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=data.GROWTH, help="images to grow to"
    )
    parser.add_argument("--training-only", action="store_true")
    arguments = parser.parse_args()
    found, results = machine(), measured(arguments)
    text, name = page(found, results), RESULTS / file_name(found)
    for suffix, content in (
        (".json", json.dumps({"machine": found} | results, indent=1) + "\n"),
        (".md", text),
    ):
        with replacing(name.with_name(name.name + suffix)) as path:
            path.write_text(content, encoding="utf-8")
    figure.draw(
        results,
        f"{found['gpu'] or found['processor']}, {found['cores']} cores",
        name.with_name(name.name + ".png"),
    )
    print(text)


if __name__ == "__main__":
    main()
