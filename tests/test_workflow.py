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
from engine.plugins import declarations

pytestmark = pytest.mark.slow

GAUSSIAN, POISSON = TWO_NOISES
MEDIAN = f"select={{noise: [{POISSON}], methods: [median]}}"
ALL_METHODS = ["--configfile", "config/methods.yaml"]


@pytest.fixture
def results(finished: Project) -> Path:
    return finished.folder / "results/phantom"


@pytest.fixture
def data(finished: Project) -> dict[str, np.ndarray]:
    """The images of the data set, and its two parts."""
    folder = finished.folder / "resources/datasets/phantom/16px"
    return {name: np.load(folder / f"{name}.npy") for name in ("images", "train", "test")}


def test_results_are_complete(finished: Project, results: Path):
    scores = pd.read_csv(results / "scores.csv", dtype={"image": str})
    assert list(scores.columns) == ["noise", "method", "image", "ssim", "psnr"]
    assert len(scores) == 2 * 4 * 4  # noise settings, methods with `noisy`, test images
    assert set(scores["method"]) == {"noisy", "autoencoder", "median", "unet"}
    assert set(scores["image"]) == {"007", "008", "009", "010"}
    for figure in (*TWO_NOISES, "training", "compute"):
        assert (results / f"figures/{figure}.png").stat().st_size > 10_000
    for noise in TWO_NOISES:
        for method in ("autoencoder", "unet"):
            model = torch.load(results / f"models/{noise}/{method}.pt", weights_only=True)
            assert model["plugin"] == method
            history = pd.read_csv(results / f"training/{noise}/{method}.csv")
            assert history["step"].tolist() == [6]
            assert (results / f"logs/train_denoiser/{noise}/{method}.log").stat().st_size > 0
            assert (results / f"benchmarks/train_denoiser/{noise}/{method}.tsv").stat().st_size > 0
    assert not list((results / "checkpoints").rglob("*.pt"))
    assert not [path for path in finished.folder.rglob(".*.npy") if path.is_file()]


def test_first_row_has_the_smaller_tail(results: Path):
    for noise, parameters in ((GAUSSIAN, 57_313), (POISSON, 71_169)):
        model = torch.load(results / f"models/{noise}/autoencoder.pt", weights_only=True)
        assert sum(weights.numel() for weights in model["weights"].values()) == parameters


def test_table_is_the_mean_of_the_scores_and_is_not_called_real(results: Path):
    scores = pd.read_csv(results / "scores.csv")
    table = pd.read_csv(results / "table.csv", index_col="noise")
    assert {"noisy", "autoencoder", "median"} == set(table) - {"mark_autoencoder"}
    for (noise, method), group in scores[scores["method"] != "unet"].groupby(["noise", "method"]):
        assert table.loc[noise, method] == pytest.approx(group["ssim"].mean(), abs=1e-12)
    text = (results / "table.md").read_text()
    assert text.startswith("# Denoising radiographs: digital phantom")
    assert "published" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert ["Gaussian (mean 0, std 1)" in row for row in rows] == [True, False]
    assert f"{table.loc[POISSON, 'autoencoder']:.4f}" in rows[1]


def test_scores_are_of_the_files(results: Path, data: dict[str, np.ndarray]):
    pairs = zip(data["test"], np.load(results / f"denoised/{POISSON}/median.npy"), strict=True)
    expected = [structural_similarity(*pair, data_range=1) for pair in pairs]
    scores = pd.read_csv(results / f"scores/{POISSON}/median.csv")
    np.testing.assert_array_equal(scores["ssim"], expected)


def test_split_keeps_test_images_out_of_training(results: Path, data: dict[str, np.ndarray]):
    np.testing.assert_array_equal(data["train"], data["images"][:6])
    np.testing.assert_array_equal(data["test"], data["images"][6:])
    clean = np.load(results / "clean/train.npy")
    assert clean.shape == (30, 16, 16)
    np.testing.assert_array_equal(clean[::5], data["train"].astype(np.float32))


