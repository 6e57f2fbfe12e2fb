"""What is measured on a machine with a GPU and little else, here on the CPU in miniature."""

import shutil
import sys

import pandas as pd
import pytest

from conftest import ROOT, TWO_NOISES, Project, environment_with, tiny
from results.reading import read_scores

pytestmark = pytest.mark.slow

PACKAGES = ["torch", "numpy", "scipy", "scikit-image", "pandas", "tabulate", "matplotlib"]
ROW = ["noise", "method", "training"]
FIRST = f"select={{methods: [autoencoder], noise: [{TWO_NOISES[0]}]}}"
STEPS = "methods={autoencoder: {training: {steps: 12}}}"  # .4 % of the published ones


def test_trainings_on_a_machine_that_has_little(tmp_path):
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")
    project.edit_config(tiny)
    project.edit_config(lambda c: c.update(noise={name: c["noise"][name] for name in TWO_NOISES}))
    for name in ("benchmarks", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, project.folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", project.folder)
    files = [f"config/{name}.yaml" for name in ("paper", "methods", "everything")]
    project.succeed("--configfile", *files, "--config", "dataset=phantom", FIRST, STEPS)
    pack, python = tmp_path / "pack", environment_with(tmp_path / "environment", PACKAGES)

    def benchmark(action: str, *options: str, interpreter: str = sys.executable) -> str:
        done = project.run(interpreter, "benchmarks/gpu.py", action, str(pack), *options)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def measure(*options: str) -> str:
        options += ("--share", "0.004", "--trainings", "2", "--device", "cpu")
        return benchmark("run", *options, interpreter=python)

    benchmark("pack", "--dataset", "phantom", "--methods", "autoencoder", "noise2void")
    measure("--parts", "tests")
    said = (pack / "tests.txt").read_text()
    assert " skipped" in said  # no GPU; but they could be imported
    assert "error" not in said.lower()
    text = measure("--parts", "trainings", "--minutes", "0")
    assert "autoencoder, gaussian_0.1_0_1, training 1: not begun, " in text
    assert not (pack / "scores.csv").exists()

    measure("--parts", "trainings")
    scores, costs = read_scores([pack / "scores.csv"]), pd.read_csv(pack / "costs.csv")
    assert list(scores) == ["noise", "method", "image", "ssim", "psnr", "training", "draw"]
    rows = costs[ROW].to_numpy().tolist()
    noises = scores["noise"].unique().tolist()
    assert noises == TWO_NOISES
    expected = [[n, m, t] for m in ("autoencoder", "noise2void") for t in (1, 2) for n in noises]
    assert rows == expected
    assert scores.groupby(ROW).size().tolist() == [4] * 8
    # The first training is the workflow's own, but for the single precision of the images.
    alone = read_scores([project.folder / "results/phantom-methods/scores.csv"])
    ours = scores.query(f"method == 'autoencoder' and noise == '{TWO_NOISES[0]}'")
    theirs = alone.query("method == 'autoencoder'")["ssim"].to_numpy()
    first, second = (ours.query(f"training == {n}")["ssim"].to_numpy() for n in (1, 2))
    assert first == pytest.approx(theirs, abs=1e-4)
    assert second != pytest.approx(theirs, abs=1e-4)

    # Cut off after the scores of a row, before its costs: that row alone is done again.
    costs[:-1].to_csv(pack / "costs.csv", index=False)
    text = measure("--parts", "trainings")
    assert text.count(" s at most") == 1
    assert f"noise2void, {noises[-1]}, training 2: " in text
    assert len(read_scores([pack / "scores.csv"])) == 4 * 8

    page = benchmark("tables")
    mean, spread = ours.groupby("training")["ssim"].mean().agg(["mean", "std"])
    assert f"| auto-encoder | {mean:.4f} ± {spread:.4f} (2) |" in page
    assert "digital phantom: nothing about patients" in page
