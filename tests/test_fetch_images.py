"""Getting images from folders, archives and servers that misbehave, and verifying them."""

import hashlib
import io
import os
import re
import shutil
import tarfile
import threading
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import rarfile
import yaml
from PIL import Image

import fetch_images as module
from engine.messages import InputError
from fetch_images import fetch_images, read_manifest
from files.tables import read_table
from images import archives
from images.downloads import BLOCK, download
from manifest import make_manifest

FILMS = ["001.jpg", "002.jpg", "003.jpg"]
ROOT = Path(__file__).resolve().parents[1]
REAL_MANIFEST = ROOT / "resources" / "isbi2015.csv"


def film(number: int) -> Image.Image:
    """A synthetic film: smooth blobs that differ from film to film."""
    coarse = np.random.default_rng(number).integers(0, 256, (18, 15), dtype=np.uint8)
    return Image.fromarray(coarse).resize((150, 180), Image.Resampling.BICUBIC).convert("RGB")


class Place:
    """A folder `films` of three images, their manifest, and the target to fill."""

    def __init__(self, root: Path) -> None:
        self.root, self.films = root, root / "films"
        self.films.mkdir()
        for number, name in enumerate(FILMS, 1):
            film(number).save(self.films / name)
        self.content = {name: (self.films / name).read_bytes() for name in FILMS}
        make_manifest(self.films, root / "manifest.csv")
        self.manifest = read_manifest(root / "manifest.csv")
        (root / "data").mkdir()
        self.target, self.checksums = root / "data" / "images", root / "data" / "images.csv"
        self.passed_over = root / "data" / "passed_over.txt"

    def fetch(self, *sources, attempts=3) -> list[str]:
        """Fetch the images of the manifest, or any if that is None, and return their names."""
        paths = self.target, self.checksums, self.passed_over
        fetch_images(sources, *paths, self.manifest, attempts=attempts, backoff=0.01)
        return self.fetched()

    def fetched(self) -> list[str]:
        """Return the names of the images; only the table of their checksums may be beside them."""
        made = [self.target, self.checksums, self.passed_over]
        assert sorted(self.target.parent.iterdir()) == made
        files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in self.target.iterdir()}
        table = {line["file"]: line["sha256"] for line in read_table(self.checksums)}
        assert list(table.items()) == sorted(files.items())
        return list(table)

    def refused(self, *sources, attempts=3) -> str:
        """Return the message with which sources are refused; nothing half-written may be left."""
        # As Snakemake does before it fetches again.
        shutil.rmtree(self.target, ignore_errors=True)
        self.checksums.unlink(missing_ok=True)
        self.passed_over.unlink(missing_ok=True)
        with pytest.raises(InputError) as caught:
            self.fetch(*sources, attempts=attempts)
        assert {path.name for path in self.target.parent.iterdir()} <= {"images.download"}
        return str(caught.value)

    def packed(self, kind, members: dict[str, bytes] | None = None, **options) -> Path:
        """Write an archive of `members` (name -> bytes), by default the films."""
        path, members = self.root / "archive", members or self.content
        if kind == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
        elif kind == "rar":
            path.write_bytes(rared(members, **options))
        else:
            with tarfile.open(path, f"w:{kind}") as archive:
                for name, content in members.items():
                    entry = tarfile.TarInfo(name)
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
        return path


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


# ------------------------------------------------------------------------- folders and archives


def test_a_folder_is_read_in_place(place, monkeypatch):
    """Given relative to the home or working directory, too, or its parent; it replaces results."""
    monkeypatch.setenv("HOME", str(place.root))
    monkeypatch.chdir(place.root)
    place.target.mkdir()
    (place.target / "old.jpg").touch()
    (place.root / "unpacked").mkdir()
    films = place.films.rename(place.root / "unpacked" / "films")
    for source in (films, "unpacked/films", "~/unpacked"):
        assert place.fetch(source) == FILMS
        assert {path.readlink() for path in place.target.iterdir()} == set(films.iterdir())


