"""The published experiment on the real images, as far as it takes no training."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skimage.io import imread
from skimage.transform import resize

from conftest import ROOT, Project
from files.arrays import StoredImages
from files.tables import read_table
from images.twins import twins
from tune_method import validation_images

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("paper")]


@pytest.fixture(scope="module")
def paper(real_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project in which `make check-paper` was run."""
    project = Project(tmp_path_factory.mktemp("paper"))
    done = project.make("CORES=2", f"IMAGES={real_images}", "check-paper")
    assert done.returncode == 0, done.stdout
    project.output = done.stdout
    project.images = project.folder / "resources/datasets/isbi2015/128px/images.npy"
    return project


def test_noisy_and_median_columns_agree_in_all_rows(paper: Project):
    table = pd.read_csv(paper.folder / "results/check-paper/table.csv")
    assert len(table) == 7
    for method in ("noisy", "median"):
        assert table[f"verdict_{method}"].tolist() == ["inside"] * 7
        # What another draw moves a mean by; so an interval can't be so wide that all is inside.
        assert table[f"half_width_{method}"].between(0.0003, 0.003).all()
        assert f"SSIM {method}: ✓ inside in 7 of 7 rows" in paper.output
    assert "✗" not in paper.output


def test_nothing_was_trained(paper: Project):
    results = paper.folder / "results/check-paper"
    assert not (results / "models").exists()
    assert not (results / "clean").exists()


def test_test_images_are_321_to_400_in_order(paper: Project, real_images: Path):
    data = paper.images.parent
    split = pd.read_csv(data / "split.csv", dtype=str)
    assert split["id"].tolist() == [f"{number:03d}" for number in range(1, 401)]
    assert (split["part"] == ["train"] * 320 + ["test"] * 80).all()
    test = np.load(data / "test.npy", mmap_mode="r")
    assert test.shape == (80, 128, 128)
    for index, name in ((0, "321"), (79, "400")):
        expected = resize(imread(real_images / f"{name}.jpg", as_gray=True), (128, 128))
        np.testing.assert_allclose(test[index], expected, rtol=0, atol=1e-12)


def test_the_real_images_have_23_twins_and_none_is_in_both_parts(paper: Project):
    found = twins(StoredImages(paper.images), range(400), range(400))
    assert len(found) == 23
    assert max(pair.second for pair in found) < 320
    assert min(pair.alike for pair in found) > 0.99


def test_validation_images_have_no_twins(paper: Project):
    chosen = validation_images(np.load(paper.images)[:320])
    assert len(chosen) == 16
    lines = read_table(ROOT / "resources/isbi2015.csv")
    signs = [int(line["fingerprint"], 16) >> 8 for line in lines]
    for index, other in product(chosen, range(256)):
        assert (signs[index] ^ signs[other]).bit_count() > 25


def test_another_source_of_verified_images_reruns_nothing(paper: Project):
    arguments = ["run=check-paper", "select={methods: [median]}"]
    source = "datasets={isbi2015: {sources: [elsewhere]}}"
    planned = paper.planned("--configfile", "config/paper.yaml", "--config", *arguments, source)
    unmade = {"plot_examples", "compare_methods", "plot_compute"}  # no part of `make check-paper`
    assert {job[0] for job in planned} <= unmade
