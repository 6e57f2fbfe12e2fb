"""Which images train and which test, and that no film does both."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy import ndimage

import split_images
from conftest import ROOT, Project, own_images
from engine.configuration import checked, read_text
from engine.messages import InputError
from engine.plugins import ConfigurationError
from files.arrays import StoredImages
from files.tables import ids_of, read_table, write_table
from images.films import MOST_BITS_OF_TWINS, signs
from images.resizing import resize
from images.splits import first_ones, grouped
from images.twins import BITS, CANDIDATES, candidates, laid_on, moved, twins
from render_phantom import render

sys.path.insert(0, str(ROOT / "benchmarks"))

import twins as benchmark

IDS = [f"p{patient}/{number:03d}" for patient in (1, 2, 10) for number in (1, 2, 3)]


class Names(dict):
    __getattr__ = dict.__getitem__


class DataSet:
    """A prepared data set of small images, and what `split_images` makes of it."""

    def __init__(self, folder: Path, images: np.ndarray, ids: list[str]) -> None:
        self.folder = folder
        np.save(folder / "images.npy", images)
        write_table(folder / "ids.csv", [{"id": name} for name in ids])

    def split(self, table: str | None = None, **params: object) -> list[dict[str, str]]:
        names = ("train.npy", "test.npy", "split.csv", "twins.txt")
        own = {"train": None, "test": None, "patient": None, "duplicates": "refuse"}
        inputs = {"images": self.folder / "images.npy", "ids": self.folder / "ids.csv"}
        if table is not None:
            (self.folder / "table.csv").write_text(table)
            inputs["table"] = self.folder / "table.csv"
        split_images.main(
            SimpleNamespace(
                input=Names(inputs),
                output=Names({Path(name).stem: self.folder / name for name in names}),
                params=Names(own | params),
            )
        )
        return read_table(self.folder / "split.csv")

    def test_ids(self, **params: object) -> list[str]:
        return [line["id"] for line in self.split(**params) if line["part"] == "test"]


@pytest.fixture
def films(tmp_path: Path) -> DataSet:
    """Nine images of three patients, each of one grey level."""
    images = np.arange(9)[:, None, None] / 8 * np.ones((9, 16, 16))
    return DataSet(tmp_path, images, IDS)


def test_the_first_images_train_and_some_are_left():
    assert first_ones(range(400), 320) == ["train"] * 320 + ["test"] * 80
    assert first_ones(range(400), 0) == ["test"] * 400
    for train in (-1, 400, 401):
        with pytest.raises(InputError, match="allowed: 0 to 399"):
            first_ones(range(400), train)


@pytest.mark.parametrize(
    ("params", "test"),
    [
        ({"train": 4}, IDS[4:]),
        ({"test": ["p10/002", "p1/003"]}, ["p1/003", "p10/002"]),
        ({"test": "p2/*"}, IDS[3:6]),
        ({"test": "*[12]"}, [name for name in IDS if name[-1] in "12"]),
        ({"train": 3, "patient": "^(.*)/"}, IDS[3:]),
        ({"train": 4, "patient": "p[0-9]+"}, IDS[6:]),
        ({"test": "p2/*", "patient": "p[0-9]+"}, IDS[3:6]),
        # All of them, where no method learns from them: see test_transfer.py.
        ({"train": 0}, IDS),
        ({"test": "p*"}, IDS),
        ({"test": IDS}, IDS),
    ],
)
def test_images_test_by_number_name_pattern_and_patient(films: DataSet, params, test):
    split = films.split(**params)
    assert [line["id"] for line in split] == IDS
    assert [line["id"] for line in split if line["part"] == "test"] == test
    for part in ("train", "test"):  # in order
        places = [place for place, line in enumerate(split) if line["part"] == part]
        stored = np.load(films.folder / f"{part}.npy")
        np.testing.assert_array_equal(stored, np.load(films.folder / "images.npy")[places])
    patients = [name.split("/")[0] for name in IDS] if "patient" in params else [None] * 9
    assert [line.get("patient") for line in split] == patients


TABLE = "image,part\n" + "".join(f"{name},train\n" for name in IDS[:8]) + "p10/003,test\n"
OF_PATIENTS = "image,part,patient\n" + "".join(
    f"{name},{'test' if name.startswith('p2') else 'train'},{name[:-4]}\n" for name in reversed(IDS)
)


def test_a_table_says_part_and_patient(films: DataSet):
    assert films.test_ids(table=TABLE) == ["p10/003"]
    assert films.test_ids(table=OF_PATIENTS) == IDS[3:6]
    split = read_table(films.folder / "split.csv")
    assert [line["patient"] for line in split] == [name[:-4] for name in IDS]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"test": ["p1/001", "p7/001"]}, "test: the data set has no image p7/001"),
        ({"test": "q*"}, "names none of the 9 images"),
        ({"train": 9}, "train: 9 are for training; allowed: 0 to 8"),
        ({"train": 7, "patient": "p[0-9]+"}, "in 3 groups that stay together.*allowed: 0 to 6"),
        ({"train": 1, "patient": "p"}, "allowed: 0, as it is one group"),
        ({"train": 3, "patient": "p(1.*)/"}, "finds no patient in 3 of 9 names: p2/001"),
        ({"test": "*1", "patient": "p[0-9]+"}, "patients p1, p10, p2 images train and others"),
        ({"table": TABLE.replace("p1/001", "p1/x")}, "p1/x are not in .*; p1/001 are missing"),
        ({"table": TABLE + "p1/001,test\n"}, "p1/001 are there twice"),
        ({"table": TABLE.replace(",test", ",valid")}, "p10/003 are neither train nor test"),
        ({"table": TABLE.replace(",test", ",train")}, "all images are for train; some must test"),
        ({"table": TABLE.replace(",", ";")}, r"the columns \['image;part'\]"),
        ({"table": ""}, r"the columns \[\]"),
        ({"table": OF_PATIENTS.replace("train,p1\n", "test,p1\n", 1)}, "of the patients p1 images"),
        ({"table": OF_PATIENTS.replace("train,p1\n", "train,\n", 1)}, "p1/003 have no patient"),
        ({"table": OF_PATIENTS, "patient": "p."}, "patient: .* has patients too; give one"),
    ],
)
def test_what_can_not_be_is_refused_in_words(films: DataSet, params, words):
    with pytest.raises(InputError, match=words):
        films.split(**params)
    assert not list(films.folder.glob("split.csv"))


def test_groups_are_of_names_and_of_pairs():
    assert grouped(["a", "b", "a", "c"], []) == [0, 1, 0, 2]
    joined = grouped(["a", "b", "a", "c", "d"], [(1, 3), (3, 2)])
    assert joined[:4] == [joined[0]] * 4
    assert joined[4] != joined[0]


def refused(**entry: object) -> str:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    with pytest.raises(ConfigurationError) as error:
        checked(config, {"datasets": {"mine": {"sources": ["x"], **entry}}})
    return str(error.value)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "train: missing; or give `test`"),
        ({"train": 3, "test": ["1"]}, "test: `train` is given too; give one of the two"),
        ({"test": []}, "test: [] is not allowed; allowed: at least 1 entry"),
        ({"test": ["1", "1"]}, "allowed: each entry once"),
        ({"test": 5}, "test: 5 is not allowed; allowed: a value of type array or string"),
        ({"test": "*", "duplicates": "group"}, "duplicates: `test` says the part"),
        ({"train": 3, "duplicates": "no"}, "allowed: refuse, keep, group"),
        ({"train": 3, "patient": "(a)(b)"}, "patient: '(a)(b)' is not allowed"),
        ({"train": 3, "patient": "("}, "allowed: a regular expression with at most one group"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused_before_any_job(entry, words):
    assert words in refused(**entry)
    assert "datasets.mine" in refused(**entry)


def test_equal_images_are_refused_kept_or_put_together(tmp_path: Path):
    images = np.random.default_rng(1).random((6, 16, 16))
    images[5] = images[1]
    films = DataSet(tmp_path, images, list("abcdef"))
    with pytest.raises(InputError, match=r"b \(train\) and f \(test\), alike 1.000"):
        films.split(train=4)
    assert films.test_ids(train=4, duplicates="keep") == ["e", "f"]
    assert "1 pair of images of one film: b (train)" in (tmp_path / "twins.txt").read_text()
    assert films.test_ids(train=4, duplicates="group") == ["d", "e"]
    assert films.test_ids(train=1, duplicates="group") == list("bcdef")
    assert "b (test) and f (test)" in (tmp_path / "twins.txt").read_text()
    assert films.test_ids(train=4, duplicates=None) == ["e", "f"]
    assert (tmp_path / "twins.txt").read_text() == ""
    films.split(test="[a-b]", duplicates="keep")
    with pytest.raises(InputError, match="`duplicates`: group puts both into one part"):
        films.split(test="[a-b]")


@pytest.fixture(scope="module")
def phantoms() -> list[np.ndarray]:
    return [render(number, 128, seed=5) for number in range(1, 31)]


@pytest.mark.xdist_group("phantoms")
def test_planted_twins_are_found_and_no_others(tmp_path: Path, phantoms):
    rng = np.random.default_rng(7)
    others = [resize(benchmark.altered(film, rng), 128, 128) for film in phantoms[:10]]
    images = np.stack(phantoms + others)
    films = DataSet(tmp_path, images, [f"{number}" for number in range(40)])
    found = twins(StoredImages(tmp_path / "images.npy"), range(40), range(40))
    pairs = {(pair.first, pair.second) for pair in found}
    assert pairs <= {(number, 30 + number) for number in range(10)}
    assert len(pairs) >= 9
    # What the signs of whole images tell: why each is laid on the mean first.
    assert sum(same_signs(*images[[first, 30 + first]]) for first in range(10)) <= 1
    with pytest.raises(InputError, match=r"\(train\) and \d+ \(test\), alike 0.9"):
        films.split(train=30)
    test = films.test_ids(train=25, duplicates="group")
    assert not any({str(first), str(second)} & set(test) for first, second in pairs)


def same_signs(image: np.ndarray, other: np.ndarray) -> bool:
    return np.count_nonzero(signs(image) ^ signs(other)) <= MOST_BITS_OF_TWINS


@pytest.mark.xdist_group("phantoms")
def test_twins_are_found_among_a_few_and_not_at_sizes_that_show_too_little(
    tmp_path: Path, phantoms
):
    rng = np.random.default_rng(8)
    few = [*phantoms[:3], resize(benchmark.altered(phantoms[1], rng), 128, 128)]
    for size, found in ((128, [(1, 3)]), (64, [(1, 3)]), (63, [])):
        np.save(tmp_path / "images.npy", [resize(image, size, size) for image in few])
        pairs = twins(StoredImages(tmp_path / "images.npy"), [3, 0], [2, 1, 3])
        assert [pair[:2] for pair in pairs] == found


def test_images_without_contrast_are_no_twins(tmp_path: Path):
    np.save(tmp_path / "images.npy", [np.full((64, 64), level) for level in (0, 0.5, 1, 0.5)])
    found = twins(StoredImages(tmp_path / "images.npy"), range(4), range(4))
    assert found == [(1, 3, 1.0)]  # equal


def test_candidates_are_the_most_alike():
    signs = np.random.default_rng(2).random((700, BITS)) < 0.5
    signs[650] = signs[3] ^ (np.arange(BITS) < 20)
    signs[651] = signs[4] ^ (np.arange(BITS) < 90)
    assert candidates(signs, range(600, 700), range(600)) == {(3, 650)}
    assert candidates(signs, range(700), range(700)) == {(3, 650)}
    assert candidates(signs, range(700), range(700), most=90) >= {(3, 650), (4, 651)}
    assert candidates(signs, range(700), [3, 4]) == {(3, 650)}
    assert candidates(signs, [5, 6], [6, 7]) == {(5, 6), (5, 7), (6, 7)}  # few: all of them
    signs[100:200] = signs[3]
    assert len(candidates(signs, [3], range(100, 1), most=BITS)) == 0
    assert len(candidates(signs, range(600, 700), range(600), most=84)) == CANDIDATES


def test_an_image_is_laid_on_another():
    image = ndimage.gaussian_filter(np.random.default_rng(3).random((64, 64)), 3)
    image /= image.std()
    turned = np.array([[1.03, 0.05, 0.02], [-0.05, 0.98, -0.03], [0, 0, 1]])
    fixed = np.nan_to_num(moved(image, turned))
    np.testing.assert_allclose(laid_on(image, fixed), turned, atol=1e-3)
    np.testing.assert_array_equal(moved(image, np.eye(3)), image)
    astray = np.random.default_rng(4).random((64, 64))
    assert np.abs(laid_on(image, astray, steps=200) - np.eye(3)).max() < 0.5


@pytest.mark.slow
def test_a_run_says_which_images_test_and_which_are_there_twice(project: Project):
    images = own_images(project.folder)
    (images / "9.png").write_bytes((images / "2.png").read_bytes())
    (images / "10.png").write_bytes((images / "3.png").read_bytes())
    mine = f"sources: [{images}], train: 7"
    arguments = ["run=mine", "dataset=mine", "select={noise: [poisson_0.2_1], methods: [median]}"]
    done = project.snakemake("--config", *arguments, f"datasets={{mine: {{{mine}}}}}")
    assert done.returncode != 0
    assert "the test would be of films that train: 2 (train) and 9 (test), alike 1.000" in (
        done.stdout
    )
    mine += ", duplicates: keep"
    output = project.succeed(
        *("--config", *arguments, f"datasets={{mine: {{{mine}}}}}"), "--", "results/mine/table.md"
    )
    assert "7 train (0 to 6), 3 test (7 to 10)" in output.replace(" and ", ", ")
    assert "Data set mine: 2 pairs of images of one film: 2 (train) and 9 (test)" in output
    assert "split.csv" in output
    noisy = np.load(project.folder / "results/mine/noisy/poisson_0.2_1/test.npy")
    split = read_table(project.folder / "resources/datasets/mine/16px/split.csv")
    lines = [{"image": x["id"], "part": ("train", "test")[x["id"] in ("9", "10")]} for x in split]
    write_table(project.folder / "table.csv", lines)
    own = f"datasets={{other: {{sources: [{images}], test: table.csv, duplicates: keep}}}}"
    arguments = ["run=other", "dataset=other", *arguments[2:]]
    target = "results/other/noisy/poisson_0.2_1/test.npy"
    project.succeed("--config", *arguments, own, "--", target)
    assert ids_of("test", project.folder / "resources/datasets/other/16px/split.csv") == ["9", "10"]
    # The noise of an image does not depend on the split.
    again = np.load(project.folder / target)
    np.testing.assert_array_equal(again, noisy[1:])


def test_the_benchmark_tells_what_is_found(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(benchmark, "SIZE", 64)
    monkeypatch.setattr(benchmark, "TRAIN", 3)
    monkeypatch.setattr(benchmark, "scale", lambda count: {"fingerprints": count})
    for number in range(1, 5):
        levels = 255 * render(min(number, 3), 64, seed=9)  # the last two are equal
        Image.fromarray(levels.astype(np.uint8)).save(tmp_path / f"{number}.png")
    settings = {"phantoms": 6, "twins": 2, "seed": 5, "processes": 1, "images": tmp_path}
    page = benchmark.page(SimpleNamespace(**settings))
    rows = [[cell.strip() for cell in line.split("|")[1:5]] for line in page.splitlines()]
    assert ["3 phantoms (seed 77), 2 of them twice", "2", "2", "0"] in rows
    assert ["6 phantoms (seed 5), 2 of them twice", "2", "2", "0"] in rows
    assert ["4 real images", "1", "1", "0"] in rows
    assert ["4", "3", "1.000", ""] in rows


def test_the_page_gives_entries_that_can_be_used():
    text = (ROOT / "docs/images.md").read_text()
    (block,) = (text for text in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "by_" in text)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert {"by_name", "by_table"} <= checked(config, read_text(block))["datasets"].keys()
