"""Run all benchmarks that fit this machine, and write their results.

Writes `benchmarks/results/MACHINE.json` and the tables to read beside it. Needs PyTorch, NumPy,
scikit-image, pandas, matplotlib and tabulate. The workflow's own overhead is measured where
Snakemake is installed and `make run` was run before; Keras takes part with `--keras`.
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
import growth
import overhead
import rows
import training_steps
from files.atomic import replacing

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
RUN = [ROOT / "results" / "phantom", ROOT / "resources" / "datasets" / "phantom"]
MODULES = {"training": training_steps, "rows": rows, "data": data, "overhead": overhead}
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


def measured(part: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the results of a part; none where it can't be measured."""
    if part == "training":
        return training_steps.measure(arguments)
    if part == "rows":
        return rows.measure(arguments)
    if part == "data":
        return data.benchmark(arguments.images, sizes=arguments.sizes)
    if importlib.util.find_spec("snakemake") and all(path.is_dir() for path in RUN):
        return overhead.overhead(RUN, os.cpu_count() or 1)
    return []


def title_of(found: dict[str, Any]) -> str:
    """Return what a machine is called."""
    return f"{found['gpu'] or found['processor']}, {found['cores']} cores"


def page(results: dict[str, Any], name: str) -> str:
    """Return the results as a page to read; `name` is the file of its figure, without suffix."""
    found = results["machine"]
    lines = [f"# {title_of(found)}", ""]
    lines += [", ".join(f"{key}: {value}" for key, value in found.items()), ""]
    lines += [f"![Training steps, and growth of time and memory]({name}.png)"]
    for part in MODULES:
        if results.get(part):
            text = MODULES[part].table(results[part])
            fence = [] if text.startswith("|") else ["```"]
            lines += ["", f"## {part.capitalize()}", "", *fence, text, *fence]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    training_steps.arguments_of(parser)
    parser.add_argument("--images", type=Path, help="folder of films to resize")
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=growth.COUNTS, help="images to grow to"
    )
    parser.add_argument(
        "--parts", nargs="+", default=list(MODULES), choices=MODULES, help="default: all"
    )
    arguments = parser.parse_args()
    found = machine()
    name = file_name(found)
    files = {suffix: RESULTS / f"{name}.{suffix}" for suffix in ("json", "md", "png")}
    results = {}
    if files["json"].is_file():  # parts that are not measured now stay
        results = json.loads(files["json"].read_text(encoding="utf-8"))
    for part in arguments.parts:
        results[part] = measured(part, arguments)
        results["machine"] = found
        contents = {"json": json.dumps(results, indent=1) + "\n", "md": page(results, name)}
        for suffix, content in contents.items():
            with replacing(files[suffix]) as path:
                path.write_text(content, encoding="utf-8")
        with replacing(files["png"]) as path:
            figure.draw(results, title_of(found), path)
    print(files["md"].read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
