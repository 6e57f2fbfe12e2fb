"""Folders in folders, archives of them, names of images, several sources, sources that change."""

import hashlib
import io
import os
import re
import shutil
import zipfile
from pathlib import Path, PurePosixPath
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from conftest import Project, own_images
from engine.messages import InputError
from fetch_images import fetch_images
from files.tables import read_table
from images import archives, naming
from resize_images import natural, resize_images
from test_fetch_images import rared

KINDS = ["folder", "zip", "gztar", "rar"]
ONE = ["--config", "select={methods: [median], noise: [gaussian_0.1_0_1]}", "dataset=mine"]


def png(number: int) -> bytes:
    """A PNG of 20 x 20 pixels of one shade, less than white by a number."""
    buffer = io.BytesIO()
    Image.new("L", (20, 20), 255 - number).save(buffer, "png")
    return buffer.getvalue()


class Source:
    """A folder `films` to be filled, also as an archive, and fetched."""

    def __init__(self, root: Path) -> None:
        self.root, self.films = root, root / "films"
        self.films.mkdir()
        (root / "data").mkdir()
        self.target = root / "data/images"
        self.checksums, self.passed_over = root / "data/images.csv", root / "data/passed_over.txt"

    def add(self, *names: str, folder: str = "films") -> list[str]:
        """Add images, each of another shade; a name without a suffix gets `.png`."""
        for number, name in enumerate(names, 1):
            path = self.root / folder / (name if PurePosixPath(name).suffix else f"{name}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(number))
        return list(names)

    def packed(self, kind: str) -> Path:
        """Return the folder, or an archive of it."""
        if kind == "folder":
            return self.films
        if kind == "rar":
            files = sorted(path for path in self.films.rglob("*") if path.is_file())
            content = {str(path.relative_to(self.films)): path.read_bytes() for path in files}
            (self.root / "films.rar").write_bytes(rared(content))
            return self.root / "films.rar"
        return Path(shutil.make_archive(str(self.root / "films"), kind, self.films))

    def zipped(self, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
        with zipfile.ZipFile(self.root / "films.zip", "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return self.root / "films.zip"

    def fetch(self, *sources: Path | str, join: bool = False) -> dict[str, str]:
        """Fetch the images; return the digests of the files by path."""
        paths = self.target, self.checksums, self.passed_over
        fetch_images([*map(str, sources)], *paths, None, "mine", 1, 0, join)
        files = {path for path in self.target.rglob("*") if path.is_file()}
        found = {line["file"]: line["sha256"] for line in read_table(self.checksums)}
        assert found == {
            str(path.relative_to(self.target)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }
        return found

    def refused(self, *sources: Path | str, join: bool = False) -> str:
        shutil.rmtree(self.target, ignore_errors=True)
        with pytest.raises(InputError) as caught:
            self.fetch(*sources, join=join)
        assert not self.target.exists()
        return str(caught.value)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def shades(names: list[str]) -> dict[str, str]:
    """Return what `Source.fetch` gives of the images that `Source.add` adds."""
    return {
        f"{name}.png": hashlib.sha256(png(number)).hexdigest()
        for number, name in enumerate(names, 1)
    }


# ------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("below", ["", "a/b/"])
def test_a_folder_and_an_archive_of_it_hold_the_same_images(source, kind, below):
    names = ["one", "p1/001", "p1/002", "p2/001", "p2/deep/in 1"]
    source.add(*(below + name for name in names))
    assert source.fetch(source.packed(kind)) == shades(names)
    assert source.passed_over.read_text() == ""


def test_one_image_in_folders_is_called_by_its_name(source):
    source.add("a/b/x")
    assert list(source.fetch(source.films)) == ["x.png"]


LEFT_OVERS = [
    *(
        ".DS_Store",
        "._1.png",
        ".hidden.png",
        "Thumbs.db",
        "thumbs.db",
        "desktop.ini",
        "p1/Thumbs.db",
    ),
    *("__MACOSX/._1.png", "__MACOSX/p1/2.png", "@eaDir/1.png/thumb.png", "lost+found/3.png"),
    *(".ipynb_checkpoints/4.png", "$RECYCLE.BIN/5.png", "System Volume Information/6.png"),
    *("p1/@eaDir/7.png", ".git/8.png", "#recycle/9.png"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_behind_is_no_data(source, kind):
    """Neither images of the set, nor worth a word."""
    names = source.add("p1/1", "p2/1")
    for name in LEFT_OVERS:
        path = source.films / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(99))
    assert source.fetch(source.packed(kind)) == shades(names)
    assert source.passed_over.read_text() == ""


def test_links_to_folders_are_followed_but_never_in_circles(source, caplog):
    source.add("a/1", "b/1")
    source.add("far", folder="elsewhere/deep")
    for link, goal in {
        "linked": source.root / "elsewhere/deep",
        "a/itself": source.films / "a",
        "a/above": source.films,
        "a/top": source.root,
        "a/over": source.films / "b",  # which leads back
        "b/over": source.films / "a",
    }.items():
        (source.films / link).symlink_to(goal)
    found = ["a/1.png", "a/over/1.png", "b/1.png", "b/over/1.png", "linked/far.png"]
    assert list(source.fetch(source.films)) == found
    assert f"{source.films}/a/top leads back to {source.root}: not followed" in caplog.text


def test_pipes_are_no_files_and_broken_links_are_named(source):
    """Opening a pipe would wait for ever; a tar has links that are not followed."""
    names = source.add("1", "2")
    os.mkfifo(source.films / "pipe")
    assert source.fetch(source.films) == shades(names)
    assert source.passed_over.read_text() == ""
    (source.films / "gone.png").symlink_to("nowhere.png")
    assert source.fetch(source.packed("gztar")) == shades(names)
    said = "passed over: 1 .png, first: ./gone.png; 1 without a suffix, first: ./pipe"
    assert source.passed_over.read_text() == said
    assert "gone.png does not exist" in source.refused(source.films)


def test_hard_links_in_a_tar_are_read(source):
    source.add("1")
    os.link(source.films / "1.png", source.films / "2.png")
    assert list(source.fetch(source.packed("gztar"))) == ["1.png", "2.png"]


# --------------------------------------------------------------------------------- their starts


def by_start(name: str, start: bytes) -> bool:
    """As `holds_image` of DICOMs: without a suffix the start decides, and a DICOMDIR is none."""
    path = PurePosixPath(name)
    return path.name != "DICOMDIR" and (
        path.suffix == ".png" or (not path.suffix and start[128:] == b"DICM")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_files_without_a_suffix_are_known_by_their_start(source, kind, monkeypatch):
    monkeypatch.setattr(archives, "holds_image", by_start)
    source.add("A/0.png", "A/I5.png", "A/README.png", "DICOMDIR.png")
    dicom = bytes(128) + b"DICM and the rest"
    for name in ("A/I5", "B/C/I1", "DICOMDIR"):
        (source.films / f"{name}.png").unlink(missing_ok=True)
        (source.films / name).parent.mkdir(parents=True, exist_ok=True)
        (source.films / name).write_bytes(dicom)
    (source.films / "A/README.png").rename(source.films / "A/README")
    (source.films / "A/notes.txt").write_text("DICM")
    others: list[str] = []
    found = {}
    for member in archives.members(source.packed(kind), source.root, others):
        place = source.root / "placed"
        place.unlink(missing_ok=True)
        member.place(place)
        found[str(member.path)] = place.read_bytes()
    assert found == {"A/0.png": png(1), "A/I5": dicom, "B/C/I1": dicom}
    assert {PurePosixPath(name).name for name in others} == {"README", "notes.txt", "DICOMDIR"}


# --------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "pair",
    [
        ("p1/1.jpg", "p1/1.png"),
        ("p1/A.png", "p1/a.png"),
        ("P1/1.png", "p1/1.png"),
        ("1.png", "1.PNG"),
        *((normalize("NFC", f"{n}ü.png"), normalize("NFD", f"{n}ü.png")) for n in ("", "p/")),
    ],
)
def test_names_that_are_the_same_somewhere_are_refused(source, kind, pair):
    source.add(*pair, "other.png")
    message = source.refused(source.packed(kind))
    assert re.search(rf"{pair[0]} and .*{pair[1]} have the same name", message) or re.search(
        rf"{pair[1]} and .*{pair[0]} have the same name", message
    )
    assert "rename one of two, or move what is no image of the set" in message


def test_names_that_only_look_alike_are_kept_apart(source):
    names = source.add("Masse", "Maße", "1", "01", "p/1", "a b", "a  b")
    assert source.fetch(source.films) == shades(names)


@pytest.mark.parametrize("kind", KINDS)
def test_accents_are_composed(source, kind):
    source.add(*(normalize("NFD", name) for name in ("tür/köpfe", "1")))
    assert source.fetch(source.packed(kind)) == shades([normalize("NFC", "tür/köpfe"), "1"])


@pytest.mark.parametrize("kind", KINDS)
def test_strange_names_are_names(source, kind):
    names = [
        " a film ",
        "-rf",
        "two\nlines",
        "頭/😀",
        "x" * 251,
        "CON",
        "a:b",
        "a.b.c",
        "%41",
        "{a}",
    ]
    source.add(*(f"{name}.png" for name in names))
    assert source.fetch(source.packed(kind)) == shades(names)


def test_names_in_archives_lead_nowhere_else(source):
    names = ["../1.png", "/etc/2.png", "a\\3.png", "..\\..\\a\\4.png", "./b//5.png", "a/../6.png"]
    before = sorted(source.root.rglob("*"))
    archive = source.zipped({name: png(1) for name in names})
    found = ["1.png", "a/3.png", "a/4.png", "a/6.png", "b/5.png", "etc/2.png"]
    assert list(source.fetch(archive)) == found
    made = {*source.root.rglob("*")} - {*before}
    assert {p for p in made if "data" not in p.parts} == {archive}
    message = source.refused(source.zipped({"a/../1.png": png(1), "a/1.png": png(2)}))
    assert "a/../1.png and a/1.png have the same name" in message


def test_a_name_that_is_too_long_for_a_disk_is_named(source):
    archive = source.zipped({"a.png": png(1), f"{'x' * 300}.png": png(2)})
    assert f"{'x' * 300}.png" in source.refused(archive)


def test_folders_are_sorted_by_their_numbers(source):
    names = ["1", "2/1", "10", "p2/9", "p2/10", "p10/1", "p10 b/1"]
    assert sorted(map(Path, reversed(names)), key=natural)[3:] == [*map(Path, names[3:])]
    source.add(*names)
    source.fetch(source.films)
    resize_images(source.target, 16, source.root / "x.npy", source.root / "ids.csv")
    ids = [line["id"] for line in read_table(source.root / "ids.csv")]
    assert ids == ["1", "2/1", "10", "p2/9", "p2/10", "p10/1", "p10 b/1"]
    found = np.load(source.root / "x.npy")[:, 0, 0]
    np.testing.assert_allclose(found, 1 - np.arange(1, 8) / 255)


def test_equal_names_in_two_folders_are_two_images(source):
    """Also where depths are compared."""
    source.add("p1/1", "p2/1")
    Image.new("I;16", (20, 20), 65535).save(source.films / "p1/1.png")
    source.fetch(source.films)
    with pytest.raises(InputError, match=r"different depths .*first: p1/1\.png; .*first: p2/"):
        resize_images(source.target, 16, source.root / "x.npy", source.root / "ids.csv")


def test_one_is_one(source, caplog):
    caplog.set_level("INFO")
    source.add("1")
    source.fetch(source.films)
    source.add("2")
    source.fetch(source.films)
    assert f"mine: 1 image from {source.films}" in caplog.text
    assert f"mine: 2 images from {source.films}" in caplog.text


# ------------------------------------------------------------------------------ sizes and bombs


@pytest.mark.parametrize("kind", KINDS[:3])
def test_an_image_of_72_mb_is_read_from_an_archive_as_from_a_folder(source, kind):
    """Of 36 megapixels and 16 bits; what is read may have 200, and colours with a transparency."""
    with (source.films / "a.tiff").open("wb") as file:
        file.truncate(72_000_000)
    for member in archives.members(source.packed(kind), source.root, []):
        member.place(source.root / "placed")
    assert (source.root / "placed").stat().st_size == 72_000_000
    assert archives.LARGEST_IMAGE > 200e6 * 4 * 2


@pytest.mark.parametrize("kind", ["zip", "rar in a zip"])
def test_an_archive_that_grows_too_much_is_refused(source, kind, monkeypatch):
    """In many small steps, too, and also if it holds an archive that does."""
    monkeypatch.setattr(archives, "LARGEST_IMAGE", 10_000)
    members = {f"{number}.png": bytes(10_000) for number in range(100)}
    if kind == "rar in a zip":
        members = {"films.rar": rared(members)}
    archive = source.zipped(members, zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(archives, "MOST_GROWTH", 5)
    assert 5 * archive.stat().st_size < 900_000
    assert "unpacks to more than 5 times its size" in source.refused(archive)
    monkeypatch.setattr(archives, "MOST_GROWTH", 1000)
    assert "cannot be read as an image" in source.refused(archive)


# ------------------------------------------------------------------------------------- sources


def test_sources_are_joined(source):
    source.add("films/p1/1", "films/p2/1", folder="A")
    source.add("films/1", "films/2", folder="B")
    found = source.fetch(source.root / "A/films", source.root / "B/films", join=True)
    assert list(found) == ["A/p1/1.png", "A/p2/1.png", "B/1.png", "B/2.png"]
    (source.root / "A/films/p1/notes.txt").touch()
    archive = source.zipped({"1.png": png(7), "x.txt": b""})
    found = source.fetch(source.root / "A/films/p1", source.root / "B", archive, join=True)
    assert list(found) == ["B/1.png", "B/2.png", "films/1.png", "p1/1.png"]
    where = source.root / "A/films/p1/notes.txt"
    assert source.passed_over.read_text() == f"passed over: 2 .txt, first: {where}"


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["/a/x", "/b/y"], ["x", "y"]),
        (["/d/clinic 1/films", "/d/clinic 2/films/"], ["clinic 1", "clinic 2"]),
        (["/a/films.zip", "b/films.tar.gz", "c/films"], ["a", "b", "c"]),
        (["https://x.org/one.zip?private=1", "https://x.org/t%20wo"], ["one", "t wo"]),
        (["/a/X", "/b/x"], ["a", "b"]),
        ([f"/{form}/{normalize(form, 'ü')}" for form in ("NFC", "NFD")], ["NFC", "NFD"]),
        (["/a/x", "/b/x", "/b/y"], None),
        (["/a/x", "/a/x.zip"], None),
    ],
)
def test_names_of_sources_keep_them_apart(sources, names):
    if names:
        assert naming.folders_of(sources) == names
    else:
        with pytest.raises(InputError, match="no folder in their paths has another name in each"):
            naming.folders_of(sources)


def test_each_source_that_is_joined_has_to_work(source):
    source.add("1")
    message = source.refused(source.films, source.root / "absent", join=True)
    assert f"{source.root}/absent does not exist" in message
    assert "join: [FOLDER_OR_ARCHIVE_OR_URL]" in message
    (source.root / "empty").mkdir()
    assert "holds no images" in source.refused(source.root / "empty", source.films, join=True)


# ------------------------------------------------------------------------------- whole workflow


def test_ids_with_folders_go_through_the_whole_workflow(project: Project, source: Source):
    """Also the same numbers in several folders, and a name of two forms."""
    names = [f"p{patient}/{number:03d}" for patient in (1, 2, 10) for number in (1, 2)]
    names += ["tür\n<b>&/é, 1"]
    filled(source, names)
    dataset = f"datasets={{mine: {{sources: [{source.films}], train: 3}}}}"
    arguments = ["all", "figures", "page", *ONE, dataset]
    project.succeed(*arguments)
    results, data = project.folder / "results/mine", project.folder / "resources/datasets/mine"
    split = read_table(data / "16px/split.csv")
    assert [line["id"] for line in split] == names
    scores = read_table(results / "scores.csv")
    assert [line["image"] for line in scores] == 2 * names[3:]
    assert len({line["ssim"] for line in scores}) == 8  # also those of equal names differ
    page = (results / "report.html").read_text()
    shown = [name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for name in names]
    assert [name in page for name in shown] == 3 * [False] + 4 * [True]
    assert project.script("verify.py").returncode == 0
    assert project.planned(*arguments) == set()


def filled(source: Source, names: list[str]) -> None:
    """Fill the folder with images of noise."""
    for name, path in zip(
        names, own_images(source.root / "data", len(names)).iterdir(), strict=True
    ):
        place = source.films / f"{name}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)


def test_a_source_that_changed_is_named_at_the_next_size(project: Project, source: Source):
    filled(source, ["p1/1", "p1/2", "p2/1", "p3/1"])
    data = project.folder / "resources/datasets/mine"
    arguments = [*ONE, f"datasets={{mine: {{sources: [{source.films}], train: 1}}}}"]
    first, second = (str(data.relative_to(project.folder) / f"{n}px/images.npy") for n in (16, 32))
    project.succeed(first, *arguments)
    changed, gone = source.films / "p1/2.png", source.films / "p3/1.png"
    changed.write_bytes((source.films / "p1/1.png").read_bytes())
    gone.unlink()
    done = project.snakemake(second, *arguments)
    assert done.returncode != 0
    assert f"{changed} changed, {gone} is gone: put back what was fetched, or add" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (data / "32px").exists()
    project.succeed(second, *arguments, "--forcerun", "fetch_images")
    ids = [line["id"] for line in read_table(data / "32px/ids.csv")]
    assert ids == ["p1/1", "p1/2", "p2/1"]
    assert project.planned(first, *arguments) == {("resize_images",)}  # so that both sizes agree


def test_another_join_is_another_data_set(project: Project, source: Source):
    filled(source, ["a/1", "a/2", "b/1", "c/1"])
    target = "resources/datasets/mine/images.csv"

    def arguments(key: str, *folders: str) -> list[str]:
        listed = ", ".join(str(source.films / folder) for folder in folders)
        return [target, *ONE, f"datasets={{mine: {{{key}: [{listed}], train: 1}}}}"]

    project.succeed(*arguments("join", "a", "b"))
    files = [line["file"] for line in read_table(project.folder / target)]
    assert files == ["a/1.png", "a/2.png", "b/1.png"]
    assert project.planned(*arguments("join", "a", "b")) == set()
    for other in (("join", "a", "c"), ("sources", "a", "b")):
        assert project.planned(*arguments(*other)) == {("fetch_images",)}
