from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml

from compare_datasets import MARGIN, hardness
from noise.seeds import generator
from phantom.exposure import transmission
from phantom.rays import ATTENUATION, BEAM, Rays
from phantom.subject import draw_subject
from render_phantom import render, render_all

ROOT = Path(__file__).resolve().parents[1]
SEED = 2015


@pytest.mark.parametrize("size", [16, 64])
def test_an_image_has_the_size_and_the_range(size):
    image = render(1, size, SEED)
    assert (image.shape, image.dtype) == ((size, size), np.float64)
    assert 0 <= image.min() <= image.max() <= 1
    assert image.std() > 0.15


def test_an_image_depends_on_seed_and_subject_only():
    image = render(3, 16, SEED)
    assert np.array_equal(image, render(3, 16, SEED))
    one, two = (list(render_all(4, 16, SEED, threads)) for threads in (1, 2))
    assert np.array_equal(one, two)
    assert np.array_equal(image, one[2])
    assert not np.array_equal(image, render(3, 16, SEED + 1))


def test_subjects_differ_in_anatomy_pose_and_exposure():
    for first, second in combinations(render_all(6, 32, SEED, threads=1), 2):
        assert np.abs(first - second).mean() > 0.01
    subjects = [draw_subject(generator(SEED, "phantom", number)) for number in range(1, 101)]
    for name in ("scale", "vault_width", "jaw_angle", "tilt", "exposure", "gamma"):
        assert np.std([getattr(subject, name) for subject in subjects]) > 0
    assert 0 < sum(subject.brackets for subject in subjects) < 50


def test_overlapping_structures_add_up():
    both, bone, tissue = Rays(64), Rays(64), Rays(64)
    for rays in (both, bone):
        rays.ellipsoid("cortical", np.array([97.0, 120.0]), (30, 30), 10)
    for rays in (both, tissue):
        rays.ellipsoid("soft", np.array([97.0, 120.0]), (50, 50), 100)
    for energy in range(len(BEAM)):
        one, other, together = (
            sum(ATTENUATION[m][energy] * t for m, t in rays.path.items())
            for rays in (bone, tissue, both)
        )
        assert np.allclose(one + other, together)
    # One energy at a time transmission multiplies; in the mixed beam it falls more slowly.
    product = transmission(bone.path) * transmission(tissue.path)
    assert (transmission(both.path) >= product - 1e-12).all()
    assert transmission(both.path)[0, 0] == pytest.approx(1)


def test_transmission_is_beer_lambert():
    path = {"soft": np.full((2, 2), 3.0), "aluminium": np.full((2, 2), 0.5)}
    exponents = 3.0 * ATTENUATION["soft"] + 0.5 * ATTENUATION["aluminium"]
    assert np.allclose(transmission(path), (BEAM * np.exp(-exponents)).sum())


def test_thickness_of_an_ellipsoid_is_its_chord():
    rays = Rays(256)
    rays.ellipsoid("soft", np.array([100.0, 120.0]), (40, 20), 60)
    volume = rays.path["soft"].sum() * rays.pixel.prod() / 100  # cm3
    assert volume == pytest.approx(4 / 3 * np.pi * 4 * 2 * 3, rel=0.01)


def test_it_is_as_hard_as_the_published_test_images():
    published = yaml.safe_load((ROOT / "resources" / "published.yaml").read_text())
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    images = np.array([render(subject, 128, SEED) for subject in range(321, 401)])
    table = hardness(images, config["noise"], published, SEED)
    assert len(table) == len(published["rows"])
    for method, margin in MARGIN.items():
        assert table[f"difference {method}"].abs().max() <= margin, table.to_string()
