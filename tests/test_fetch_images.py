"""Getting images from folders, archives and servers that misbehave, and verifying them."""

import hashlib
import io
import os
import re
import shutil
import stat
import tarfile
import threading
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

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

NAMES = ["001", "002", "003"]
ROOT = Path(__file__).resolve().parents[1]
REAL_MANIFEST = ROOT / "resources" / "isbi2015.csv"


def film(number: int) -> Image.Image:
    """A synthetic film: smooth blobs that differ from film to film."""
    coarse = np.random.default_rng(number).integers(0, 256, (18, 15), dtype=np.uint8)
    return Image.fromarray(coarse).resize((150, 180), Image.Resampling.BICUBIC).convert("RGB")


@pytest.fixture
def place(tmp_path):
    """A folder `films` of three images, their manifest, and the target to fill."""
    films = tmp_path / "films"
    films.mkdir()
    for name in NAMES:
        film(int(name)).save(films / f"{name}.jpg")
    make_manifest(films, tmp_path / "manifest.csv")
    manifest = read_manifest(tmp_path / "manifest.csv")
    (tmp_path / "data").mkdir()
    target = tmp_path / "data" / "images"
    return SimpleNamespace(
        root=tmp_path,
        films=films,
        manifest=manifest,
        target=target,
        checksums=tmp_path / "data" / "images.csv",
    )


def fetch(place, *sources, films="manifest", attempts=3):
    wanted = place.manifest if films == "manifest" else films
    fetch_images(sources, place.target, place.checksums, wanted, attempts=attempts, backoff=0.01)


def refused(place, *sources, **options) -> str:
    """Return the message with which sources are refused; nothing half-written may be left."""
    with pytest.raises(InputError) as caught:
        fetch(place, *sources, **options)
    assert {path.name for path in place.target.parent.iterdir()} <= {"images.download"}
    return str(caught.value)


def fetched(place) -> list[str]:
    """Return the names of the images; only the table of their checksums may be beside them."""
    assert sorted(place.target.parent.iterdir()) == [place.target, place.checksums]
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in place.target.iterdir()}
    table = {line["file"]: line["sha256"] for line in read_table(place.checksums)}
    assert table == files
    assert list(table) == sorted(table)
    return list(table)


def forget(place) -> None:
    """Delete what was fetched, as Snakemake does before it fetches again."""
    shutil.rmtree(place.target)
    place.checksums.unlink()


def zipped(place, members=None, name="films.zip") -> Path:
    """Write a zip of `members` (name -> bytes), by default the films in a folder."""
    if members is None:
        members = {f"a/b/{path.name}": path.read_bytes() for path in place.films.iterdir()}
    with zipfile.ZipFile(place.root / name, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return place.root / name


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


# ------------------------------------------------------------------------- folders and archives


def test_a_folder_is_read_in_place(place):
    fetch(place, place.films)
    assert fetched(place) == ["001.jpg", "002.jpg", "003.jpg"]
    for path in place.target.iterdir():
        assert path.readlink() == place.films / path.name


def test_names_that_are_no_text_are_refused(place):
    name = os.fsdecode(b"f\xfclm.png")  # Latin-1
    film(1).save(place.films / "other.png")
    (place.films / "other.png").rename(place.films / name)
    message = refused(place, place.films, films=None)
    assert "f\\udcfclm.png': the name of this image is not UTF-8; rename it" in message
    message.encode()
    fetch(place, place.films)  # the manifest has no such name


def test_the_home_directory_and_subfolders_are_found(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place.root))
    (place.root / "unpacked").mkdir()
    place.films.rename(place.root / "unpacked" / "films")
    fetch(place, "~/unpacked")
    assert len(fetched(place)) == 3


def test_a_source_may_be_given_relative_to_the_working_directory(place, monkeypatch):
    monkeypatch.chdir(place.root)
    fetch(place, "films")
    assert len(fetched(place)) == 3


def test_an_earlier_result_is_replaced(place):
    place.target.mkdir()
    (place.target / "old.jpg").touch()
    fetch(place, place.films)
    assert fetched(place) == ["001.jpg", "002.jpg", "003.jpg"]


def test_a_zip_is_unpacked_by_base_name(place):
    members = {f"a/{path.name}": path.read_bytes() for path in place.films.iterdir()}
    members |= {"a/readme.txt": b"text", "__MACOSX/a/._001.jpg": b"junk", "a/004.jpg": b"other"}
    fetch(place, zipped(place, members))
    assert fetched(place) == ["001.jpg", "002.jpg", "003.jpg"]
    assert not any(path.is_symlink() for path in place.target.iterdir())


