"""Arrays and tables in files, complete or not there."""

import numpy as np
import pandas as pd
import pytest

from engine.messages import InputError
from files.arrays import StoredImages, write_images
from files.atomic import replacing
from files.tables import ids_of, read_table, write_table
from noise.seeds import generator

IMAGES = generator(1, "images").random((7, 20, 24))


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


def test_replacing_is_all_or_nothing(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_names_of_images_survive_the_tables(tmp_path):
    names = ["NA", "007", "a, b", 'say "no"', "ä"]
    write_table(tmp_path / "split.csv", [{"id": name, "part": "test"} for name in names])
    assert ids_of("test", tmp_path / "split.csv") == names
    assert ids_of("train", tmp_path / "split.csv") == []


def test_tables_are_written_as_pandas_does(tmp_path):
    lines = [
        {"id": "NA", "ssim": np.float64(1) / 3, "count": 5, "none": None},
        {"id": 'a, "b"', "ssim": np.inf, "count": 0, "none": None},
    ]
    write_table(tmp_path / "ours.csv", lines)
    pd.DataFrame(lines).to_csv(tmp_path / "pandas.csv", index=False)
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "pandas.csv").read_bytes()
    assert [line["id"] for line in read_table(tmp_path / "ours.csv")] == ["NA", 'a, "b"']
