"""Replicates: a network trained several times, the noise of the test images drawn several times."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from conftest import TWO_NOISES, Project
from engine.configuration import checked, read_file
from engine.plugins import ConfigurationError
from replicates import verdicts
from results.wording import MISSING
from test_reruns import COMPARED, CURVES, FIGURES, TABLE, jobs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("replicates")]

TRAINED, SCORED = ["autoencoder", "unet"], ["autoencoder", "median", "unet", "noisy"]
TWICE = ["--config", "replicates={training: 2, noise: 2}"]
COLLECTED = COMPARED | TABLE | FIGURES


@pytest.fixture(scope="module")
def twice(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished run with another training and another draw. Not to be changed."""
    project = finished.copied(tmp_path_factory.mktemp("replicates") / "twice")
    project.succeed(*TWICE)
    return project


def test_a_higher_number_runs_the_new_ones_alone(finished: Project):
    again = jobs("train_denoiser", TWO_NOISES, TRAINED, ["/2"])
    again |= jobs("apply_network", TWO_NOISES, TRAINED, ["/2"])
    again |= jobs("score_images", TWO_NOISES, TRAINED, ["/2"])
    noisy = jobs("corrupt_images", TWO_NOISES, ["/2"], ["train"])  # for the published pairs
    planned = finished.planned("--config", "replicates={training: 2}")
    assert planned == again | noisy | COLLECTED | CURVES

    again = jobs("corrupt_images", TWO_NOISES, ["/2"], ["test"])
    again |= jobs("filter_images", TWO_NOISES, ["/2"], ["median"])
    again |= jobs("apply_network", TWO_NOISES, ["/2"], TRAINED)
    again |= jobs("score_images", TWO_NOISES, ["/2"], SCORED)
    assert finished.planned("--config", "replicates={noise: 2}") == again | COLLECTED


def test_each_replicate_is_another_one_and_the_first_is_that_of_a_plain_run(
    finished: Project, twice: Project
):
    ours, plain = twice.folder / "results/phantom", finished.folder / "results/phantom"
    for path in plain.glob("*/*/*.*"):
        if path.parts[-3] in ("models", "noisy", "denoised", "scores", "training"):
            assert (ours / path.relative_to(plain)).read_bytes() == path.read_bytes()
    for noise in TWO_NOISES:
        for part in ("train", "test"):
            first, second = (ours / f"noisy/{noise}/{n}{part}.npy" for n in ("", "2/"))
            assert not np.array_equal(np.load(first), np.load(second))
    scores = pd.read_csv(ours / "scores.csv")
    first = scores[(scores["training"] == 1) & (scores["draw"] == 1)]
    columns = ["noise", "method", "image", "ssim", "psnr"]
    pd.testing.assert_frame_equal(
        first[columns].reset_index(drop=True), pd.read_csv(plain / "scores.csv")
    )
    # Four images, two draws, two trainings of what is trained; all scores differ.
    counts = scores.groupby(["noise", "method"])["ssim"].agg(["count", "nunique"])
    for (_, method), (count, different) in counts.iterrows():
        assert count == different == (16 if method in TRAINED else 8)


def test_a_run_without_replicates_has_the_same_tables_again(finished: Project, twice: Project):
    assert twice.planned() == COLLECTED | CURVES
    assert twice.script("verify.py").returncode == 0
    header = (finished.folder / "results/phantom/scores.csv").read_text().splitlines()[0]
    assert header == "noise,method,image,ssim,psnr"


def test_a_replicate_does_not_depend_on_the_others(finished: Project, twice: Project, tmp_path):
    alone = finished.copied(tmp_path / "alone")
    name = f"results/phantom/scores/{TWO_NOISES[0]}/2/autoencoder/2.csv"
    alone.succeed("--", name)
    assert (alone.folder / name).read_text() == (twice.folder / name).read_text()


def test_a_method_may_not_be_called_as_replicates_are(finished: Project):
    config = read_file(finished.folder / "config.yaml")
    method = {"methods": {"2": {"plugin": "median", "size": 3}}}
    checked(config, method)
    with pytest.raises(ConfigurationError, match=r"methods\.2: replicates have numbers"):
        checked(config, method, {"replicates": {"noise": 2}})