def test_hidden_files_and_folders_are_no_images(place):
    members = {"a.png": encoded(film(1), "PNG"), "__MACOSX/._a.png": b"junk", "folder.jpg/": b""}
    fetch(place, zipped(place, members), films=None)
    assert fetched(place) == ["a.png"]


@pytest.mark.parametrize("kind", ["", "gz", "xz"])
def test_a_tar_is_unpacked(place, kind):
    with tarfile.open(place.root / "films.tar", f"w:{kind}") as archive:
        archive.add(place.films, "films")
    fetch(place, place.root / "films.tar")
    assert len(fetched(place)) == 3


def test_names_never_lead_outside(place):
    one, two, three = (path.read_bytes() for path in sorted(place.films.iterdir()))
    outside = place.root / "003.jpg"
    members = {"../001.jpg": one, "..\\..\\002.jpg": two, str(outside): three}
    before = sorted(place.root.iterdir())
    fetch(place, zipped(place, members))
    assert len(fetched(place)) == 3
    assert sorted(place.root.iterdir()) == sorted([*before, place.root / "films.zip"])


def test_links_in_a_tar_are_not_followed(place):
    with tarfile.open(place.root / "films.tar", "w") as archive:
        link = tarfile.TarInfo("001.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, str(place.films / "001.jpg")
        archive.addfile(link)
        for name in NAMES[1:]:
            archive.add(place.films / f"{name}.jpg", f"{name}.jpg")
    assert "1 of 3 are missing: 001" in refused(place, place.root / "films.tar")


def test_rars_beside_images_are_left_alone_and_images_of_14_mb_are_no_bombs(place):
    members = {"a.bmp": bytes(14_000_000), "b.rar": rared({"b.jpg": encoded(film(1), "JPEG")})}
    for member in archives.members(zipped(place, members), place.root):
        assert member.origin == "a.bmp"
        member.place(place.root / "a.bmp")
    assert (place.root / "a.bmp").stat().st_size == 14_000_000


@pytest.mark.parametrize("kind", ["zip", "tar", "rar"])
def test_a_bomb_is_refused(place, monkeypatch, kind):
    monkeypatch.setattr(archives, "LARGEST_IMAGE", 2_000_000)
    bomb = place.films / "002.jpg"
    bomb.write_bytes(bytes(3_000_000))
    if kind == "zip":
        source = zipped(place)
    elif kind == "rar":
        source = place.root / "films.rar"
        source.write_bytes(rared({"002.jpg": bytes(3_000_000)}))
    else:
        source = place.root / "films.tar"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(place.films, "films")
    assert "002.jpg unpacks to more than 2 MB" in refused(place, source)


@pytest.mark.parametrize("cut", [10, 3000])
def test_damaged_archives_are_refused(place, cut):
    source = zipped(place)
    source.write_bytes(source.read_bytes()[:-cut])
    assert "no complete zip, tar or rar archive" in refused(place, source)


def test_damaged_content_is_refused(place):
    source = zipped(place)
    content = bytearray(source.read_bytes())
    content[500] ^= 0xFF
    source.write_bytes(content)
    assert "Bad CRC-32" in refused(place, source)


def test_the_member_that_agrees_with_the_manifest_is_preferred(place):
    right = (place.films / "001.jpg").read_bytes()
    png, wrong = encoded(film(1), "PNG"), encoded(film(9), "JPEG")
    others = {name: (place.films / name).read_bytes() for name in ("002.jpg", "003.jpg")}
    for members in (
        {"a/001.jpg": wrong, "b/001.jpg": right, "c/001.png": png},
        {"a/001.png": png, "b/001.jpg": right, "c/001.jpg": wrong},
        {"a/001.jpg": right, "b/001.png": png, "c/001.bmp": b"no image"},
    ):
        fetch(place, zipped(place, members | others))
        assert fetched(place) == ["001.jpg", "002.jpg", "003.jpg"]
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
        body += vint(1) + vint(len(name)) + name.encode()
        blocks.append(rar_block(2, body, b"packed" if method else content, extra))
    return b"Rar!\x1a\x07\x01\x00" + b"".join(blocks) + rar_block(5, vint(0))


def stand_in(place, monkeypatch, script: str) -> None:
    """Let bsdtar, and no other tool, be there for RARs: a script that is called in its place."""
    monkeypatch.setattr(rarfile, "CURRENT_SETUP", None)
    monkeypatch.setenv("PATH", str(place.root / "tools"))
    (place.root / "tools").mkdir(exist_ok=True)
    tool = place.root / "tools" / "bsdtar"
    tool.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit\n{script}')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def films(place) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(place.films.iterdir())}


@pytest.mark.parametrize("zipped_again", [False, True])
def test_a_rar_is_unpacked_by_base_name(place, films, zipped_again):
    members = {f"../a/{name}": content for name, content in films.items()}
    members |= {"a/readme.txt": b"text", "a/004.jpg": b"other"}
    if zipped_again:
        source = zipped(place, {"RawImage.rar": rared(members)})
    else:
        source = place.root / "films.rar"
        source.write_bytes(rared(members))
    before = sorted(place.root.iterdir())
    fetch(place, source)
    assert fetched(place) == ["001.jpg", "002.jpg", "003.jpg"]
    assert sorted(place.root.iterdir()) == before


def test_what_is_compressed_in_a_rar_needs_a_tool(place, films, monkeypatch):
    monkeypatch.setattr(rarfile, "CURRENT_SETUP", None)
    monkeypatch.setenv("PATH", str(place.root / "tools"))
    source = zipped(place, {"RawImage.rar": rared(films, method=3)})
    assert "install unrar, unar, 7z or bsdtar" in refused(place, source)

    # It gets an excerpt of one member, which has to be in the folder for scratch.
    stand_in(
        place,
        monkeypatch,
        f"""case "$1 $2 $3" in "-xOf {place.target.parent}"/.images.partial/*" --")
        for film in {place.films}/*; do
            /bin/grep -q "${{film##*/}}" "$2" && /bin/cat "$film"
        done; esac""",
    )
    fetch(place, source)
    assert fetched(place) == ["001.jpg", "002.jpg", "003.jpg"]

    forget(place)
    stand_in(place, monkeypatch, f"/bin/cat {place.films}/001.jpg")
    assert "002.jpg cannot be unpacked" in refused(place, source)
    stand_in(place, monkeypatch, "exit 1")
    message = refused(place, source)
    assert "001.jpg cannot be unpacked" in message
    assert "install unrar" in message


def test_names_in_a_solid_rar_are_no_options_for_the_tool(place, monkeypatch, caplog):
    """Of a solid archive the tool gets the whole, and a member's name."""
    source = place.root / "films.rar"
    source.write_bytes(rared({"--option.jpg": b"content"}, method=3, flags=4))
    stand_in(place, monkeypatch, f'[ "$*" = "-xOf {source} -- --option.jpg" ] && echo -n content')
    (member,) = archives.members(source, place.root)
    member.place(place.root / "image.jpg")
    assert (place.root / "image.jpg").read_bytes() == b"content"
    assert "the RAR is solid: if this takes too long, unpack it by hand" in caplog.text


def test_links_in_a_rar_are_not_followed(place, films):
    goal = str(place.films / "001.jpg").encode()
    link = bytes([5, 1, 0]) + vint(len(goal)) + goal
    source = place.root / "films.rar"
    source.write_bytes(rared({"001.jpg": b""}, extra=vint(len(link)) + link))
    assert list(archives.members(source, place.root)) == []
    assert "holds no images" in refused(place, source)


def test_damaged_and_encrypted_rars_are_refused(place, films):
    source, whole = place.root / "films.rar", rared(films)
    for cut in (1, 10, 3000):
        source.write_bytes(whole[:-cut])
        assert "Unexpected EOF" in refused(place, source)
    source.write_bytes(whole.replace(films["002.jpg"], films["002.jpg"][::-1]))
    assert "002.jpg cannot be unpacked (Corrupt file" in refused(place, source)
    key = bytes([36, 1, 0, 0, 15]) + bytes(32)
    source.write_bytes(rared(films, extra=key))
    assert "the RAR is encrypted" in refused(place, source)


# --------------------------------------------------------------------------------- verification


@pytest.mark.parametrize("kind", ["png", "bmp", "jpeg"])
def test_other_encodings_of_a_film_are_accepted(place, kind):
    (place.films / "002.jpg").unlink()
    film(2).convert("L").save(place.films / f"002.{kind}")
    fetch(place, place.films)
    assert fetched(place) == ["001.jpg", f"002.{kind}", "003.jpg"]


def test_a_wrong_film_is_named(place):
    (place.films / "001.jpg").rename(place.root / "x.jpg")
    (place.films / "002.jpg").rename(place.films / "001.jpg")
    film(1).save(place.films / "002.jpg", quality=60)
    (place.films / "003.jpg").unlink()
    film(9).save(place.films / "003.png")
    message = refused(place, place.films)
    assert f"{place.films}/001.jpg shows film 002 instead of 001" in message
    assert f"{place.films}/002.jpg shows film 001 instead of 002" in message
    assert f"{place.films}/003.png shows none of the 3 films" in message


def test_missing_and_damaged_images_are_named(place):
    (place.films / "001.jpg").unlink()
    (place.films / "002.jpg").write_bytes((place.films / "002.jpg").read_bytes()[:2000])
    (place.films / "003.jpg").write_text("no image")
    message = refused(place, place.films)
    assert "1 of 3 are missing: 001" in message
    assert f"{place.films}/002.jpg cannot be read as an image" in message
    assert f"{place.films}/003.jpg cannot be read as an image" in message


def test_a_link_to_nowhere_is_named(place):
    (place.films / "001.jpg").rename(place.root / "x.jpg")
    (place.films / "001.jpg").symlink_to(place.root / "y.jpg")
    assert f"{place.films}/001.jpg" in refused(place, place.films)


def test_images_of_ones_own_need_only_be_readable(place):
    film(5).save(place.films / "a patient.TIFF")
    fetch(place, place.films, films=None)
    assert fetched(place) == ["001.jpg", "002.jpg", "003.jpg", "a patient.tiff"]
    forget(place)
    (place.films / "b.png").write_text("no image")
    message = refused(place, place.films, films=None)
    assert f"{place.films}/b.png cannot be read" in message
    assert "Kaggle" not in message


def test_two_images_of_one_name_are_refused(place):
    members = {"a/x.jpg": encoded(film(1), "JPEG"), "b/x.png": encoded(film(2), "PNG")}
    message = refused(place, zipped(place, members), films=None)
    assert "b/x.png and a/x.jpg have the same name" in message


def test_when_all_sources_fail_the_message_has_each_fault_and_all_ways(place, monkeypatch):
    def refuse(url, *arguments):
        raise InputError("is down")

    monkeypatch.setattr(module, "download", refuse)
    urls = yaml.safe_load((ROOT / "config.yaml").read_text())["datasets"]["isbi2015"]["sources"]
    (place.root / "empty").mkdir()
    message = refused(place, *urls, place.root / "absent.zip", place.root / "empty")
    assert f"{place.root}/absent.zip does not exist" in message
    assert "holds no images" in message
    assert message.count("is down") == len(urls) == 3
    ways = message.partition("Ways to get the images")[2]
    for way in ("github.com", "figshare", "kaggle", "ntust.edu.tw", *urls):
        assert way in ways
    assert "--config 'datasets={isbi2015: {sources: [FOLDER_OR_ARCHIVE]}}'" in message
    assert "No sources are set" in refused(place)
    # Sources of one's own take the place of the configured ones.
    ways = refused(place, place.root / "empty").partition("Ways to get the images")[2]
    for way in ("URL that config.yaml has", "kaggle", "ntust.edu.tw"):
        assert way in ways


def test_the_next_source_is_tried(place):
    fetch(place, place.root / "absent", zipped(place, {"001.jpg": b"x"}), place.films)
    assert len(fetched(place)) == 3


def test_the_script_reads_configuration_and_manifest(place):
    snakemake = SimpleNamespace(
        wildcards=SimpleNamespace(dataset="isbi2015"),
        config={"datasets": {"isbi2015": {"sources": [str(place.films)]}}},
        input={"manifest": str(place.root / "manifest.csv")},
        output=SimpleNamespace(images=str(place.target), checksums=str(place.checksums)),
    )
    module.main(snakemake)
    assert len(fetched(place)) == 3


# ------------------------------------------------------------------------------------ downloads


class Server:
    """A server on this machine that serves `content` and misbehaves as told; it keeps requests."""

    def __init__(self, content: bytes) -> None:
        self.content, self.etag = content, '"one"'
        self.ranges = True
        self.claimed: int | None = None  # the length that it says, if not the true one
        self.cuts: list[int] = []  # after how many bytes the next answers break off
        self.told: list[int] = []  # where the next parts begin, if not at the asked byte
        self.errors: list[int] = []  # statuses of the next answers
        self.requests: list[dict] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(dict(self.headers))
                if self.path == "/loop.zip":
                    self.send_response(302)
                    self.send_header("Location", "/loop.zip")
                    self.end_headers()
                    return
                if server.errors:
                    self.send_error(server.errors.pop(0))
                    return
                server.answer(self)

            def log_message(self, *arguments) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/films.zip"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        start, total = 0, len(self.content)
        wanted = handler.headers.get("Range")
        current = handler.headers.get("If-Range", self.etag) == self.etag
        if self.ranges and wanted and current:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= total:
                handler.send_error(416)
                return
            handler.send_response(206)
            told = self.told.pop(0) if self.told else start
            handler.send_header("Content-Range", f"bytes {told}-{total - 1}/{total}")
        else:
            handler.send_response(200)
            total = self.claimed or total
        handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(total - start))
        handler.end_headers()
        end = start + self.cuts.pop(0) if self.cuts else total
        handler.wfile.write(self.content[start:end])


