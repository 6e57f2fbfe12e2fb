"""The steps between the images and the table."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from skimage.transform import rotate

import augment_images
import corrupt_images
import filter_images
import split_images
from augment_images import augmented
from engine import digests
from files.tables import read_table, write_table
from methods import median
from noise.models import clipped_mean, corrupt
from noise.seeds import generator

SCRIPTS = Path(digests.__file__).parents[1]
IMAGES = generator(1, "images").random((7, 20, 24))
NOISE = {"distribution": "gaussian", "factor": 0.1, "mean": 1, "std": 2}


@pytest.fixture
def stored(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    return tmp_path / "images.npy"


def job(**parts):
    """Return what a script's `main` gets: parts are dictionaries, as in Snakemake."""
    first = {"training": "", "draw": ""}
    parts = {"params": {}, **parts, "wildcards": first | parts.get("wildcards", {})}
    return SimpleNamespace(threads=1, **{name: Names(values) for name, values in parts.items()})


class Names(dict):
    __getattr__ = dict.__getitem__


def test_steps_make_what_whole_arrays_give(tmp_path, stored, monkeypatch):
    """Split, augment, corrupt and denoise against the plain way, to the bit."""
    monkeypatch.setattr("results.denoising.PIXELS", 2 * 20 * 20)
    square = IMAGES[:, :, :20].copy()
    np.save(stored, square)
    ids = [f"{number:03d}" for number in range(7)]
    write_table(tmp_path / "ids.csv", [{"id": name} for name in ids])
    paths = {name: tmp_path / f"{name}.npy" for name in ("train", "test", "clean", "noisy", "out")}
    split = tmp_path / "split.csv"

    split_images.main(
        job(
            input={"images": stored, "ids": tmp_path / "ids.csv"},
            output={
                **{part: paths[part] for part in ("train", "test")},
                **{"split": split, "twins": tmp_path / "twins.txt"},
            },
            params={"train": 4, "test": None, "patient": None, "duplicates": "refuse"},
        )
    )
    np.testing.assert_array_equal(np.load(paths["train"]), square[:4])
    np.testing.assert_array_equal(np.load(paths["test"]), square[4:])
    parts = ["train"] * 4 + ["test"] * 3
    assert [(line["id"], line["part"]) for line in read_table(split)] == [
        *zip(ids, parts, strict=True)
    ]

    augment_images.main(
        job(
            input={"images": paths["train"], "split": split},
            output={"images": paths["clean"]},
            params={"seed": 5},
        )
    )
    clean = []
    for image, name in zip(square[:4], ids, strict=False):
        rng = generator(5, "augment", name)
        acute, obtuse = int(rng.integers(0, 90)), int(rng.integers(91, 180))
        clean += [image, image[:, ::-1], image[::-1], rotate(image, acute), rotate(image, obtuse)]
    clean = np.array(clean).astype(np.float32)
    np.testing.assert_array_equal(np.load(paths["clean"]), clean)

    for part, source, images in (("train", "clean", clean), ("test", "test", square[4:])):
        corrupt_images.main(
            job(
                input={"images": paths[source], "split": split},
                output={"images": paths["noisy"]},
                params={"seed": 5, "noise": NOISE},
                wildcards={"noise": "strong", "part": part},
            )
        )
        names = [name for name, other in zip(ids, parts, strict=True) if other == part]
        noisy = [
            corrupt(array, NOISE, generator(5, "noise", "strong", part, name))
            for array, name in zip(np.split(images, len(names)), names, strict=True)
        ]
        noisy = np.concatenate(noisy).astype(images.dtype)
        np.testing.assert_array_equal(np.load(paths["noisy"]), noisy)

    levels, means = clipped_mean(NOISE)
    means, first = np.unique(means, return_index=True)
    filtered = median.denoise(noisy, NOISE, {"size": 3})
    expected = np.interp(filtered, means, levels[first])
    params = {"plugin": "median", "noise": NOISE, "settings": {"size": 3}, "inversion": True}
    for threads in (1, 3):
        work = job(
            input={"noisy": paths["noisy"]},
            output={"images": paths["out"], "cost": tmp_path / "cost.csv"},
            params=params | {"code": {}},
            wildcards={"noise": "strong", "method": "median"},
        )
        work.threads = threads
        filter_images.main(work)
        np.testing.assert_array_equal(np.load(paths["out"]), expected)
        paths["out"].unlink()
        (cost,) = read_table(tmp_path / "cost.csv")
        assert cost["parameters"] == ""
        assert float(cost["milliseconds"]) > 0


def test_augmentation_is_the_published_one_in_its_order():
    image = IMAGES[0, :, :20]
    arrays = augmented(image, generator(1, "augment"))
    again = generator(1, "augment")
    acute, obtuse = again.integers(0, 90), again.integers(91, 180)
    np.testing.assert_array_equal(arrays[0], image)
    np.testing.assert_array_equal(arrays[1], np.fliplr(image))
    np.testing.assert_array_equal(arrays[2], np.flipud(image))
    np.testing.assert_array_equal(arrays[3], rotate(image, int(acute)))
    np.testing.assert_array_equal(arrays[4], rotate(image, int(obtuse)))
    assert arrays[4][0, 0] == 0  # corners are black


def test_rotation_angles_are_whole_degrees_in_the_published_ranges(monkeypatch):
    angles = []
    monkeypatch.setattr("augment_images.rotate", lambda image, angle: angles.append(angle) or image)
    rng = generator(1, "angles")
    for _ in range(2000):
        augmented(IMAGES[0], rng)
    assert set(angles[0::2]) == set(range(90))
    assert set(angles[1::2]) == set(range(91, 180))


def test_median_filters_each_image_by_itself():
    image = np.zeros((2, 9, 9))
    image[0, 4, 4] = 1
    image[1] = 1
    denoised = median.denoise(image, {}, {"size": 3})
    np.testing.assert_array_equal(denoised[0], 0)
    np.testing.assert_array_equal(denoised[1], 1)


HEAVY = {"matplotlib", "pandas", "pydicom", "scipy", "skimage", "torch"}


@pytest.mark.parametrize(
    ("script", "needed"),
    [
        ("split_images", {"scipy", "skimage"}),
        ("search_twins", {"scipy", "skimage"}),
        ("corrupt_images", set()),
        ("filter_images", set()),
        ("score_images", {"scipy", "skimage"}),
        ("augment_images", {"scipy", "skimage"}),
        ("resize_images", {"scipy", "skimage"}),
        ("render_phantom", {"scipy", "skimage"}),
        ("make_table", {"pandas", "scipy"}),
        ("compare_methods", {"pandas", "scipy"}),
        ("plot_examples", {"matplotlib"}),
    ],
)
def test_scripts_import_no_heavy_package_that_they_do_not_need(script, needed):
    """Each of the many short jobs would pay for it."""
    code = f"import sys, {script}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, check=True, capture_output=True, text=True
    )
    assert HEAVY & set(done.stdout.split()) == needed
