"""Train on a machine that has a GPU but neither Snakemake nor a network, with what pack.py made.

    python workflow/tools/run_packed.py results/pack --trainings 10 --minutes 9 --out FOLDER

Does the most valuable first: the published training and the U-Net in all rows, then the other
networks of the fair comparisons, those of transfer and those without clean images, then all of them
again. `--out` gets scores, costs, histories, logs and records in archives, when a run ends or the
time is over; unpacked here, tables are made of them. A cut loses the rows in work, which resume if
the same command is run there again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from engine.messages import InputError, number_of
from files.atomic import replacing

# The most valuable first: the files in config/ of each.
RUNS = {
    "replicates": ["paper", "replicates"],
    "fair": ["methods", "fair"],
    "fair-time": ["methods", "fair", "fair-time"],
    "transfer": ["transfer"],
    "blind-spot": ["methods", "detector", "blind-spot"],
}
RULES = ["augment_images", "corrupt_images", "train_denoiser", "apply_network", "filter_images"]
RULES += ["score_images"]
RENDERING = ["render_phantom", "split_images"]
GPU_TESTS = ["blind_spot", "denoisers", "inference", "processor", "training"]
BEFORE = {
    "tests": [
        *("-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "-m", "gpu"),
        *(f"tests/test_{name}.py" for name in GPU_TESTS),
    ],
    "benchmarks": ["benchmarks/run.py", "--parts", "training", "rows"],
}
STAYS = {"clean", "noisy", "denoised", "models", "checkpoints"}  # folders of a run: arrays
ARCHIVE = 15_000_000  # bytes in an archive, at most, before they are compressed
LAST_WORDS = 15  # seconds that Snakemake may take to end its jobs


def unpack_packages(pack: Path, folder: str) -> None:
    """Let this process and its children import what is packed.

    Raises:
        InputError: When it is packed for another version of Python.
    """
    archive = pack / f"packages-{sys.version_info[0]}.{sys.version_info[1]}.tar.xz"
    if not archive.is_file():
        found = ", ".join(path.name for path in pack.glob("packages-*")) or "nothing"
        raise InputError(f"{archive}: there is {found} instead; give its version to pack.py")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = folder


def unpack_images(pack: Path) -> tuple[str, int]:
    """Put the images where the workflow looks for them, in double precision.

    Returns:
        The data set and the size of its images.

    Raises:
        InputError: When other images are there.
    """
    ((name, size),) = (p.parts[-3:-1] for p in pack.glob("resources/datasets/*/*px/test.npy"))
    target = Path("resources/datasets", name, size)
    for file in ("train.npy", "test.npy"):
        images = np.load(pack / target / file)
        if not (target / file).exists():
            with replacing(target / file) as new:
                np.save(new, images.astype(np.float64))
        elif not np.array_equal(np.load(target / file).astype(np.float32), images):
            raise InputError(f"{target / file}: other images than those of {pack}; remove it")
    for file in ("split.csv", "ids.csv"):
        (target / file).write_bytes((pack / target / file).read_bytes())
    return name, int(size.removesuffix("px"))


def calls(
    runs: list[str], more: list[str], given: dict[str, Any]
) -> Iterator[tuple[list[str], list[str]]]:
    """Yield rules and other arguments of Snakemake that make the scores of a run's networks.

    One call for each training of a run, so that a GPU always has as many jobs as it may. With the
    first training come the scores of noisy images and of filters that are not tuned, and before it
    the phantoms that networks learn from.

    Args:
        runs: Keys of `RUNS`.
        more: Configuration files that are read after those of each run.
        given: What `--config` sets.
    """
    from engine.configuration import checked, read_file
    from engine.methods import methods_of
    from noise.seeds import replicate_parts

    for training in replicate_parts(given["replicates"]["training"]):
        for run in runs:
            files = [*(f"config/{name}.yaml" for name in RUNS[run]), *more]
            config = checked(*map(read_file, map(Path, ["config.yaml", *files])), given)
            noises, folder = config["select"]["noise"], f"results/{config['run']}/scores"
            methods = [methods_of(config)[name] for name in config["select"]["methods"]]
            set_by = [f"{key}={json.dumps(value)}" for key, value in given.items()]
            options = ["--configfile", *files, "--config", *set_by, "--"]
            phantoms = {m.elsewhere for m in methods if m.elsewhere}
            phantoms = {name for name in phantoms if "subjects" in config["datasets"][name]}
            if phantoms and not training:
                size = config["image_size"]
                images = [f"resources/datasets/{n}/{size}px/train.npy" for n in sorted(phantoms)]
                yield RENDERING, [*options, *images]
            quick = [method for method in methods if not method.recipe and not method.grid]
            names = [] if training else [("noisy", noises), *((m.name, m.settings) for m in quick)]
            names += [(m.name + training, m.settings) for m in methods if m.recipe]
            scores = [
                f"{folder}/{noise}{draw}/{name}.csv"
                for name, settings in names
                for noise in noises
                for draw in replicate_parts(config["replicates"]["noise"])
                if noise in settings
            ]
            if scores:  # a filter is not trained again
                yield RULES, [*options, *scores]


def run_until(end: float, command: list[str], log: Path) -> int | None:
    """Run a command to its end, or to a time of the monotonic clock; return its exit status."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=file, stderr=file, start_new_session=True
        )
        try:
            return process.wait(max(0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None
        finally:
            for number in (signal.SIGINT, signal.SIGKILL):  # Snakemake's jobs, too
                try:
                    os.killpg(process.pid, number)
                    process.wait(LAST_WORDS)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue


def pack_results(out: Path) -> None:
    """Write the results so far, without arrays and networks, into archives of less than 16 MB."""
    parts: list[list[Path]] = [[]]
    size = 0
    for path in sorted(Path("results").glob("*/*/**/*")):
        if path.is_file() and path.parts[2] not in STAYS and not path.name.startswith("."):
            size += path.stat().st_size + 1024
            if size > ARCHIVE:
                parts.append([])
                size = path.stat().st_size
            parts[-1].append(path)
    for number, paths in enumerate(parts, 1):
        with (
            replacing(out / f"results-{number}.tar.gz") as new,
            tarfile.open(new, "w:gz") as tar,
        ):
            for path in paths:
                tar.add(path)


def work(arguments: argparse.Namespace, end: float) -> str:
    """Do all that fits into the time; return in words how it ended.

    Raises:
        InputError: When Snakemake failed, after all else was tried.
    """
    from engine.gpus import VISIBLE, gpus
    from engine.plugins import ConfigurationError

    name, size = unpack_images(arguments.pack)
    given = {"dataset": name, "image_size": size, "replicates": {"training": arguments.trainings}}
    log = arguments.out / "log.txt"
    for part in arguments.before:
        run_until(end, BEFORE[part], arguments.out / f"{part}.txt")
    names = gpus()
    jobs = arguments.gpu_jobs or max(1, len(names))
    if jobs > len(names) == 1:  # they share it; elsewhere each has its own
        os.environ[VISIBLE] = names[0]
    options = ["--cores", "all", "--resources", f"gpu={jobs}", "--keep-going", "--quiet", "rules"]
    options += ["--scheduler", "greedy", "--set-threads", f"render_phantom={os.cpu_count()}"]
    failed = 0
    runs = [run for run in arguments.runs if run != "transfer" or name != "phantom"]
    try:
        planned = list(calls(runs, arguments.configfile, given))
    except ConfigurationError as error:
        raise InputError(f"The configuration can't be used.\n{error}") from error
    for rules, call in planned:
        command = ["-m", "snakemake", *options, "--allowed-rules", *rules, *call]
        status = run_until(end - LAST_WORDS, command, log)
        pack_results(arguments.out)
        files = call[call.index("--") + 1 :]
        done = sum(Path(file).is_file() for file in files)
        print(f"{os.path.commonpath(files)}: {done} of {len(files)} files", flush=True)
        if status is None:
            return "the time is over"
        failed += bool(status)
    if failed:
        calls_failed = number_of(failed, "call")
        raise InputError(f"{calls_failed} of Snakemake failed: see {log}; what is done is packed")
    return "all done"


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("pack", type=Path, help="folder that pack.py made")
    parser.add_argument("--out", type=Path, default=Path("results/packed"), help="for archives")
    parser.add_argument("--trainings", type=int, default=1, help="of each network; default: 1")
    parser.add_argument("--minutes", type=float, default=10_000, help="that all may take")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), help="default: all")
    parser.add_argument("--gpu-jobs", type=int, help="at a time; default: one for each GPU")
    parser.add_argument("--configfile", nargs="+", default=[], help="to read after those of a run")
    parser.add_argument(
        "--before", nargs="+", choices=BEFORE, default=[], help="tests on a GPU, benchmarks"
    )
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    arguments.out.mkdir(parents=True, exist_ok=True)
    # What was started in the background must hear of an interruption, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        try:
            unpack_packages(arguments.pack, folder)
            print(work(arguments, end))
        except InputError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