def test_scores_of_replicates_are_kept_and_say_how_far_runs_lie_apart(twice: Project, tmp_path):
    project = twice.copied(tmp_path / "kept")
    run, kept = "results/phantom", project.folder / "resources/evidence/phantom.csv.gz"
    (project.folder / "docs").mkdir()
    spread = project.folder / "resources/spread.yaml"
    spread.write_text("made_of: resources/evidence/other.csv.gz\n")
    done = project.script("replicates.py", run)
    assert done.returncode == 1 and "spread.yaml was made of" in done.stdout
    assert "other" in spread.read_text() and not kept.exists()
    spread.unlink()
    done = project.script("replicates.py", run)
    assert done.returncode == 0, done.stdout
    page = (project.folder / "docs/replicates.md").read_text()
    assert "digital phantom (phantom)" in page and "real" not in page
    assert ", CPU, 1 threads" in page
    assert "Which methods are better" not in page  # two trainings are too few
    scores = pd.read_csv(project.folder / run / "scores.csv")
    found = pd.read_csv(kept)
    assert len(found) == len(scores)
    rows = yaml.safe_load(spread.read_text())["rows"]
    for noise, row in zip(TWO_NOISES, rows, strict=True):
        for method, trained in (("unet", True), ("median", False)):
            some = scores[(scores["noise"] == noise) & (scores["method"] == method)]
            means = some.groupby(["training", "draw"])["ssim"].mean()
            if trained:  # training + half of the draw's variance in means of two draws
                by_training = means.groupby("training").mean()
                variance = by_training.var() + means.groupby("training").var().mean() / 2
            else:
                variance = means.var()
            assert row["methods"][method]["runs"] == 2
            assert row["methods"][method]["deviation"] == pytest.approx(variance**0.5, rel=1e-4)

    # A setting that came later has what was done before as its default.
    sidecar = kept.with_name(kept.name.replace(".csv.gz", ".yaml"))
    made = sidecar.read_text()
    sidecar.write_text(made.replace("      augmentation: flips\n", ""))
    assert sidecar.read_text() != made
    assert project.script("replicates.py", run).returncode == 0
    assert sidecar.read_text() == made

    # What is there once stays when results/ is lost; other settings are no replicates.
    before = found.drop_duplicates(["noise", "method", "training", "draw"])
    shutil.rmtree(project.folder / run / f"scores/{TWO_NOISES[0]}/2")
    assert project.script("replicates.py", run).returncode == 0
    assert len(pd.read_csv(kept)) == len(before) * 4
    record = project.folder / run / f"provenance/filter_images/{TWO_NOISES[0]}/median.json"
    record.write_text(record.read_text().replace('"size": 3', '"size": 5'))
    done = project.script("replicates.py", run)
    assert done.returncode == 1
    assert f"{TWO_NOISES[0]}/median: its settings differ among runs" in done.stdout
    done = project.script("replicates.py", run.removeprefix("results/"))  # which is no folder here
    assert done.returncode == 1 and "no records of scores: give the folder of a run" in done.stdout
    shutil.rmtree(project.folder / "resources/datasets/phantom/provenance")
    done = project.script("replicates.py", run)
    assert done.returncode == 1 and "the records don't say where the images" in done.stdout


def test_six_trainings_have_a_verdict_over_the_draws_that_all_have():
    rng, draws = np.random.default_rng(1), {"net": 2, "median": 4, "noisy": 4}
    lines = [
        # From the third draw on the filter is far better, but the network has no such draws.
        ("dots", method, str(image), ssim + 0.01 * rng.standard_normal(), training, draw)
        for method, count in draws.items()
        for training in range(1, 7 if method == "net" else 2)
        for draw in range(1, count + 1)
        for image in range(20)
        for ssim in [{"net": 0.8, "median": 0.7 + 0.2 * (draw > 2), "noisy": 0.1}[method]]
    ]
    columns = ["noise", "method", "image", "ssim", "training", "draw"]
    made = {"dots/net": {"made": dict.fromkeys(range(1, 7), "")}, "dots/median": {"made": {}}}
    scores = pd.DataFrame(lines, columns=columns)
    _, table, notes = verdicts(scores, made, margin=0.05)
    (line,) = table.to_dict("records")
    assert [line[name] for name in ("Method", "is", "to")] == ["median", "worse", "net"]
    assert -0.11 < float(line["by"]) < -0.09
    assert "Over the first 2 draws." in notes[0] and "for 1 pair." in notes[1]
    few = {name: {"made": {1: ""} if entry["made"] else {}} for name, entry in made.items()}
    assert verdicts(scores[scores["training"] < 6], few, margin=0.05) == []


def test_scores_of_rows_are_kept_and_shown_before_a_run_is_complete(finished: Project, tmp_path):
    """In two parts, as two machines would make them."""
    project = finished.copied(tmp_path / "project")
    scores = project.folder / "results/phantom/scores"
    late = scores / "poisson_0.2_1/unet.csv"
    aside = late.rename(tmp_path / "late.csv")
    tool = ["evidence.py", "results/phantom", "--yardstick", "unet", "--configfile"]
    assert project.script(*tool, "config.yaml").returncode == 0
    page = project.folder / "resources/evidence/phantom.md"

    def cells() -> dict[str, list[str]]:
        """The first table's two columns by the names of its rows."""
        lines = page.read_text().split("##")[0].splitlines()
        rows = [[cell.strip() for cell in line.split("|")] for line in lines if "|" in line]
        return {row[1]: row[2:4] for row in rows}

    before = cells()
    assert before["U-Net"][1] == MISSING
    shutil.rmtree(scores)
    late.parent.mkdir(parents=True)
    aside.rename(late)
    chosen = TWO_NOISES[::-1]
    (project.folder / "chosen.yaml").write_text(f"select: {{noise: {chosen[:1]}}}\n")
    assert project.script(*tool, "config.yaml", "chosen.yaml").returncode == 0
    expected = pd.read_csv(finished.folder / "results/phantom/scores.csv")
    means = expected.groupby(["method", "noise"])["ssim"].mean()
    after = cells()
    assert after["Method"] == chosen, "what is selected comes first"
    assert after["U-Net"] == [f"{means['unet', noise]:.4f}" for noise in chosen]
    assert after["median"] == before["median"][::-1]
    below = means["unet", "poisson_0.2_1"] - means["median", "poisson_0.2_1"]
    assert f"{below:.4f}" in page.read_text().split("## How far below")[1].split("##")[0]
