"""Measure on a machine with a GPU that has no Snakemake and no network: tests, speed, scores.

    python benchmarks/gpu.py pack FOLDER     here: put what the machine needs into a folder
    python benchmarks/gpu.py run FOLDER      there: tests, benchmarks, then trainings row by row
    python benchmarks/gpu.py tables FOLDER   here: make tables of what was measured

That machine needs the project, the folder, PyTorch, NumPy, SciPy, scikit-image, pandas, tabulate
and matplotlib. What `run` has measured stays if it is cut off, and the same command resumes.
"""

import argparse
import importlib
import importlib.metadata
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from step import SCRIPTS, job_of

sys.path.insert(0, str(SCRIPTS))

from engine.messages import InputError
from files.atomic import replacing

ROOT = SCRIPTS.parents[1]
CONFIGURATION = ["paper", "methods", "everything"]  # in config/
METHODS = ["autoencoder", "unet", "unet_large", "dncnn", "noise2noise", "noise2void"]
# For the tests, and what these import: pure Python.
PACKAGES = ["pytest", "pluggy", "iniconfig", "packaging", "pygments", "pyyaml", "ruamel.yaml"]
TRIAL = 100  # before the first row of a method, trainings of a hundredth of its steps are timed
Job = dict[str, Any]


def pack(folder: Path, dataset: str, methods: Sequence[str]) -> None:
    """Write arrays, settings and packages that `run` needs; the arrays in single precision.

    Args:
        folder: Folder to make.
        dataset: Of which `resources/datasets/` has the prepared arrays.
        methods: Trained methods, the most valuable first.
    """
    from engine.configuration import checked, read_file
    from engine.methods import methods_of

    files = [ROOT / "config.yaml", *(ROOT / f"config/{name}.yaml" for name in CONFIGURATION)]
    config = checked(*map(read_file, files), {"dataset": dataset})
    prepared = ROOT / f"resources/datasets/{dataset}/{config['image_size']}px"
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        np.save(folder / f"{part}.npy", np.load(prepared / f"{part}.npy").astype(np.float32))
    shutil.copy(prepared / "split.csv", folder)
    known = methods_of(config)
    plan = {
        **{key: config[key] for key in ("dataset", "image_size", "seed", "noise")},
        "rendered": "subjects" in config["datasets"][dataset],
        "published": config["datasets"][dataset].get("published"),
        "methods": [asdict(known[name]) for name in methods],
    }
    (folder / "plan.json").write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
    for name in PACKAGES:
        package = importlib.metadata.distribution(name)
        for file in filter(lambda file: file.suffix == ".py", package.files):
            target = folder / "packages" / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(package.locate_file(file), target)


def do(script: str, **job: Any) -> None:  # noqa: ANN401 (what JSON can hold)
    """Run a script of the workflow in this process, so that PyTorch starts once."""
    importlib.import_module(script).main(job_of(job))