@pytest.fixture
def server(place):
    members = {path.name: path.read_bytes() for path in place.films.iterdir()}
    padding = np.random.default_rng(0).bytes(300_000)  # so that there are several blocks to lose
    server = Server(zipped(place, {"padding": padding, **members}).read_bytes())
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_an_archive_is_downloaded(place, server):
    fetch(place, server.url.replace("http", "HTTP"))
    assert len(fetched(place)) == 3
    assert len(server.requests) == 1
    assert server.requests[0]["Accept-Encoding"] == "identity"


def test_a_cut_connection_is_resumed(place, server):
    server.cuts = [5 * BLOCK + 1000, 3 * BLOCK + 1, BLOCK, BLOCK]  # more than there are attempts
    fetch(place, server.url)
    assert len(fetched(place)) == 3
    ranges = [request.get("Range") for request in server.requests]
    assert ranges == [None, *(f"bytes={blocks * BLOCK}-" for blocks in (5, 8, 9, 10))]
    assert server.requests[1]["If-Range"] == '"one"'


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_may_be_cut_at_any_byte(place, server, ranges):
    """At each of some hundred places: all at the start, the end and the ends of blocks."""
    server.content = server.content[-3 * BLOCK :]  # the archive's end: what counts is each byte
    server.ranges = ranges
    size = len(server.content)
    around = [edge + shift for edge in range(0, size + 1, BLOCK) for shift in (-2, -1, 0, 1, 2)]
    cuts = sorted({cut for cut in [*around, *range(0, size, 1009)] if 0 <= cut < size})
    assert len(cuts) > 60
    for cut in cuts:
        server.cuts = [cut]
        folder = place.root / f"cut {cut}"
        file = download(server.url, folder, attempts=2, backoff=0)
        assert file.read_bytes() == server.content, cut
        assert not server.cuts


