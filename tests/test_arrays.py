"""Arrays that are read and written a few images at a time."""

from types import SimpleNamespace

import denoise_images
import numpy as np
import pytest
from skimage.transform import rotate

import augment_images
import corrupt_images
import split_images
from engine.job import InputError
from files.arrays import StoredImages, write_images
from files.tables import read_table, write_table
from methods import median
from noise.models import clipped_mean, corrupt
from noise.seeds import generator

IMAGES = generator(1, "images").random((7, 20, 24))
NOISE = {"distribution": "gaussian", "factor": 0.1, "mean": 1, "std": 2}


@pytest.fixture
def stored(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    return tmp_path / "images.npy"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_batches_are_the_images_in_order(stored, size):
    batches = list(StoredImages(stored).batches(size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    np.testing.assert_array_equal(np.concatenate(batches), IMAGES)


def test_images_can_be_iterated_over_again(stored):
    images = StoredImages(stored)
    assert (images.shape, images.dtype, len(images)) == (IMAGES.shape, IMAGES.dtype, 7)
    for _ in range(2):
        np.testing.assert_array_equal(list(images), IMAGES)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_file_is_the_one_that_numpy_saves(tmp_path, dtype):
    write_images(tmp_path / "ours.npy", IMAGES.shape, dtype, (image.T.copy().T for image in IMAGES))
    np.save(tmp_path / "theirs.npy", IMAGES.astype(dtype))
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()


@pytest.mark.parametrize("images", [IMAGES[:6], [*IMAGES, IMAGES[0]], [*IMAGES[:6], IMAGES[6].T]])
def test_what_is_incomplete_or_of_another_shape_replaces_nothing(stored, images):
    with pytest.raises(ValueError, match=r"images, not 7|has shape"):
        write_images(stored, IMAGES.shape, IMAGES.dtype, images)
    np.testing.assert_array_equal(np.load(stored), IMAGES)
    assert list(stored.parent.iterdir()) == [stored]


def test_a_failure_on_the_way_replaces_nothing(stored):
    halves = (np.full((20, 24), 1 / (2 - index)) for index in range(7))
    with pytest.raises(ZeroDivisionError):
        write_images(stored, IMAGES.shape, IMAGES.dtype, halves)
    np.testing.assert_array_equal(np.load(stored), IMAGES)
    assert list(stored.parent.iterdir()) == [stored]


def test_a_cut_file_is_refused(stored):
    stored.write_bytes(stored.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"images.npy can.t be read"):
        StoredImages(stored)


def job(**parts):
    """Return what a script's `main` gets: `output` and `input` are dictionaries, as in Snakemake."""
    parts = {"wildcards": {}, "params": {}, **parts}
    return SimpleNamespace(threads=1, **{name: Names(values) for name, values in parts.items()})


class Names(dict):
    __getattr__ = dict.__getitem__


def test_steps_make_what_whole_arrays_give(tmp_path, stored, monkeypatch):
    """Split, augment, corrupt and denoise against the plain way, to the bit."""
    monkeypatch.setattr(denoise_images, "BATCH", 2)
    square = IMAGES[:, :, :20].copy()
    np.save(stored, square)
    ids = [f"{number:03d}" for number in range(7)]
    write_table(tmp_path / "ids.csv", [{"id": name} for name in ids])
    paths = {name: tmp_path / f"{name}.npy" for name in ("train", "test", "clean", "noisy", "out")}
    split = tmp_path / "split.csv"

    split_images.main(
        job(
            input={"images": stored, "ids": tmp_path / "ids.csv"},
            output={"train": paths["train"], "test": paths["test"], "split": split},
            params={"train": 4},
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

    denoise_images.main(
        job(
            input={"noisy": paths["noisy"]},
            output={"images": paths["out"], "cost": tmp_path / "cost.csv"},
            params={"plugin": "median", "noise": NOISE, "settings": {"size": 3}, "inversion": True},
            wildcards={"noise": "strong", "method": "median"},
        )
    )
    levels, means = clipped_mean(NOISE)
    means, first = np.unique(means, return_index=True)
    filtered = median.denoise(noisy, NOISE, {"size": 3})
    np.testing.assert_array_equal(np.load(paths["out"]), np.interp(filtered, means, levels[first]))
    (cost,) = read_table(tmp_path / "cost.csv")
    assert cost["parameters"] == ""
    assert float(cost["milliseconds"]) > 0