def test_names_that_are_no_text_are_refused(place):
    name = os.fsdecode(b"f\xfclm.png")  # Latin-1
    shutil.copy(place.films / "001.jpg", place.films / name)
    assert place.fetch(place.films) == FILMS  # the manifest has no such name
    place.manifest = None
    message = place.refused(place.films)
    assert "f\\udcfclm.png': the name of this image is not UTF-8; rename it" in message
    message.encode()


@pytest.mark.parametrize("kind", ["zip", "tar", "gz", "xz", "rar", "rar in a zip"])
def test_names_never_lead_outside(place, kind):
    """Archives are unpacked by base name, and of those only the images in the manifest."""
    names = ["../001.jpg", "..\\..\\002.jpg", str(place.root / "003.jpg")]
    members = dict(zip(names, place.content.values(), strict=True))
    members |= {"a/readme.txt": b"text", "__MACOSX/a/._001.jpg": b"junk", "a/004.jpg": b"other"}
    if kind == "rar in a zip":
        kind, members = "zip", {"RawImage.rar": rared(members)}
    source = place.packed(kind, members)
    before = sorted(place.root.iterdir())
    assert place.fetch(source) == FILMS
    assert sorted(place.root.iterdir()) == before
    assert not any(path.is_symlink() for path in place.target.iterdir())


def test_links_in_a_tar_are_not_followed(place):
    (place.films / "001.jpg").rename(place.root / "001.jpg")
    (place.films / "001.jpg").symlink_to(place.root / "001.jpg")
    with tarfile.open(place.root / "films.tar", "w") as archive:
        archive.add(place.films, "films")
    assert "1 of 3 are missing: 001" in place.refused(place.root / "films.tar")


def test_only_images_are_taken_and_of_14_mb_they_are_no_bombs(place):
    """Hidden files, folders and, beside images, RARs are left alone."""
    members = {"a.bmp": bytes(14_000_000), "b.rar": rared({"b.jpg": place.content["001.jpg"]})}
    members |= {"__MACOSX/._a.png": b"junk", "folder.jpg/": b""}
    for member in archives.members(place.packed("zip", members), place.root, []):
        assert member.origin == "a.bmp"
        member.place(place.root / "a.bmp")
    assert (place.root / "a.bmp").stat().st_size == 14_000_000


@pytest.mark.parametrize("kind", ["zip", "gz", "rar"])
def test_a_bomb_is_refused(place, monkeypatch, kind):
    monkeypatch.setattr(archives, "LARGEST_IMAGE", 2_000_000)
    source = place.packed(kind, place.content | {"002.jpg": bytes(3_000_000)})
    assert "002.jpg unpacks to more than 2 MB" in place.refused(source)


def test_damaged_and_encrypted_archives_are_refused(place):
    source, rar = place.packed("zip"), rared(place.content)
    whole, film = source.read_bytes(), place.content["002.jpg"]
    key = bytes([36, 1, 0, 0, 15]) + bytes(32)
    for content, message in (
        *((whole[:-cut], "no complete zip, tar or rar archive") for cut in (10, 3000)),
        (whole[:500] + bytes([whole[500] ^ 0xFF]) + whole[501:], "Bad CRC-32"),
        *((rar[:-cut], "Unexpected EOF") for cut in (1, 10, 3000)),
        (rar.replace(film, film[::-1]), "002.jpg cannot be unpacked (Corrupt file"),
        (rared(place.content, extra=key), "the RAR is encrypted"),
    ):
        source.write_bytes(content)
        assert message in place.refused(source)


def test_the_member_that_agrees_with_the_manifest_is_preferred(place):
    film(1).save(place.root / "001.png")
    png, (right, wrong, _) = (place.root / "001.png").read_bytes(), place.content.values()
    for members in (
        {"a/001.jpg": wrong, "b/001.jpg": right, "c/001.png": png},
        {"a/001.png": png, "b/001.jpg": right, "c/001.jpg": wrong},
        {"a/001.jpg": right, "b/001.png": png, "c/001.bmp": b"no image"},
    ):
        others = {name: place.content[name] for name in FILMS[1:]}
        assert place.fetch(place.packed("zip", members | others)) == FILMS
        assert (place.target / "001.jpg").read_bytes() == right