@pytest.mark.parametrize(
    ("claimed", "message"), [(-5000, "complete zip"), (5000, "was cut|Incomplete")]
)
def test_a_wrong_length_is_noticed(place, server, claimed, message):
    server.ranges = False
    server.claimed = len(server.content) + claimed
    assert re.search(message, refused(place, server.url))


def test_a_later_try_goes_on_with_an_interrupted_download(place, server):
    server.cuts = [2 * BLOCK]
    refused(place, server.url, attempts=1)
    fetch(place, server.url)
    assert len(fetched(place)) == 3
    assert server.requests[1]["Range"] == f"bytes={2 * BLOCK}-"


def test_a_complete_part_that_was_not_yet_renamed_is_downloaded_again(place, server):
    file = download(server.url, place.root / "downloads")
    assert download(server.url, place.root / "downloads") == file
    assert len(server.requests) == 1  # the job was stopped while it unpacked
    file.rename(file.with_suffix(".part"))
    assert download(server.url, place.root / "downloads", attempts=2, backoff=0) == file
    assert file.read_bytes() == server.content
    ranges = [request.get("Range") for request in server.requests]
    assert ranges == [None, f"bytes={len(server.content)}-", None]


def test_a_part_from_another_place_is_not_appended(place, server):
    server.cuts, server.told = [2 * BLOCK], [BLOCK]
    file = download(server.url, place.root / "downloads", attempts=3, backoff=0)
    assert file.read_bytes() == server.content
    assert len(server.requests) == 3


