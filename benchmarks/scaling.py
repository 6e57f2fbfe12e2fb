"""What very many films would take: costs measured here, and a simulated schedule of all jobs.

The jobs are those of a dry run, with what each waits for. Seconds an image are measured with a
single one. A GPU's speed is an assumption: see `--tflops`.
"""

import argparse
import functools
import heapq
import importlib
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from run import machine
from step import SCRIPTS

sys.path.insert(0, str(SCRIPTS))
sys.path.insert(0, str(SCRIPTS.parent / "tools"))

from augment_images import COPIES, augmented
from engine.configuration import checked, read_file
from engine.methods import Method, methods_of
from images.resizing import read_resized
from noise.models import corrupt
from noise.seeds import generator
from render_phantom import render
from results.scores import scores

ROOT = SCRIPTS.parents[1]
FILMS, SIZE, TRAIN = 112_120, 1024, 0.8
FILES = ["config/paper.yaml", "config/methods.yaml"]
CORES = 16  # beside each GPU
DISK = 500e6  # bytes a second that a job reads or writes
TUNED_ON = 16  # images
# Learning costs three times what applying costs: forwards, and backwards to inputs and weights.
LEARNING = 3


@dataclass
class Planned:
    """A job of the plan: what it runs, on what, and the jobs that wait for it."""

    rule: str
    noise: str | None
    method: str | None
    part: str | None
    gpu: int
    threads: int
    needs: list[int]
    seconds: float = 0.0
    bytes: float = 0.0
    memory: float = 0.0
    users: list[int] = field(default_factory=list)
    rank: float = 0.0


def planned(config: Mapping[str, Any]) -> list[Planned]:
    """Return the jobs that a run would do, by a dry run."""
    from why import plan

    def jobs(dag: Any) -> list[Planned]:  # noqa: ANN401 (Snakemake's graph)
        waiting = [job for job in dag.needrun_jobs(exclude_finished=False) if not job.rule.norun]
        number = {job: n for n, job in enumerate(waiting)}
        return [
            Planned(
                job.rule.name,
                *map(job.wildcards_dict.get, ("noise", "method", "part")),
                int(job.resources.get("gpu", 0)),
                job.threads,
                [number[other] for other in dag.dependencies[job] if other in number],
            )
            for job in waiting
        ]

    with tempfile.TemporaryDirectory() as folder:
        given = [f"{key}={json.dumps(value)}" for key, value in config.items()]
        files = ["--configfile", *(str(ROOT / name) for name in FILES)]
        place = ["--snakefile", str(ROOT / "Snakefile"), "--directory", folder, "--cores", "999"]
        return plan([*place, *files, "--config", *given], jobs)