def vint(number: int) -> bytes:
    """Return a number as RAR 5 stores it: 7 bits a byte, the lowest first."""
    rest = number >> 7
    return bytes([number % 128 | 128 * bool(rest)]) + (vint(rest) if rest else b"")


def rar_block(kind: int, body: bytes, data: bytes = b"", extra: bytes = b"") -> bytes:
    flags = bool(extra) | 2 * bool(data)
    sizes = b"".join(vint(len(part)) for part in (extra, data) if part)
    head = vint(kind) + vint(flags) + sizes + body + extra
    head = vint(len(head)) + head
    return zlib.crc32(head).to_bytes(4, "little") + head + data


def rared(members: dict[str, bytes], method: int = 0, flags: int = 0, extra: bytes = b"") -> bytes:
    """Return a RAR of files. Method 0 stores them as they are; others hold `packed` in place."""
    blocks = [rar_block(1, vint(flags))]
    for name, content in members.items():
        crc = zlib.crc32(content).to_bytes(4, "little")
        body = vint(4) + vint(len(content)) + vint(0) + crc + vint(method << 7)
        body += vint(1) + vint(len(name.encode())) + name.encode()
        blocks.append(rar_block(2, body, b"packed" if method else content, extra))
    return b"Rar!\x1a\x07\x01\x00" + b"".join(blocks) + rar_block(5, vint(0))


def stand_in(place, monkeypatch, script: str | None) -> None:
    """Let no tool for RARs be there, or bsdtar alone: a script that is called in its place."""
    monkeypatch.setattr(rarfile, "CURRENT_SETUP", None)
    monkeypatch.setenv("PATH", str(place.root))
    if script:
        (place.root / "bsdtar").touch(0o700)
        (place.root / "bsdtar").write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit\n{script}')


def test_what_is_compressed_in_a_rar_needs_a_tool(place, monkeypatch):
    source = place.packed("zip", {"RawImage.rar": rared(place.content, method=3)})
    stand_in(place, monkeypatch, None)
    assert "install unrar, unar, 7z or bsdtar" in place.refused(source)

    # It gets an excerpt of one member, which has to be in the folder for scratch.
    script = f"""case "$1 $2 $3" in "-xOf {place.target.parent}"/.images.partial/*" --")
        for film in {place.films}/*; do
            /bin/grep -q "${{film##*/}}" "$2" && /bin/cat "$film"
        done; esac"""
    stand_in(place, monkeypatch, script)
    assert place.fetch(source) == FILMS
    stand_in(place, monkeypatch, f"/bin/cat {place.films}/001.jpg")
    assert "002.jpg cannot be unpacked" in place.refused(source)
    stand_in(place, monkeypatch, "exit 1")
    assert re.search("001.jpg cannot be unpacked .*install unrar", place.refused(source))


def test_names_in_a_solid_rar_are_no_options_for_the_tool(place, monkeypatch, caplog):
    """Of a solid archive the tool gets the whole, and a member's name."""
    source = place.packed("rar", {"--option.jpg": b"content"}, method=3, flags=4)
    script = f'[ "$*" = "-xOf {source} -- --option.jpg" ] && echo -n content'
    stand_in(place, monkeypatch, script)
    (member,) = archives.members(source, place.root, [])
    member.place(place.root / "image.jpg")
    assert (place.root / "image.jpg").read_bytes() == b"content"
    assert "the RAR is solid: if this takes too long, unpack it by hand" in caplog.text


def test_links_in_a_rar_are_not_followed(place):
    goal = str(place.films / "001.jpg").encode()
    link = bytes([5, 1, 0]) + vint(len(goal)) + goal
    source = place.packed("rar", {"001.jpg": b""}, extra=vint(len(link)) + link)
    assert list(archives.members(source, place.root, [])) == []
    assert "holds no images" in place.refused(source)


# --------------------------------------------------------------------------------- verification


def test_other_encodings_of_a_film_are_accepted(place):
    shutil.rmtree(place.films)
    place.films.mkdir()
    names = ["001.png", "002.bmp", "003.jpeg"]
    for number, name in enumerate(names, 1):
        film(number).convert("L").save(place.films / name)
    assert place.fetch(place.films) == names