def test_a_server_without_ranges_sends_all_again(place, server):
    server.ranges = False
    server.cuts = [2 * BLOCK]
    fetch(place, server.url)
    assert len(fetched(place)) == 3


def test_a_server_that_always_cuts_at_the_same_place_is_given_up(place, server):
    server.ranges = False
    server.cuts = [2 * BLOCK] * 100
    assert "3 attempts failed" in refused(place, server.url)
    assert len(server.requests) == 3


def test_a_file_that_changed_meanwhile_is_downloaded_from_its_start(place, server):
    server.cuts = [2 * BLOCK]
    refused(place, server.url, attempts=1)
    members = {path.name: path.read_bytes() for path in place.films.iterdir()}
    server.content, server.etag = zipped(place, members).read_bytes(), '"two"'
    fetch(place, server.url)
    assert len(fetched(place)) == 3


@pytest.mark.parametrize("errors", [[503, 429], [408, 500]])
def test_a_failing_server_is_tried_again(place, server, errors):
    server.errors = list(errors)
    fetch(place, server.url)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("errors", "requests", "message"),
    [([404], 1, "answers 404"), ([403], 1, "answers 403"), ([500] * 9, 3, "answers 500")],
)
def test_refusals_lead_to_the_next_source(place, server, errors, requests, message):
    server.errors = list(errors)
    assert message in refused(place, server.url)
    assert len(server.requests) == requests
    server.errors = list(errors)
    fetch(place, server.url, place.films)
    assert len(fetched(place)) == 3