def test_two_runs_on_one_machine_give_identical_scores(results: Path, project: Project):
    """Other cores, another order, and another set of noise settings change nothing."""
    project.edit_config(lambda config: config["noise"].pop("gaussian_0.2_0_1"))
    project.edit_config(lambda config: config["methods"]["unet"].update(default=False))
    select = f"select={{noise: [{POISSON}]}}"
    target = ["--", "results/again/scores.csv"]
    project.succeed("--config", "run=again", select, *target, cores=1)
    first = pd.read_csv(results / "scores.csv")
    again = pd.read_csv(project.folder / "results/again/scores.csv")
    first = first[(first["noise"] == POISSON) & (first["method"] != "unet")].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, again, check_exact=True)


def test_runs_share_the_data_set_and_do_not_overwrite_each_other(finished: Project, tmp_path: Path):
    copy = finished.copied(tmp_path / "copy")
    scores = copy.folder / "results/phantom/scores.csv"
    before = scores.read_bytes()
    copy.succeed("--config", "run=check", MEDIAN)
    assert scores.read_bytes() == before
    check = copy.folder / "results/check"
    assert not (check / "models").exists()
    assert not (check / "clean").exists()
    assert "auto-encoder" not in (check / "table.md").read_text()
    planned = copy.planned("--config", "run=third", "select={methods: [median]}")
    assert not any(job[0] in ("render_phantom", "split_images") for job in planned)


def test_bad_configuration_ends_before_any_job(project: Project):
    bad = "noise={bad: {distribution: poisson, factor: 1, lambda: -1}}"
    done = project.snakemake("--config", bad)
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
    project.succeed("--config", MEDIAN)
    results = project.folder / "results/phantom"
    (results / f"denoised/{POISSON}/median.npy").write_bytes(b"not an array")
    scores = results / f"scores/{POISSON}/median.csv"
    scores.unlink()
    target = str(scores.relative_to(project.folder))
    assert project.snakemake("--rerun-triggers", "mtime", "--", target).returncode != 0
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


# Files for new methods and a new distribution, relative to `workflow/scripts/`.
NEW = {
    "methods/mean.py": """
from scipy.ndimage import uniform_filter
SETTINGS = {"size": {"type": "integer"}}
def denoise(noisy, noise, settings):
    return uniform_filter(noisy, (1, settings["size"], settings["size"]))
""",
    "methods/straight.py": """
from torch import nn
SETTINGS = {"size": {"type": "integer"}}
RECIPE = "supervised"
def build_network(settings, noise):
    return nn.Conv2d(1, 1, settings["size"], padding="same")
""",
    "distributions/uniform.py": """
SETTINGS = {"width": {"type": "number"}}
def draw(image, rng, *, width):
    return image + rng.uniform(-width, width, image.shape)
""",
}
NEW_METHODS = """methods={mean: {size: 3}, straight: {size: 5, training:
    {steps: 60, batch: 4, learning_rate: 0.05, threads: 1, precision: fp32}}}"""


def test_a_new_method_or_distribution_is_one_file_and_an_entry(project: Project):
    for file, text in NEW.items():
        project.append(file, text)
    noise = "noise={even: {distribution: uniform, width: 0.2}}"
    select = "select={noise: [even], methods: [mean, straight, median]}"
    targets = ["--", "results/phantom/methods.md", "results/phantom/table.md"]
    project.succeed("--config", NEW_METHODS, noise, select, *targets)
    results = project.folder / "results/phantom"
    found = pd.read_csv(results / "methods.csv", index_col="method")
    assert set(found.index) == {"noisy", "mean", "straight", "median"}
    assert found.loc["straight", "parameters"] == 26
    assert found.loc["straight", "ssim"] > found.loc["noisy", "ssim"]
    table = pd.read_csv(results / "table.csv")
    assert list(table.columns) == ["noise", "noisy", "median"]  # keeps its form
    assert "Uniform (width 0.2)" in (results / "table.md").read_text()
    noisy = np.load(results / "noisy/even/test.npy")
    clean = np.load(project.folder / "resources/datasets/phantom/16px/test.npy")
    inside = (noisy > 0) & (noisy < 1)
    assert 0.15 < abs(noisy - clean)[inside].max() <= 0.2

    done = project.snakemake("--config", "methods={mean: {width: 3}}")
    assert "methods.mean.width: unknown key" in done.stdout