def test_a_wrong_film_is_named(place):
    (place.films / "002.jpg").rename(place.films / "001.jpg")
    film(1).save(place.films / "002.jpg", quality=60)
    (place.films / "003.jpg").unlink()
    film(9).save(place.films / "003.png")
    message = place.refused(place.films)
    assert f"{place.films}/001.jpg shows film 002 instead of 001" in message
    assert f"{place.films}/002.jpg shows film 001 instead of 002" in message
    assert f"{place.films}/003.png shows none of the 3 films" in message


def test_missing_and_damaged_images_are_named(place):
    (place.films / "001.jpg").unlink()
    (place.films / "002.jpg").write_bytes(place.content["002.jpg"][:2000])
    (place.films / "003.jpg").write_text("no image")
    message = place.refused(place.films)
    assert "1 of 3 are missing: 001" in message
    assert f"{place.films}/002.jpg cannot be read as an image" in message
    assert f"{place.films}/003.jpg cannot be read as an image" in message
    (place.films / "001.jpg").symlink_to(place.root / "nowhere.jpg")
    assert f"{place.films}/001.jpg" in place.refused(place.films)


def test_images_of_ones_own_need_only_be_readable_and_of_different_names(place):
    place.manifest = None
    film(5).save(place.films / "a patient.TIFF")
    assert place.fetch(place.films) == [*FILMS, "a patient.tiff"]
    (place.films / "b.png").write_text("no image")
    message = place.refused(place.films)
    assert f"{place.films}/b.png cannot be read" in message
    assert "Kaggle" not in message
    members = {"a/x.jpg": place.content["001.jpg"], "a/x.png": b"a mask"}
    message = place.refused(place.packed("zip", members))
    assert "a/x.jpg and a/x.png have the same name" in message


@pytest.mark.parametrize("kind", ["folder", "zip", "gz", "rar"])
def test_files_that_are_no_images_are_named(place, caplog, kind):
    others = {"b.npy": b"b", "a.NPY": b"a", "noext": b"", ".DS_Store": b"", "Thumbs.db": b""}
    for name, content in others.items():
        (place.films / name).write_bytes(content)
    source = place.films if kind == "folder" else place.packed(kind, place.content | others)
    assert place.fetch(source) == FILMS  # with a manifest nothing is missed
    assert place.passed_over.read_text() == ""
    place.manifest = None
    place.fetch(source)
    where = f"{place.films}/" if kind == "folder" else ""
    text = f"passed over: 2 .npy, first: {where}a.NPY; 1 without a suffix, first: {where}noext"
    assert place.passed_over.read_text() == text
    assert text in caplog.text


def test_a_source_that_was_there_and_not_used_is_named(place, caplog):
    place.manifest = None
    place.fetch(place.films, place.root, place.root / "nowhere", "https://nowhere.org/a.zip")
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    rest = "was not used: of several sources the first that works is"
    assert warnings == [f"{place.root} {rest}"]


def test_when_all_sources_fail_the_message_has_each_fault_and_all_ways(place, monkeypatch):
    monkeypatch.setattr(module, "download", Mock(side_effect=InputError("is down")))
    urls = yaml.safe_load((ROOT / "config.yaml").read_text())["datasets"]["isbi2015"]["sources"]
    (place.root / "empty").mkdir()
    message = place.refused(*urls, place.root / "absent.zip", place.root / "empty")
    assert f"{place.root}/absent.zip does not exist" in message
    assert "holds no images" in message
    assert message.count("is down") == len(urls) == 3
    ways = message.partition("Ways to get the images")[2]
    config = "--config 'datasets={isbi2015: {sources: [FOLDER_OR_ARCHIVE]}}'"
    for way in ("github.com", "figshare", "kaggle", "ntust.edu.tw", config, *urls):
        assert way in ways
    assert "No sources are set" in place.refused()
    # Sources of one's own take the place of the configured ones.
    ways = place.refused(place.root / "empty").partition("Ways to get the images")[2]
    for way in ("URL that config.yaml has", "kaggle", "ntust.edu.tw"):
        assert way in ways