class Trainings:
    """The trainings of a pack, on this machine.

    Args:
        folder: What `pack` made. `arrays/` in it takes noisy images, `scores.csv` the results.
        device: auto, cpu or cuda.
        share: Of the steps that are configured.
    """

    def __init__(self, folder: Path, device: str, share: float) -> None:
        self.folder, self.device, self.share = folder, device, share
        self.plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        self.arrays = folder / "arrays"
        self.split = str(folder / "split.csv")
        self.files = {name: folder / f"{name}.csv" for name in ("scores", "costs")}
        self.seconds: dict[str, float] = {}  # the longest row of each method

    def rows(self, trainings: int) -> Iterator[tuple[Job, str, int]]:
        """Yield method, noise setting and number of each row that is not done, in order."""
        done = set()
        if self.files["costs"].exists():
            table = pd.read_csv(self.files["costs"], dtype={"noise": str, "method": str})
            done = set(zip(table["noise"], table["method"], table["training"], strict=True))
        for method in self.plan["methods"]:
            for training in range(1, trainings + 1):
                for noise in method["settings"]:
                    if (noise, method["name"], training) not in done:
                        yield method, noise, training

    def images(self, noise: str, part: str, draw: str = "") -> str:
        """Return the file of an array: clean ones are those of the noise setting ''."""
        path = self.arrays / f"{noise}{draw}" / f"{part}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if noise:
                params = {"seed": self.plan["seed"], "noise": self.plan["noise"][noise]}
                inputs = {"split": self.split, "images": self.images("", part)}
                do(
                    "corrupt_images",
                    input=inputs,
                    output={"images": str(path)},
                    params=params,
                    wildcards={"noise": noise, "part": part, "draw": draw},
                )
            elif part == "train":
                inputs = {"split": self.split, "images": str(self.folder / "train.npy")}
                params, output = {"seed": self.plan["seed"]}, {"images": str(path)}
                do("augment_images", input=inputs, output=output, params=params)
            else:
                with replacing(path) as temporary:
                    np.save(temporary, np.load(self.folder / "test.npy").astype(np.float64))
        return str(path)

    def steps(self, method: Job, noise: str) -> int:
        return math.ceil(method["settings"][noise]["training"]["steps"] * self.share)

    def train(self, method: Job, noise: str, training: int, steps: int) -> dict[str, str]:
        """Train, denoise and score; return the files of the scores and the costs."""
        number = f"/{training}" if training > 1 else ""
        settings = dict(method["settings"][noise])
        settings["training"] = settings["training"] | {"steps": steps}
        model = self.arrays / "results/gpu/models" / noise / f"{method['name']}.pt"
        files = {k: str(model.with_suffix(f".{k}")) for k in ("history", "scores", "costs", "npy")}
        inputs = {"clean": str(self.folder / "train.npy")}
        if method["pairs"]:
            inputs = {
                "clean": self.images("", "train"),
                "noisy": self.images(noise, "train", number),
            }
        shutil.rmtree(self.arrays / "results/gpu/checkpoints", ignore_errors=True)
        common = {"noise": self.plan["noise"][noise], "device": self.device}
        wildcards = {"noise": noise, "method": method["name"], "training": number}
        model.parent.mkdir(parents=True, exist_ok=True)
        do(
            "train_denoiser",
            input=inputs,
            output={"model": str(model), "history": files["history"]},
            params=common
            | {"plugin": method["plugin"], "settings": settings, "code": {}}
            | {"seed": self.plan["seed"]},
            wildcards=wildcards,
        )
        noisy = self.images(noise, "test")
        do(
            "apply_network",
            input={"noisy": noisy, "model": str(model)},
            output={"images": files["npy"], "cost": files["costs"]},
            params=common | {"inversion": method["inversion"]},
            wildcards=wildcards,
        )
        inputs = {"clean": self.images("", "test"), "images": files["npy"], "split": self.split}
        outputs = {"scores": files["scores"], "variance": str(model.with_suffix(".variance"))}
        do("score_images", input=inputs, output=outputs, wildcards=wildcards)
        return files

    def do_row(self, method: Job, noise: str, training: int) -> None:
        """Do a row, and add it to `scores.csv` and `costs.csv`."""
        started = time.monotonic()
        files = self.train(method, noise, training, self.steps(method, noise))
        seconds = time.monotonic() - started
        self.seconds[method["name"]] = max(seconds, self.seconds.get(method["name"], 0))
        for name, path in self.files.items():  # costs last: they say that the row is done
            lines = pd.read_csv(files[name], dtype={"image": str}).assign(training=training)
            if name == "costs":
                lines = lines.assign(seconds=seconds)
            if path.exists():
                before = pd.read_csv(path, dtype={"image": str})
                row = ["noise", "method", "training"]  # half of it may be there, after a cut
                begun = (before[row] == lines[row].iloc[0]).all(axis=1)
                lines = pd.concat([before[~begun], lines])
            with replacing(path) as temporary:
                lines.to_csv(temporary, index=False)

    def expected(self, method: Job, noise: str) -> float:
        """Return how many seconds a row will take; short trainings tell, if there was none yet."""
        if method["name"] not in self.seconds:
            steps = self.steps(method, noise)
            trials = [math.ceil(steps / TRIAL) * times for times in (1, 1, 3)]  # the first warms up
            took = []
            for trial in trials:
                started = time.monotonic()
                self.train(method, noise, 1, trial)
                took.append(time.monotonic() - started)
            a_step = max(0, took[2] - took[1]) / (trials[2] - trials[1])
            self.seconds[method["name"]] = took[1] + a_step * (steps - trials[1])
        return self.seconds[method["name"]]


def run_tests(patience: float) -> str:
    """Run the tests that need a GPU, and return what pytest said in the end."""
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "-k", "cuda"]
    tests = [f"tests/test_{name}.py" for name in ("processor", "training", "denoisers")]
    done = subprocess.run(
        [*command, *tests], cwd=ROOT, check=False, text=True, capture_output=True, timeout=patience
    )
    return done.stdout[-4000:] + done.stderr[-2000:]