def test_the_waits_between_attempts_double(place, server, monkeypatch):
    waits = []
    monkeypatch.setattr("images.downloads.time.sleep", waits.append)
    server.errors = [500] * 3
    download(server.url, place.root / "downloads", attempts=4, backoff=3)
    assert waits == [3, 6, 12]


@pytest.mark.parametrize("start", [b"\n", b"\xef\xbb\xbf"])
def test_a_web_page_is_recognised(place, server, start):
    server.content = start + b"<!DOCTYPE html><html><body>Please log in</body></html>"
    assert "sends a web page instead of an archive" in refused(place, server.url)


def test_a_redirect_loop_ends(place, server):
    assert "redirects" in refused(place, server.url.replace("films", "loop"))
    assert len(server.requests) < 20


def test_a_download_that_fails_verification_is_not_kept(place, server):
    right = server.content
    members = {f"{name}.jpg": encoded(film(9), "JPEG") for name in NAMES}
    server.content = zipped(place, members).read_bytes()
    assert "shows none of the 3 films" in refused(place, server.url)
    assert list((place.root / "data" / "images.download").iterdir()) == []
    server.content = right
    fetch(place, server.url)
    assert len(fetched(place)) == 3


def test_a_server_that_is_down_is_named(place, server):
    server.http.shutdown()
    server.http.server_close()
    assert "refused" in refused(place, server.url)


# ------------------------------------------------------------------------------ the real images


def some_real(place, real_images) -> dict:
    """Link ten real images into the films' folder in place of the synthetic ones."""
    shutil.rmtree(place.films)
    place.films.mkdir()
    films = read_manifest(REAL_MANIFEST)
    names = [*list(films)[::45], "300"]
    for name in names:
        (place.films / f"{name}.jpg").symlink_to(real_images.absolute() / f"{name}.jpg")
    return {name: films[name] for name in names}


def test_real_images_are_accepted_as_files_and_in_another_encoding(place, real_images):
    films = some_real(place, real_images)
    (place.films / "300.jpg").unlink()
    Image.open(real_images / "300.jpg").save(place.films / "300.bmp")
    fetch(place, place.films, films=films)
    assert len(fetched(place)) == len(films)


def test_swapped_real_images_are_named(place, real_images):
    films = some_real(place, real_images)
    (place.films / "001.jpg").unlink()
    (place.films / "001.jpg").symlink_to(real_images.absolute() / "046.jpg")
    (place.films / "046.jpg").unlink()
    Image.open(real_images / "001.jpg").save(place.films / "046.jpg", quality=60)
    message = refused(place, place.films, films=films)
    assert "001.jpg shows film 046 instead of 001" in message
    assert "046.jpg shows film 001 instead of 046" in message


def test_the_manifest_tells_all_films_apart_but_known_duplicates():
    films = read_manifest(REAL_MANIFEST)
    assert list(films) == [f"{number:03d}" for number in range(1, 401)]
    prints = [film.fingerprint for film in films.values()]
    twins = sum(
        module.same_film(one, other) for k, one in enumerate(prints) for other in prints[:k]
    )
    assert twins == 19