def timed(function: Callable[[], object]) -> float:
    """Return the seconds of the second call, by the clock."""
    function()
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def middle(method: Method, noise: str) -> dict[str, Any]:
    """Return the settings of a classical method, of tuned ones the middle of their list."""
    return method.settings[noise] | {k: v[len(v) // 2] for k, v in method.grid.items()}


def classical_costs(methods: Mapping[str, Method], noise: str, setting: Any) -> dict[str, float]:  # noqa: ANN401
    """Return the seconds an image of each classical method."""
    noisy = corrupt(render(1, SIZE, seed=1), setting, generator(1, "scaling"))[None]

    @functools.cache  # with and without the inversion it is the same filter
    def seconds(plugin: str, settings: str) -> float:
        denoise = importlib.import_module(f"methods.{plugin}").denoise
        return timed(lambda: denoise(noisy, setting, json.loads(settings)))

    classical = (method for method in methods.values() if method.recipe is None)
    return {m.name: seconds(m.plugin, json.dumps(middle(m, noise))) for m in classical}


def operations(method: Method, noise: str, setting: Any) -> float:  # noqa: ANN401
    """Return the floating-point operations that a network does for an image."""
    plugin = importlib.import_module(f"methods.{method.plugin}")
    network = plugin.build_network(method.settings[noise], setting).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, SIZE // 4, SIZE // 4))
    return 16 * counter.get_total_flops()


def image_costs(setting: Any) -> dict[str, float]:  # noqa: ANN401
    """Return the seconds an image of what handles arrays."""
    clean = render(1, SIZE, seed=1)
    noisy = corrupt(clean, setting, generator(1, "scaling"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.png"
        Image.fromarray((255 * clean).round().astype(np.uint8)).save(path)
        return {
            "resize_images": timed(lambda: read_resized(path, SIZE)),
            "augment_images": timed(lambda: augmented(clean, generator(1, "scaling"))),
            "corrupt_images": timed(lambda: corrupt(clean, setting, generator(1, "scaling"))),
            "score_images": timed(lambda: scores(clean[None], noisy[None])),
        }


def cost(
    job: Planned, seconds: Mapping[str, float], methods: Mapping[str, Method], flops: float
) -> None:
    """Set what a job takes: seconds, bytes on disk, bytes of memory.

    Args:
        job: Is changed.
        seconds: An image, by rule and by classical method; of networks, operations an image.
        methods: By name.
        flops: Operations a second of a GPU.
    """
    pixels, train = SIZE**2, round(TRAIN * FILMS)
    test = FILMS - train
    one, half = 8 * pixels, 4 * pixels  # bytes of an image in double and in single precision
    read, memory = 0.0, 100 * one
    method = methods.get(job.method or "")
    match job.rule:
        case "resize_images":
            job.bytes = FILMS * one
            job.seconds = FILMS * seconds[job.rule] / job.threads
        case "split_images":
            read = job.bytes = FILMS * one
        case "augment_images":
            read, job.bytes = train * one, COPIES * train * half
            job.seconds = train * seconds[job.rule]
        case "corrupt_images" if job.part == "train":
            read = job.bytes = COPIES * train * half
            job.seconds = COPIES * train * seconds[job.rule]
        case "corrupt_images":
            read = job.bytes = test * one
            job.seconds = test * seconds[job.rule]
        case "tune_method":
            candidates = np.prod([len(values) for values in method.grid.values()])
            job.seconds = candidates * TUNED_ON * seconds[job.method]
            memory = 3 * TUNED_ON * one
        case "filter_images":
            read = job.bytes = test * one
            job.seconds = test * seconds[job.method] / job.threads
        case "apply_network":
            read = job.bytes = test * one
            job.seconds = test * seconds[job.method] / flops
        case "train_denoiser":
            training = method.settings[job.noise]["training"]
            passes = training["steps"] * training["batch"]
            job.seconds = LEARNING * passes * seconds[job.method] / flops
            read = min(passes * half, train * one)
            memory = 8e9
        case "score_images":
            read = 2 * test * one
            job.seconds = test * seconds[job.rule]
        case _:
            job.seconds = 10
    job.seconds = max(job.seconds, (read + job.bytes) / DISK) + 5  # what a process takes to start
    job.memory = memory


def schedule(jobs: list[Planned], gpus: int) -> tuple[float, list[Planned]]:
    """Simulate a run on so many GPUs, each with `CORES` cores; the longest way to the end first.

    Returns:
        The seconds of the run, and the chain of jobs that it ended with: each began when the one
        before it ended.
    """
    waits = [len(job.needs) for job in jobs]
    ready = [(-job.rank, n) for n, job in enumerate(jobs) if not job.needs]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now, free, cores = 0.0, gpus, CORES * gpus
    began: dict[int, tuple[float, int | None]] = {}
    last: int | None = None
    while ready or running:
        held = []
        while ready:
            entry = heapq.heappop(ready)
            job = jobs[entry[1]]
            if job.gpu > free or job.threads > cores:
                held.append(entry)
                continue
            free, cores = free - job.gpu, cores - job.threads
            began[entry[1]] = (now, last)
            heapq.heappush(running, (now + job.seconds, entry[1]))
        for entry in held:
            heapq.heappush(ready, entry)
        now, last = heapq.heappop(running)
        job = jobs[last]
        free, cores = free + job.gpu, cores + job.threads
        for user in job.users:
            waits[user] -= 1
            if not waits[user]:
                heapq.heappush(ready, (-jobs[user].rank, user))
    chain = []
    while last is not None:
        chain.append(jobs[last])
        last = began[last][1]
    return now, chain[::-1]


def link(jobs: list[Planned]) -> None:
    """Set who waits for each job, and how long the way from its begin to the end of the run is."""
    for n, job in enumerate(jobs):
        for other in job.needs:
            jobs[other].users.append(n)
    done: set[int] = set()

    def rank(n: int) -> float:
        if n not in done:
            jobs[n].rank = jobs[n].seconds + max(map(rank, jobs[n].users), default=0)
            done.add(n)
        return jobs[n].rank

    for n in range(len(jobs)):
        rank(n)


def page(jobs: list[Planned], gpus: list[int]) -> str:
    """Return what the jobs take, by rule, and how long the runs are, as Markdown."""
    rows = defaultdict(list)
    for job in jobs:
        rows[job.rule].append(job)
    lines = []
    for rule, some in rows.items():
        seconds = [job.seconds for job in some]
        if sum(seconds) > 3600:
            lines.append(
                {
                    "rule": rule,
                    "jobs": len(some),
                    "hours a job, longest": f"{max(seconds) / 3600:.1f}",
                    "hours in all": f"{sum(seconds) / 3600:,.0f}",
                    "of a GPU": "yes" if some[0].gpu else "",
                    "TB on disk": f"{sum(job.bytes for job in some) / 1e12:.1f}",
                    "GB of memory a job": f"{max(job.memory for job in some) / 1e9 + 2:.0f}",
                }
            )
    text = pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True, stralign="right")
    runs = []
    for count in gpus:
        seconds, chain = schedule(jobs, count)
        by_rule: dict[str, float] = defaultdict(float)
        for job in chain:
            by_rule[job.rule] += job.seconds
        longest = max(by_rule, key=by_rule.__getitem__)
        used = sum(job.seconds for job in jobs if job.gpu)
        runs.append(
            {
                "GPUs": count,
                "cores": CORES * count,
                "days": f"{seconds / 86400:.1f}",
                "GPUs are used": f"{used / seconds / count:.0%}",
                "bottleneck": f"{longest} ({by_rule[longest] / seconds:.0%} of the last chain)",
            }
        )
    return f"{text}\n\n{pd.DataFrame(runs).to_markdown(index=False)}\n"


def units(seconds: Mapping[str, float], methods: Mapping[str, Method]) -> str:
    """Return what an image costs, as Markdown: seconds, or of networks operations."""
    networks = [name for name, method in methods.items() if method.recipe]
    lines = [
        {
            "an image": name,
            "costs": f"{value / 1e9:,.0f} GFLOP" if name in networks else f"{value:.3f} s",
        }
        for name, value in seconds.items()
    ]
    return (
        pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True, stralign="right") + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--tflops", type=float, default=40, help="of a GPU, sustained; default: 40")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "benchmarks/results/scaling.md", help="page to write"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = {"sources": ["films.zip"], "train": round(TRAIN * FILMS)}
    given = {"run": "films", "dataset": "films", "image_size": SIZE, "device": "cuda"}
    given["datasets"] = {"films": dataset}
    config = checked(*(read_file(ROOT / name) for name in ["config.yaml", *FILES]), given)
    methods = methods_of(config)
    methods = {name: methods[name] for name in config["select"]["methods"]}
    noise, setting = next(iter(config["noise"].items()))
    seconds = image_costs(setting) | classical_costs(methods, noise, setting)
    for name, method in methods.items():
        if method.recipe:
            suited = next(iter(method.settings))
            seconds[name] = operations(method, suited, config["noise"][suited])
    jobs = planned(given)
    for job in jobs:
        cost(job, seconds, methods, 1e12 * arguments.tflops)
    link(jobs)
    text = page(jobs, arguments.gpus) + "\n" + units(seconds, methods)
    found = machine()
    about = (
        f"{found['processor']}, {found['date']}, {arguments.tflops:g} TFLOP/s for a GPU (assumed)"
    )
    arguments.output.write_text(f"# Measured on one core of {about}\n\n{text}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
