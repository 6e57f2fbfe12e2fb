"""The whole workflow on a tiny configuration: what it makes, and what a change makes run again."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from skimage.metrics import structural_similarity

from conftest import TWO_NOISES, Project
from engine.configuration import merged

pytestmark = pytest.mark.slow

GAUSSIAN, POISSON = TWO_NOISES


def test_results_are_complete(finished: Project):
    results = finished.folder / "results" / "phantom"
    scores = pd.read_csv(results / "scores.csv", dtype={"image": str})
    assert list(scores.columns) == ["noise", "method", "image", "ssim", "psnr"]
    assert len(scores) == 2 * 4 * 4  # noise settings, methods with `noisy`, test images
    assert set(scores["method"]) == {"noisy", "autoencoder", "median", "unet"}
    assert set(scores["image"]) == {"007", "008", "009", "010"}
    for noise in TWO_NOISES:
        assert (results / f"figures/{noise}.png").stat().st_size > 10_000
        for method in ("autoencoder", "unet"):
            model = torch.load(results / f"models/{noise}/{method}.pt", weights_only=True)
            assert model["plugin"] == method
            history = pd.read_csv(results / f"training/{noise}/{method}.csv")
            assert history["step"].tolist() == [6]
            assert (results / f"logs/train_denoiser/{noise}/{method}.log").stat().st_size > 0
            assert (results / f"benchmarks/train_denoiser/{noise}/{method}.tsv").stat().st_size > 0
    for figure in ("training", "compute"):
        assert (results / f"figures/{figure}.png").stat().st_size > 10_000
    assert not list((results / "checkpoints").rglob("*.pt"))
    assert not [path for path in finished.folder.rglob(".*.npy") if path.is_file()]


def test_first_row_has_the_smaller_tail(finished: Project):
    def parameters(noise: str) -> int:
        path = finished.folder / f"results/phantom/models/{noise}/autoencoder.pt"
        return sum(w.numel() for w in torch.load(path, weights_only=True)["weights"].values())

    assert parameters(GAUSSIAN) == 57_313
    assert parameters(POISSON) == 71_169


def test_table_is_the_mean_of_the_scores_and_is_not_called_real(finished: Project):
    results = finished.folder / "results" / "phantom"
    scores = pd.read_csv(results / "scores.csv")
    table = pd.read_csv(results / "table.csv", index_col="noise")
    assert {"noisy", "autoencoder", "median"} == set(table.columns)
    for (noise, method), group in scores[scores["method"] != "unet"].groupby(["noise", "method"]):
        assert table.loc[noise, method] == pytest.approx(group["ssim"].mean(), abs=1e-12)
    text = (results / "table.md").read_text()
    assert text.startswith("# Denoising radiographs: digital phantom")
    assert "published" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert ["Gaussian (mean 0, std 1)" in row for row in rows] == [True, False]
    assert f"{table.loc[POISSON, 'autoencoder']:.4f}" in rows[1]


def test_scores_are_of_the_files(finished: Project):
    data = finished.folder / "resources/datasets/phantom/16px"
    clean = np.load(data / "test.npy")
    denoised = np.load(finished.folder / f"results/phantom/denoised/{POISSON}/median.npy")
    scores = pd.read_csv(finished.folder / f"results/phantom/scores/{POISSON}/median.csv")
    expected = [
        structural_similarity(a, b, data_range=1) for a, b in zip(clean, denoised, strict=True)
    ]
    np.testing.assert_array_equal(scores["ssim"], expected)


def test_split_keeps_test_images_out_of_training(finished: Project):
    data = finished.folder / "resources/datasets/phantom/16px"
    images, train, test = (np.load(data / f"{name}.npy") for name in ("images", "train", "test"))
    np.testing.assert_array_equal(train, images[:6])
    np.testing.assert_array_equal(test, images[6:])
    clean = np.load(finished.folder / "results/phantom/clean/train.npy")
    assert clean.shape == (30, 16, 16)
    np.testing.assert_array_equal(clean[::5], train.astype(np.float32))


def test_two_runs_on_one_machine_give_identical_scores(finished: Project, project: Project):
    """Other cores, another order, and another set of noise settings change nothing."""
    noise = f"select={{noise: [{POISSON}]}}"
    project.edit_config(lambda config: config["noise"].pop("gaussian_0.2_0_1"))
    done = project.snakemake("--config", "run=again", noise, cores=1)
    assert done.returncode == 0, done.stdout
    first = pd.read_csv(finished.folder / "results/phantom/scores.csv")
    again = pd.read_csv(project.folder / "results/again/scores.csv")
    first = first[first["noise"] == POISSON].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, again, check_exact=True)


def test_runs_share_the_data_set_and_do_not_overwrite_each_other(finished: Project, tmp_path: Path):
    finished = finished.copied(tmp_path / "copy")
    before = (finished.folder / "results/phantom/scores.csv").read_bytes()
    finished.succeed("--config", "run=check", "select={methods: [median], noise: [poisson_0.2_1]}")
    assert (finished.folder / "results/phantom/scores.csv").read_bytes() == before
    check = finished.folder / "results/check"
    assert not (check / "models").exists()
    assert not (check / "clean").exists()
    assert "auto-encoder" not in (check / "table.md").read_text()
    planned = finished.planned("--config", "run=third", "select={methods: [median]}")
    assert not any(job[0] in ("render_phantom", "split_images") for job in planned)


def test_bad_configuration_ends_before_any_job(project: Project):
    done = project.snakemake(
        "--config", "noise={bad: {distribution: poisson, factor: 1, lambda: -1}}"
    )
    assert done.returncode != 0
    assert "noise.bad.lambda: -1 is not allowed; allowed: more than 0" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (project.folder / "results").exists()
    assert not (project.folder / "resources/datasets").exists()


def test_cuda_without_a_gpu_is_an_error(project: Project):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = project.snakemake("--config", "device=cuda", "select={noise: [poisson_0.2_1]}")
    assert done.returncode != 0
    assert "device: cuda, but torch finds no usable GPU" in done.stdout


def test_failed_job_leaves_no_output_behind(project: Project):
    project.edit_config(lambda config: config["datasets"]["phantom"].update(subjects=7))
    project.succeed("--config", "select={noise: [poisson_0.2_1], methods: [median]}")
    bad = project.folder / "results/phantom/denoised/poisson_0.2_1/median.npy"
    bad.write_bytes(b"not an array")
    scores = project.folder / "results/phantom/scores/poisson_0.2_1/median.csv"
    scores.unlink()
    done = project.snakemake(
        "--rerun-triggers", "mtime", "--", str(scores.relative_to(project.folder))
    )
    assert done.returncode != 0
    assert not scores.exists()
    assert not list(scores.parent.glob(".*"))


def test_lint_of_the_workflow(project: Project):
    assert "Congratulations" in project.snakemake("--lint").stdout


@pytest.mark.parametrize(("device", "asked"), [("cpu", False), ("cuda", True)])
def test_training_asks_for_a_gpu_only_where_it_uses_one(project: Project, device, asked):
    """On a CPU, `--resources gpu=1` must not line the trainings up."""
    text = project.succeed("--dry-run", "--resources", "gpu=1", "--config", f"device={device}")
    training = text.split("rule train_denoiser:")[1].split("\n\n")[0]
    assert ("gpu=1" in training) is asked


def test_report_is_made(finished: Project):
    finished.succeed("--report", "report.html")
    assert (finished.folder / "report.html").stat().st_size > 100_000


def test_new_denoiser_is_one_file_and_an_entry(project: Project):
    plugin = project.folder / "workflow/scripts/methods/mean.py"
    plugin.write_text(
        "from scipy.ndimage import uniform_filter\n"
        'SETTINGS = {"size": {"type": "integer"}}\n'
        "def denoise(noisy, noise, settings):\n"
        '    return uniform_filter(noisy, (1, settings["size"], settings["size"]))\n'
    )
    select = f"select={{noise: [{POISSON}], methods: [mean, median]}}"
    project.succeed("--config", "methods={mean: {size: 3}}", select)
    found = pd.read_csv(project.folder / "results/phantom/methods.csv")
    assert set(found["method"]) == {"noisy", "mean", "median"}
    table = pd.read_csv(project.folder / "results/phantom/table.csv")
    assert list(table.columns) == ["noise", "noisy", "median"]  # keeps its form
    done = project.snakemake("--config", "methods={mean: {width: 3}}", select)
    assert "methods.mean.width: unknown key" in done.stdout


def test_new_trained_denoiser_is_one_file_and_an_entry(project: Project):
    plugin = project.folder / "workflow/scripts/methods/straight.py"
    plugin.write_text(
        "from torch import nn\n"
        'SETTINGS = {"size": {"type": "integer"}}\n'
        'RECIPE = "supervised"\n'
        "def build_network(settings, noise):\n"
        '    return nn.Conv2d(1, 1, settings["size"], padding="same")\n'
    )
    entry = (
        "methods={straight: {size: 5, training: "
        "{steps: 60, batch: 4, learning_rate: 0.05, threads: 1, precision: fp32}}}"
    )
    project.succeed("--config", entry, f"select={{noise: [{GAUSSIAN}], methods: [straight]}}")
    found = pd.read_csv(project.folder / "results/phantom/methods.csv", index_col="method")
    assert found.loc["straight", "parameters"] == 26
    assert found.loc["straight", "ssim"] > found.loc["noisy", "ssim"]


def test_new_distribution_is_one_file_and_an_entry(project: Project):
    folder = project.folder / "workflow/scripts/distributions"
    (folder / "uniform.py").write_text(
        'SETTINGS = {"width": {"type": "number"}}\n'
        "def draw(image, rng, *, width):\n"
        "    return image + rng.uniform(-width, width, image.shape)\n"
    )
    select = "select={noise: [even], methods: [median, unet]}"
    noise = "noise={even: {distribution: uniform, width: 0.2}}"
    project.succeed("--config", noise, select)
    text = (project.folder / "results/phantom/table.md").read_text()
    assert "Uniform (width 0.2)" in text
    noisy = np.load(project.folder / "results/phantom/noisy/even/test.npy")
    clean = np.load(project.folder / "resources/datasets/phantom/16px/test.npy")
    inside = (noisy > 0) & (noisy < 1)
    assert 0.15 < abs(noisy - clean)[inside].max() <= 0.2


def miniature(config: dict) -> None:
    """Make the methods ones that train and are tuned in seconds."""
    for entry in config["methods"].values():
        if "training" in entry:
            entry["training"] |= {"steps": 3, "batch": 2}
        if "widths" in entry:
            entry["widths"] = [4]
        if "depth" in entry:
            entry |= {"depth": 3, "width": 4}
        for key, values in entry.get("tune", {}).items():
            entry["tune"][key] = values[:2]


def test_every_method_runs(project: Project):
    """The configuration that turns everything on, in miniature."""
    project.edit_config(miniature, "config/methods.yaml")
    config = yaml.safe_load((project.folder / "config/methods.yaml").read_text())
    everything = yaml.safe_load((project.folder / "config/everything.yaml").read_text())
    config = merged(config, everything)
    if importlib.util.find_spec("bm3d") is None:  # an optional extra
        project.edit_config(
            lambda config: [config["methods"].pop(name) for name in ("bm3d", "bm3d+inversion")],
            "config/everything.yaml",
        )
        config["methods"] = {k: v for k, v in config["methods"].items() if "bm3d" not in k}
    project.succeed(
        "--configfile",
        "config/methods.yaml",
        "config/everything.yaml",
        "--config",
        "select={noise: [poisson_0.2_1]}",
        "image_size=32",
    )
    results = project.folder / "results/phantom-methods"
    found = pd.read_csv(results / "methods.csv")
    assert set(found["method"]) == config["methods"].keys() | {"noisy", "autoencoder", "median"}
    assert found["ssim"].between(-1, 1).all()
    text = (results / "methods.md").read_text()
    assert "lattice" in text
    tuning = json.loads((results / "tuning/poisson_0.2_1/tuned_median.json").read_text())
    assert [line["settings"]["size"] for line in tuning] in ([3, 5], [5, 3])
    assert (results / "figures/poisson_0.2_1.png").is_file()


def test_no_test_image_reaches_training_or_tuning(project: Project):
    text = project.succeed(
        "--dry-run",
        "--configfile",
        "config/methods.yaml",
        "--config",
        "select={noise: [poisson_0.2_1]}",
    )
    jobs = re.findall(r"^(?:local)?rule (\w+):\n    input: (.*)", text, re.MULTILINE)
    learn = [
        inputs
        for rule, inputs in jobs
        if rule in ("train_denoiser", "tune_method", "augment_images")
    ]
    assert len(learn) > 10
    assert all("train.npy" in inputs and "test.npy" not in inputs for inputs in learn)


def test_a_selection_without_any_training_still_has_its_figures(project: Project):
    """The only trained method selected is not for the only noise setting selected."""
    project.edit_config(miniature, "config/methods.yaml")
    select = f"select={{noise: [{GAUSSIAN}], methods: [median, unet+lattice]}}"
    project.succeed("--configfile", "config/methods.yaml", "--config", select)
    results = project.folder / "results/phantom-methods"
    assert (results / "figures/compute.png").is_file()
    assert not (results / "figures/training.png").exists()
    assert "\N{EN DASH}" in (results / "methods.md").read_text()
