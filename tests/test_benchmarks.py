"""The benchmarks of the data and of the workflow, in miniature; and that memory stays flat."""

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import ROOT, Project
from files.arrays import load_images
from files.tables import write_table
from methods import unet
from noise.seeds import generator
from train_denoiser import recipe_class
from training.loop import train
from training.processor import Processor

sys.path.insert(0, str(ROOT / "benchmarks"))

import data
import growth
import overhead
import rows
import scaling
import sizes
import training.recipe
import training_steps
from step import run_step

MOST_MIB = 30  # more that a step may take for many images than for few


def test_memory_does_not_grow_with_the_images(tmp_path, monkeypatch):
    """The images are 60 MiB, and no step may hold half of them."""
    noise = lambda subject, size, seed: np.random.default_rng(subject).random((size, size))  # noqa: E731
    monkeypatch.setattr(growth, "render", noise)  # which takes long
    results = growth.measure([20, 480], tmp_path)
    peaks = {(line["images"], line["step"]): line["peak_mib"] for line in results}
    assert {step for _, step in peaks} == {"resize", "split", "corrupt", "score"}
    for (images, step), peak in peaks.items():
        assert peak < peaks[20, step] + MOST_MIB, (images, step)
    assert list(tmp_path.iterdir()) == []  # it cleans up


@pytest.mark.parametrize("step", ["augment_images", "filter_images"])
def test_memory_of_augmenting_and_denoising_does_not_grow(tmp_path, step):
    images, split, out = (str(tmp_path / name) for name in ("images.npy", "split.csv", "out.npy"))
    peaks = []
    for count in (130, 600):  # more than the batch in which images are denoised
        np.save(images, np.zeros((count, 128, 128)))
        write_table(split, ({"id": n, "part": "train"} for n in range(count)))
        job = {
            "input": {"images": images, "split": split, "noisy": images},
            "output": {"images": out, "cost": str(tmp_path / "cost.csv")},
            "params": {
                **{"seed": 1, "plugin": "median", "settings": {"size": 1}},
                **{"noise": growth.NOISE, "inversion": False, "code": {}},
            },
            "wildcards": {"noise": "a", "method": "median"},
        }
        peaks.append(run_step(step, **job)["peak_mib"])
    assert len(np.load(out, mmap_mode="r")) == (5 if step == "augment_images" else 1) * 600
    assert peaks[1] < peaks[0] + MOST_MIB


def test_comparisons_say_how_long_each_way_takes_and_that_results_agree(tmp_path):
    results = data.resizing(data.films(tmp_path, 1), 1) + data.corrupting_and_scoring(1)
    ways = {(line["benchmark"], line["way"]) for line in results}
    assert {name for name, _ in ways} == {"resizing", "corrupting", "scoring"}
    for line in results:
        assert line["ms_range"][0] <= line["ms"] <= line["ms_range"][1]
        assert line.get("largest_difference", 0) <= 1e-12
        if line["way"] in ("plain", "scikit-image"):
            assert line["ratio"] == line["cpu_ratio"] == 1
    text = data.table(results)
    assert all(way in text for _, way in ways)


def test_times_by_size_are_ratios_of_rounds_taken_in_turn():
    table = sizes.measure((16, 32), 2)
    assert len(table) == 5 * 2 * 2
    assert (table["ms"] > 0).all()
    table["ms"] = np.where(table["size"] == 16, 1.0, 4.0) * table["round"]
    lines = [line for line in sizes.page(table).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (lines[0], *lines[2:])]
    assert rows[0] == ["", "16, ms", "32, ms", "32, times 16"]
    assert [row[1:] for row in rows[1:]] == [["1.5", "6.0", "4.0"]] * 5


def test_data_benchmarks_need_no_snakemake():
    code = "import sys, data; sys.exit('snakemake' in sys.modules or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "benchmarks", check=False)
    assert done.returncode == 0


def test_overhead_of_a_finished_run(project: Project, monkeypatch):
    arguments = ["--config", "select={methods: [median], noise: [poisson_0.2_1]}"]
    project.succeed(*arguments)
    folders = [project.folder / path for path in ("results/phantom", "resources/datasets/phantom")]
    rules = {line["rule"]: line for line in overhead.job_seconds(folders, 2)}
    assert rules["score_images"]["jobs"] == 2
    assert rules["render_phantom"]["core_seconds"] == 2 * rules["render_phantom"]["seconds"]

    seconds, own = overhead.snakemake_seconds("--cores", "1", *arguments, folder=project.folder)
    assert own > 0
    assert seconds > 0
    with pytest.raises(RuntimeError, match="unrecognized arguments"):
        overhead.snakemake_seconds("--no-such-option", folder=project.folder)
    monkeypatch.setattr(overhead, "ROOT", project.folder)
    with pytest.raises(RuntimeError, match="not complete"):  # the other methods were not run
        overhead.idle_seconds(1)


in_turn = pytest.mark.xdist_group("training_steps")  # so that they are measured once


@pytest.fixture(scope="module")
def results():
    parser = argparse.ArgumentParser()
    training_steps.arguments_of(parser)
    arguments = ["--device", "cpu", "--threads", "1", "--rounds", "1", "--steps", "1"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("SIZE", 32), ("BATCH", 16), ("LARGE", {"cpu": (256, 2**20)})):
            patch.setattr(training_steps, name, value)
        return training_steps.measure(parser.parse_args(arguments))