def miniature(config: dict) -> None:
    """Make the methods ones that train and are tuned in seconds, and that are installed."""
    if importlib.util.find_spec("bm3d") is None:  # an optional extra
        for name in ("bm3d", "bm3d+inversion"):
            config["methods"].pop(name)
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
    """The configuration that turns everything on, in miniature; each plug-in once and inverted."""
    everything = [*ALL_METHODS, "config/everything.yaml"]
    names = {"noisy", "autoencoder", "median"}
    for file in everything[1:]:
        project.edit_config(miniature, file)
        names |= yaml.safe_load((project.folder / file).read_text())["methods"].keys()
    names = {name for name in names if "+inversion" not in name or name == "wavelet+inversion"}
    names -= {"unet_any", "blind_spot_estimated"}  # not for this noise; other tests run them
    select = f"select={{noise: [{POISSON}], methods: {sorted(names - {'noisy'})}}}"
    targets = [
        f"results/phantom-methods/{name}" for name in ("methods.md", f"figures/{POISSON}.png")
    ]
    project.succeed(*everything, "--config", select, "image_size=32", "--", *targets)
    results = project.folder / "results/phantom-methods"
    found = pd.read_csv(results / "methods.csv")
    assert set(found["method"]) == names
    assert found["ssim"].between(-1, 1).all()
    assert "lattice" in (results / "methods.md").read_text()
    tuning = json.loads((results / f"tuning/{POISSON}/tuned_median.json").read_text())
    assert [line["settings"]["size"] for line in tuning] in ([3, 5], [5, 3])
    assert (results / f"figures/{POISSON}.png").is_file()


def test_no_test_image_reaches_training_or_tuning(project: Project):
    select = f"select={{noise: [{POISSON}]}}"
    text = project.succeed("--dry-run", *ALL_METHODS, "--config", select)
    learners = r"^(?:local)?rule (?:train_denoiser|tune_method|augment_images):\n    input: (.*)"
    learn = re.findall(learners, text, re.MULTILINE)
    assert len(learn) > 10
    assert all("train.npy" in inputs and "test.npy" not in inputs for inputs in learn)


def test_what_learns_from_test_images_gets_noisy_ones_alone(project: Project):
    """It is marked in all tables; no image needs to be left for training."""
    project.edit_config(lambda config: config["datasets"]["phantom"].update(train=0))
    select = f"select={{noise: [{POISSON}], methods: [blind_spot_on_test, median]}}"
    text = project.succeed("--dry-run", "--configfile=config/methods.yaml", "--config", select)
    (inputs,) = re.findall(r"^rule train_denoiser:\n    input: (.*)", text, re.MULTILINE)
    assert inputs == f"results/phantom-methods/noisy/{POISSON}/test.npy"
    assert declarations("methods", "blind_spot_on_test")["CAVEAT"]
    select = select.replace("_on_test", "")
    done = project.snakemake("--configfile=config/methods.yaml", "--config", select)
    assert "datasets.phantom.train: 0 is not allowed" in done.stdout


def test_a_selection_without_any_training_still_has_its_figures(project: Project):
    """The only trained method selected is not for the only noise setting selected."""
    project.edit_config(miniature, "config/methods.yaml")
    select = f"select={{noise: [{GAUSSIAN}], methods: [median, unet+lattice]}}"
    project.succeed(*ALL_METHODS, "--config", select)
    results = project.folder / "results/phantom-methods"
    assert (results / "figures/compute.png").is_file()
    assert not (results / "figures/training.png").exists()
    assert "\N{EN DASH}" in (results / "methods.md").read_text()