def test_the_script_reads_configuration_and_manifest_and_tries_the_next_source(place):
    sources = [place.root / "absent", place.packed("zip", {"001.jpg": b"x"}), place.films]
    snakemake = SimpleNamespace(
        wildcards=SimpleNamespace(dataset="isbi2015"),
        config={"datasets": {"isbi2015": {"sources": sources}}},
        input={"manifest": str(place.root / "manifest.csv")},
        output=SimpleNamespace(
            images=str(place.target),
            checksums=str(place.checksums),
            passed_over=str(place.passed_over),
        ),
    )
    module.main(snakemake)
    assert place.fetched() == FILMS


# ------------------------------------------------------------------------------------ downloads


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        told, wanted = self.server, self.headers.get("Range")
        told.requests.append(dict(self.headers))
        start, total = 0, len(told.content)
        fields = {"ETag": told.etag, "Location": "/films.zip"}
        if told.ranges and wanted and self.headers.get("If-Range", told.etag) == told.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            status = 206 if start < total else 416
            first = told.starts.pop(0) if told.starts else start
            fields["Content-Range"] = f"bytes {first}-{total - 1}/{total}"
        else:
            status, total = 200, told.claimed or total
        if told.statuses:
            status = told.statuses.pop(0)
        self.send_response(status)
        fields["Content-Length"] = str(total - start if status < 300 else 0)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        if status < 300:
            self.wfile.write(told.content[start : start + told.cuts.pop(0) if told.cuts else total])

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    """A server on this machine that serves `content` and misbehaves as told; it keeps requests."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/films.zip"
        self.content, self.etag = content, '"one"'
        self.ranges = True
        self.claimed: int | None = None  # the length that it says, if not the true one
        self.cuts: list[int] = []  # after how many bytes the next answers break off
        self.starts: list[int] = []  # where the next parts begin, if not at the asked byte
        self.statuses: list[int] = []  # of the next answers, if not the right one
        self.requests: list[dict] = []

    def asked(self) -> list[str | None]:
        """Return the ranges that were asked for."""
        return [request.get("Range") for request in self.requests]

    def downloaded(self, folder: Path, attempts: int) -> Path:
        file = download(self.url, folder, attempts, backoff=0)
        assert file.read_bytes() == self.content
        return file


@pytest.fixture
def server(place):
    # Padded so that there are several blocks to lose.
    members = {"padding": np.random.default_rng(0).bytes(300_000), **place.content}
    with Server(place.packed("zip", members).read_bytes()) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_cut_connection_is_resumed(place, server):
    server.cuts = [5 * BLOCK + 1000, 3 * BLOCK + 1, BLOCK, BLOCK]  # more than there are attempts
    assert place.fetch(server.url.replace("http", "HTTP")) == FILMS
    assert server.asked() == [None, *(f"bytes={blocks * BLOCK}-" for blocks in (5, 8, 9, 10))]
    assert server.requests[0]["Accept-Encoding"] == "identity"
    assert server.requests[1]["If-Range"] == '"one"'


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_may_be_cut_at_any_byte(tmp_path, server, ranges):
    """At each of some hundred places: all at the start, the end and the ends of blocks."""
    server.content = server.content[-3 * BLOCK :]  # the archive's end: what counts is each byte
    server.ranges = ranges
    cuts = [cut for cut in range(3 * BLOCK) if cut % 1009 == 0 or (cut + 2) % BLOCK < 5]
    assert len(cuts) > 60
    for cut in cuts:
        server.cuts = [cut]
        server.downloaded(tmp_path / f"cut {cut}", attempts=2)
        assert not server.cuts


def test_a_wrong_length_is_noticed(place, server):
    server.ranges = False
    for excess, message in ((-5000, "complete zip"), (5000, "was cut|Incomplete")):
        server.claimed = len(server.content) + excess
        assert re.search(message, place.refused(server.url))


def test_a_file_that_changed_meanwhile_is_downloaded_from_its_start(place, server):
    """If it did not change, a later try goes on with an interrupted download."""
    for changed in (False, True):
        server.cuts = [2 * BLOCK]
        place.refused(server.url, attempts=1)
        if changed:
            server.content, server.etag = place.packed("zip").read_bytes(), '"two"'
        assert place.fetch(server.url) == FILMS
    assert server.asked() == [None, f"bytes={2 * BLOCK}-"] * 2


def test_a_part_that_the_server_cannot_continue_is_downloaded_again(tmp_path, server):
    server.cuts, server.starts = [2 * BLOCK], [BLOCK]
    file = server.downloaded(tmp_path, attempts=3)
    assert server.asked() == [None, f"bytes={2 * BLOCK}-", None]
    assert server.downloaded(tmp_path, attempts=1) == file
    assert len(server.requests) == 3  # the job was stopped while it unpacked
    file.rename(file.with_suffix(".part"))
    assert server.downloaded(tmp_path, attempts=2) == file
    assert server.asked()[3:] == [f"bytes={len(server.content)}-", None]


def test_a_server_that_is_down_or_always_cuts_at_the_same_place_is_given_up(place, server):
    server.ranges, server.cuts = False, [2 * BLOCK] * 100
    assert "3 attempts failed" in place.refused(server.url)
    assert len(server.requests) == 3
    server.shutdown()
    server.server_close()
    assert "refused" in place.refused(server.url)


def test_a_failing_server_is_tried_again(place, server, monkeypatch):
    """The waits between the attempts double."""
    waits = []
    monkeypatch.setattr("images.downloads.time.sleep", waits.append)
    server.statuses = [503, 429, 408, 500]
    assert place.fetch(server.url, attempts=5) == FILMS
    assert len(server.requests) == 5
    assert waits == [0.01, 0.02, 0.04, 0.08]


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (500, 3)])
def test_refusals_lead_to_the_next_source(place, server, status, requests):
    server.statuses = [status] * 9
    assert f"answers {status}" in place.refused(server.url)
    assert len(server.requests) == requests
    assert place.fetch(server.url, place.films) == FILMS


def test_a_web_page_is_recognised(place, server):
    for start in (b"\n", b"\xef\xbb\xbf"):
        server.content = start + b"<!DOCTYPE html><html><body>Please log in</body></html>"
        assert "sends a web page instead of an archive" in place.refused(server.url)


def test_a_redirect_loop_ends(place, server):
    server.statuses = [302] * 30
    assert "redirects" in place.refused(server.url)
    assert len(server.requests) < 20


def test_a_download_that_fails_verification_is_not_kept(place, server):
    right = server.content
    wrong = place.packed("zip", dict.fromkeys(FILMS, place.content["001.jpg"]))
    server.content = wrong.read_bytes()
    assert "002.jpg shows film 001 instead of 002" in place.refused(server.url)
    assert list((place.root / "data" / "images.download").iterdir()) == []
    server.content = right
    assert place.fetch(server.url) == FILMS


def test_real_images_are_accepted_in_another_encoding_and_named_if_swapped(place, real_images):
    shutil.rmtree(place.films)
    place.films.mkdir()
    films = read_manifest(REAL_MANIFEST)
    place.manifest = {name: films[name] for name in [*list(films)[::45], "300"]}
    for name in list(place.manifest)[:-1]:
        (place.films / f"{name}.jpg").symlink_to(real_images.absolute() / f"{name}.jpg")
    Image.open(real_images / "300.jpg").save(place.films / "300.bmp")
    assert len(place.fetch(place.films)) == len(place.manifest)
    (place.films / "046.jpg").rename(place.films / "001.jpg")
    Image.open(real_images / "001.jpg").save(place.films / "046.jpg", quality=60)
    message = place.refused(place.films)
    assert "001.jpg shows film 046 instead of 001" in message
    assert "046.jpg shows film 001 instead of 046" in message


def test_the_manifest_tells_all_films_apart_but_known_duplicates():
    films = read_manifest(REAL_MANIFEST)
    assert list(films) == [f"{number:03d}" for number in range(1, 401)]
    prints = [film.fingerprint for film in films.values()]
    twins = sum(module.same_film(one, other) for one, other in combinations(prints, 2))
    assert twins == 19