@in_turn
def test_all_ways_to_train_compute_the_same_loss(results):
    """Two steps from the same weights with the same images: the first update is in the second."""
    losses = {
        line["what"]: line["loss"] for line in results if line.get("network") == "auto-encoder"
    }
    assert set(losses) == {*training_steps.WAYS, "plain PyTorch"}
    assert losses["workflow, contiguous"] == pytest.approx(losses["workflow"], rel=1e-2)
    assert losses["workflow, fp32"] == pytest.approx(losses["plain PyTorch"], rel=2e-2)
    assert losses["workflow"] == pytest.approx(losses["workflow, fp32"], rel=1e-2)


@in_turn
def test_results_can_be_read(results):
    text = training_steps.table(results)
    assert text.count("as plain PyTorch") == text.count("after 2 steps") == 4
    # Not that it is less than all: on a busy machine the peak may have been measured too low.
    (peak,) = (max(r["fp32_flops"], r["bf16_flops"]) for r in results if "fp32_flops" in r)
    lines = [line for line in results if "network" in line]
    for network in {line["network"] for line in lines}:
        work = [
            line["share_of_peak"] * line["seconds_a_step"] * peak / line["batch"]
            for line in lines
            if line["network"] == network
        ]
        assert min(work) > 1e6
        assert work == pytest.approx([work[0]] * len(work))


def test_whole_trainings_are_timed_a_process_each(monkeypatch):
    noise = dict(list(rows.CONFIG["noise"].items())[:2])
    monkeypatch.setitem(rows.CONFIG, "noise", noise)
    monkeypatch.setattr(training_steps, "SIZE", 32)
    monkeypatch.setattr(rows, "BATCH", 8)
    results = rows.rows(2, "cpu", 1, count=20)
    assert [line["noise"] for line in results] == list(noise)
    assert all(0 < line["training_seconds"] < line["seconds"] for line in results)
    assert "All 2 trainings of 2 steps" in rows.table(results)


@pytest.mark.parametrize("name", ["published", "supervised", "noise2noise", "noise2void"])
def test_images_that_are_too_many_for_memory_train_the_same(tmp_path, monkeypatch, name):
    """They are read from their files step by step; the last step of an epoch is a smaller one."""
    clean = np.random.default_rng(0).random((22, 16, 16))
    np.save(tmp_path / "clean.npy", clean)
    files = {"clean": load_images(tmp_path / "clean.npy", "r")}
    if name == "published":
        np.save(tmp_path / "noisy.npy", (clean**2).astype(np.float32))
        files["noisy"] = load_images(tmp_path / "noisy.npy", "r")
    settings = {"steps": 22, "batch": 4, "learning_rate": 1e-3, "keep": "best"}

    def trained(folder: Path):
        torch.manual_seed(0)
        network = unet.build_network({"widths": [4], "blocks": 1}, growth.NOISE)
        draw, cpu = partial(generator, 1), Processor(torch.device("cpu"))
        recipe = recipe_class(name)(network, files, growth.NOISE, settings, draw, cpu)
        done = train(recipe, checkpoint=folder / "c.pt", identity="i", name="n")
        return recipe, done.history

    held, history = trained(tmp_path / "held")
    monkeypatch.setattr(training.recipe, "HELD", 0)
    monkeypatch.setattr("recipes.published.VALIDATED", 2 * 16**2)
    read, history_read = trained(tmp_path / "read")
    assert [held.are_held, read.are_held] == [True, False]
    assert {len(array) for array in read.images.values()} == {4}
    losses = [[line.pop("validation_loss") or 0 for line in h] for h in (history, history_read)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)  # evaluated and summed in parts
    assert history_read == history
    for weights, others in zip(held.kept().values(), read.kept().values(), strict=True):
        assert torch.equal(weights, others)


def test_the_simulated_schedule_keeps_to_processors_gpus_and_order():
    def run(gpus: int, *jobs: tuple[str, int, int, list[int], float]) -> tuple[float, list[str]]:
        made = [
            scaling.Planned(rule, None, None, None, gpu, threads, needs, seconds)
            for rule, gpu, threads, needs, seconds in jobs
        ]
        scaling.link(made)
        seconds, chain = scaling.schedule(made, gpus)
        return seconds, [job.rule for job in chain]

    first, half = scaling.CORES, scaling.CORES // 2
    assert run(1, ("a", 1, 1, [], 5), ("b", 1, 1, [], 3)) == (8, ["a", "b"])
    assert run(2, ("a", 1, 1, [], 5), ("b", 1, 1, [], 3)) == (5, ["a"])
    assert run(1, ("a", 0, half, [], 5), ("b", 0, half + 1, [], 3)) == (8, ["a", "b"])
    assert run(1, ("a", 0, half, [], 5), ("b", 0, half, [], 3)) == (5, ["a"])
    assert run(1, ("a", 0, 1, [1], 5), ("b", 0, 1, [], 3)) == (8, ["b", "a"])
    # The job on which the longest way depends comes first.
    jobs = ("short", 0, first, [], 4), ("cause", 0, first, [], 1), ("long", 1, 0, [1], 9)
    assert run(1, *jobs) == (10, ["cause", "long"])


def test_what_many_films_take(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(scaling, "SIZE", 64)
    monkeypatch.setattr(scaling, "FILMS", 10**9)
    monkeypatch.setattr(sys, "argv", ["scaling.py", "--output", str(tmp_path / "page.md")])
    scaling.main()
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# Measured on one core of ")
    assert page.endswith(capsys.readouterr().out.strip() + "\n")
    rows = {line.split("|")[1].strip(): line for line in page.splitlines()[::-1] if line[:1] == "|"}
    assert "train_denoiser" not in rows  # its steps are fixed, and its images small
    stored = [rows[rule].split("|")[6].strip() for rule in ("split_images", "augment_images")]
    assert stored == ["32.8", "65.5"]  # TB: 8 bytes a pixel; five arrays of 4 bytes, of 80 %
    assert {"1", "8", "64", "total_variation", "unet"} <= rows.keys()