def run(arguments: argparse.Namespace) -> None:
    """Do all that fits into the time, the most valuable first."""
    folder: Path = arguments.folder.absolute()
    end = time.monotonic() + 60 * arguments.minutes
    sys.path.append(str(folder / "packages"))
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[1:])
    if "tests" in arguments.parts:
        text = run_tests(end - time.monotonic())
        (folder / "tests.txt").write_text(text, encoding="utf-8")  # before anything else is lost
        print(text)
    if "benchmarks" in arguments.parts:
        command = [sys.executable, "benchmarks/run.py", "--parts", "training", "rows"]
        subprocess.run(command, cwd=ROOT, check=False, timeout=end - time.monotonic())
        for path in (ROOT / "benchmarks/results").glob("*"):
            if path.stat().st_mtime > time.time() - 60 * arguments.minutes:
                shutil.copy(path, folder)
    if "trainings" not in arguments.parts:
        return
    from run import machine  # imports torch

    (folder / "machine.json").write_text(json.dumps(machine(), indent=1) + "\n", encoding="utf-8")
    trainings = Trainings(folder, arguments.device, arguments.share)
    given_up = set()
    for method, noise, training in trainings.rows(arguments.trainings):
        if method["name"] in given_up:
            continue
        name = f"{method['name']}, {noise}, training {training}"
        try:
            expected = trainings.expected(method, noise)
            left = end - time.monotonic()
            if expected <= left:
                trainings.do_row(method, noise, training)
                print(f"{name}: {trainings.seconds[method['name']]:.1f} s at most", flush=True)
                continue
            fault = f"not begun, {expected:.0f} s would not fit into {left:.0f} s"
        except InputError as error:  # no memory, or it diverges: the other methods may do
            fault = str(error)
        print(f"{name}: {fault}", flush=True)
        given_up.add(method["name"])
    print(f"{folder / 'scores.csv'}: all that fitted into {arguments.minutes} minutes")


def tables(folder: Path) -> str:
    """Return a page of what was measured: scores, their spread over trainings, and times."""
    from results.reading import read_published, read_scores

    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    machine = json.loads((folder / "machine.json").read_text(encoding="utf-8"))
    labels = {method["name"]: method["label"] for method in plan["methods"]}
    scores = read_scores([str(folder / "scores.csv")])
    scores = scores.assign(training=scores.get("training", 1))  # which is absent if all are first
    costs = pd.read_csv(folder / "costs.csv", dtype={"noise": str, "method": str})
    means = scores.groupby(["method", "noise", "training"], sort=False)["ssim"].mean()
    spread = means.groupby(["method", "noise"], sort=False).agg(["mean", "std", "count"])
    cells = {
        index: f"{mean:.4f}" + (f" ± {std:.4f} ({count:.0f})" if count > 1 else "")
        for index, mean, std, count in spread.itertuples()
    }
    published = read_published(plan["published"] and ROOT / plan["published"], plan["image_size"])
    rows = published["rows"] if published else []
    for row in rows:
        for noise in [name for name, entry in plan["noise"].items() if entry == row["noise"]]:
            cells["published auto-encoder", noise] = f"{row['readme']['autoencoder']:.4f}"
    text = pd.Series(cells).unstack().reindex(columns=list(plan["noise"])).fillna("")
    order = [n for n in ("published auto-encoder", *labels) if n in text.index]
    text = text.loc[order].rename(index=labels).rename_axis("method")
    times = costs.groupby("method", sort=False).agg(
        rows=("noise", "size"),
        training=("training_seconds", "median"),
        longest=("training_seconds", "max"),
        row=("seconds", "median"),
        seven=("seconds", lambda seconds: 7 * seconds.mean()),
    )
    times = times.rename(index=labels).set_axis(
        ["rows", "s to train", "s at most", "s a row in all", "s for seven rows"], axis=1
    )
    kind = "digital phantom: nothing about patients" if plan["rendered"] else "real images"
    return "\n".join(
        [
            f"# Trainings on {machine['gpu'] or machine['processor']}",
            "",
            ", ".join(f"{key}: {value}" for key, value in machine.items()),
            "",
            f"Mean SSIM over the test images of {plan['dataset']} ({kind}); after ± its standard "
            "deviation over the trainings, whose number is in brackets. Trainings differ in their "
            "initial weights, order and fresh noise; the noisy test images are the same.",
            "",
            text.to_markdown(),
            "",
            times.to_markdown(floatfmt=".1f"),
            "",
        ]
    )


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    actions = parser.add_subparsers(dest="action", required=True)
    for name in ("pack", "run", "tables"):
        action = actions.add_parser(name)
        action.add_argument("folder", type=Path)
        if name == "pack":
            action.add_argument("--dataset", default="isbi2015", help="default: isbi2015")
            action.add_argument(
                "--methods", nargs="+", default=METHODS, help="default: all trained"
            )
        if name == "run":
            parts = ["tests", "benchmarks", "trainings"]
            action.add_argument("--parts", nargs="+", default=parts, choices=parts)
            action.add_argument("--trainings", type=int, default=1, help="of each row; default: 1")
            action.add_argument("--minutes", type=float, default=10_000, help="that all may take")
            action.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
            action.add_argument("--share", type=float, default=1, help="of the steps; default: 1")
    arguments = parser.parse_args()
    if arguments.action == "pack":
        pack(arguments.folder, arguments.dataset, arguments.methods)
    elif arguments.action == "run":
        run(arguments)
    else:
        page = tables(arguments.folder)
        (arguments.folder / "results.md").write_text(page, encoding="utf-8")
        print(page)


if __name__ == "__main__":
    main()
