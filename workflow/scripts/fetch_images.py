"""Get the images of a data set: try its sources in order, verify what they hold, keep it whole.

A source is the URL of an archive, an archive (zip, tar, rar) or a folder. From an archive only the
images are unpacked; a folder is read in place, through links.
"""

import csv
import hashlib
import lzma
import re
import shutil
import subprocess
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

import requests

from common.images import SUFFIXES, fingerprint, read_grey, same_film
from common.job import InputError, Progress, log, run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

MEGABYTE = 10**6
LARGEST_IMAGE = 64 * MEGABYTE  # the largest of the known copies are BMPs of 14 MB
# What reading a source can raise when the source, and not this program, is at fault.
SOURCE_FAULTS = (
    InputError,
    OSError,  # among them all of requests' exceptions
    EOFError,
    RuntimeError,  # zipfile: encrypted, or a compression it does not know
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
)
RAR_TOOLS = {
    "unrar": ["x", "-idq", "-o+", "{archive}", "{folder}/"],
    "bsdtar": ["-x", "-f", "{archive}", "-C", "{folder}"],
    "unar": ["-quiet", "-output-directory", "{folder}", "{archive}"],
    "7z": ["x", "-y", "-bd", "-o{folder}", "{archive}"],
}
WAYS = """\
Ways to get the images:
  1. Download one of these with a browser:
       https://github.com/AhmedHesham307/Cephalometric-Analysis/archive/122a35bf70af93d677a3b0023f8d808e584dcdb3.zip
       https://github.com/Thiggel/Cephalometric-Landmark-Detection-Using-Contemporary-DL/archive/8438e22cb1312ce734bad284805e660b21020cd5.zip
       https://figshare.com/ndownloader/articles/3471833?private_link=37ec464af8e81ae6ebbf
         (the organisers' originals as a RAR; needs unrar, bsdtar, unar or 7z)
       https://www.kaggle.com/datasets/jiahongqian/cephalometric-landmarks
         (needs a Kaggle account)
       http://www-o.ntust.edu.tw/~cweiwang/ISBI2015/challenge1/
         (the challenge's own page, which may have gone)
  2. Name the archive, or the folder into which you unpacked it, as the source:
       snakemake --config 'datasets={{{dataset}: {{sources: [FOLDER_OR_ARCHIVE]}}}}'"""
WAYS_TO_OWN = """\
Name a folder of images, an archive of them, or its URL:
  snakemake --config 'datasets={{{dataset}: {{sources: [FOLDER_OR_ARCHIVE_OR_URL]}}}}'"""


@dataclass(frozen=True)
class Film:
    """What the manifest knows of an image: its file's checksum and what it shows."""

    sha256: str
    fingerprint: str


@dataclass(frozen=True)
class Member:
    """An image that a source holds: where, for messages, and how to put it at a path."""

    origin: str
    place: Callable[[Path], object]

    @property
    def name(self) -> PurePosixPath:
        return PurePosixPath(self.origin.replace("\\", "/"))


def fetch_images(
    sources: Sequence[str],
    target: Path,
    films: dict[str, Film] | None,
    dataset: str = "isbi2015",
    attempts: int = 5,
    backoff: float = 1,
) -> None:
    """Make the folder `target`, complete and verified, from the first source that can give it.

    Downloads are kept in `<target>.download` until then, so that the next try goes on with them.

    Args:
        sources: URLs of archives, and paths of archives or folders.
        target: Folder to make. It then has one entry an image, `<id>.<suffix>`.
        films: The images wanted, by id; None takes all that can be read.
        dataset: Name of the data set, for messages.
        attempts: How many failures in a row end a download.
        backoff: Seconds before the second attempt; the wait doubles each time.

    Raises:
        InputError: No source has usable images. The message has each one's fault, and what to do.
    """
    downloads = target.with_name(f"{target.name}.download")
    faults = []
    for source in map(str, sources):
        try:
            with _complete_folder(target) as (images, scratch):
                path = _local(source, downloads, attempts, backoff)
                try:
                    origins = _collect(path, images, scratch, films)
                    _verify(images, origins, films)
                except SOURCE_FAULTS:
                    if downloads in path.parents:
                        path.unlink(missing_ok=True)  # complete but of no use
                    raise
            shutil.rmtree(downloads, ignore_errors=True)
            log.info("%s: %d images from %s", dataset, len(origins), source)
            return
        except SOURCE_FAULTS as error:
            fault = str(error) or type(error).__name__
            log.warning("source %s: %s", source, fault)
            faults.append(f"  - {source}\n      " + fault.replace("\n", "\n      "))
    ways = (WAYS if films else WAYS_TO_OWN).format(dataset=dataset)
    tried = "\n".join(["Tried:", *faults]) if faults else "No sources are set."
    raise InputError(f"the images of {dataset} could not be got.\n{tried}\n{ways}")


def read_manifest(path: Path) -> dict[str, Film]:
    """Return the films of a manifest (columns `id`, `sha256`, `fingerprint`) by their ids."""
    with Path(path).open(newline="") as file:
        return {row["id"]: Film(row["sha256"], row["fingerprint"]) for row in csv.DictReader(file)}


@contextmanager
def _complete_folder(target: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a new folder that becomes `target` if the block succeeds, and one for scratch files."""
    building = target.with_name(f".{target.name}.partial")
    # What a killed job has left. A fixed name keeps that to one.
    shutil.rmtree(building, ignore_errors=True)
    images, scratch = building / "images", building / "scratch"
    images.mkdir(parents=True)
    scratch.mkdir()
    try:
        yield images, scratch
        shutil.rmtree(target, ignore_errors=True)
        images.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _local(source: str, downloads: Path, attempts: int, backoff: float) -> Path:
    """Return where a source lies on this machine, downloading it if it is a URL."""
    if re.match(r"https?://", source, re.IGNORECASE):
        return download(source, downloads, attempts, backoff)
    path = Path(source).expanduser().absolute()
    if not path.exists():
        raise InputError(f"{path} does not exist: check the path in `sources`")
    return path


def download(url: str, folder: Path, attempts: int = 5, backoff: float = 1) -> Path:
    """Download `url` into `folder`, going on where an earlier try stopped, and return the file.

    Raises:
        InputError: The server refuses, sends a web page, or failed `attempts` times in a row.
        requests.RequestException: The URL is malformed or redirects without end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.part"
    complete = part.with_suffix(".archive")
    if complete.exists():  # the job was stopped while it unpacked
        return complete
    failures, most = 0, 0
    with requests.Session() as session:
        session.max_redirects = 10
        while True:
            try:
                _receive(session, url, part)
                part.with_suffix(".version").unlink(missing_ok=True)
                return part.rename(complete)
            except (
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
            ) as error:
                have = part.stat().st_size if part.exists() else 0
                failures = 1 if have > most else failures + 1  # progress restores the patience
                most = max(most, have)
                if failures >= attempts:
                    raise InputError(f"{attempts} attempts failed; the last: {error}") from error
                wait = backoff * 2 ** (failures - 1)
                log.info("%s: %s; trying again in %.0f s", url, error, wait)
                time.sleep(wait)


def _receive(session: requests.Session, url: str, part: Path) -> None:
    """Download the rest of `url` that `part` lacks; requests.ConnectionError is worth a retry."""
    have = part.stat().st_size if part.exists() else 0
    version = part.with_suffix(".version")
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version.exists():  # a changed file is then sent from its start
            headers["If-Range"] = version.read_text()
    with session.get(url, headers=headers, stream=True, timeout=(10, 60)) as response:
        status = response.status_code
        answer = f"the server answers {status} {response.reason}"
        if status >= 500 or status in (408, 429):
            raise requests.ConnectionError(answer)
        misplaced = status == 206 and not re.match(
            rf"bytes {have}-", response.headers.get("Content-Range", "")
        )
        if status == 416 or misplaced:
            part.unlink(missing_ok=True)
            raise requests.ConnectionError(f"{answer}, which does not fit the {have} bytes here")
        if status not in (200, 206):
            raise InputError(answer)
        if status == 200:
            have = 0
            version.unlink(missing_ok=True)
            etag = response.headers.get("ETag", "")
            if etag.startswith('"'):  # weak ones do not promise the same bytes
                version.write_text(etag)
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if have else "wb") as file:
            _save(response, file, have, total, url)
        if total is not None and part.stat().st_size != total:
            raise requests.ConnectionError("the connection was cut")


def _save(
    response: requests.Response, file: IO[bytes], have: int, total: int | None, url: str
) -> None:
    """Append a response's content to `file` (`have` of `total` bytes are there) with progress."""
    what = f"downloading {url} (MB)"
    progress = Progress(what, max(1, (total or 0) // MEGABYTE), have // MEGABYTE)
    reported = time.monotonic()
    for block in response.iter_content(MEGABYTE):
        start = block[:100].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
        if not have and start.startswith((b"<!doctype html", b"<html")):
            raise InputError("the server sends a web page instead of an archive")
        file.write(block)
        have += len(block)
        news = have // MEGABYTE - progress.done
        if total and news:
            progress.advance(news)
        elif not total and time.monotonic() - reported > progress.every:
            reported = time.monotonic()
            log.info("%s: %d so far", what, have // MEGABYTE)


def _members(path: Path, scratch: Path) -> Iterator[Member]:
    """Yield the images of a folder or an archive; each can be placed until the next is asked for."""
    if path.is_dir():
        # Its own images, or, if it has none, those of its subfolders: an archive unpacked by hand.
        for files in (path.iterdir(), path.rglob("*")):
            found = [file for file in sorted(files) if _is_image(str(file))]
            yield from (Member(str(file), partial(_link, file)) for file in found)
            if found:
                return
    elif zipfile.is_zipfile(path):
        yield from _zip_members(path, scratch)
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            for entry in archive:
                if entry.isreg() and _is_image(entry.name):
                    content = archive.extractfile(entry)
                    yield Member(entry.name, partial(_copy, content, entry.name, LARGEST_IMAGE))
    else:
        with path.open("rb") as file:
            is_rar = file.read(4) == b"Rar!"
        if is_rar:
            yield from _rar_members(path, scratch / "rar")
            return
        raise InputError(f"{path} is no folder and no complete zip, tar or rar archive")


def _zip_members(path: Path, scratch: Path) -> Iterator[Member]:
    """Yield the images of a zip, or, if it has none, those of the RARs in it."""
    with zipfile.ZipFile(path) as archive:
        images = [e for e in archive.infolist() if _is_image(e.filename) and not e.is_dir()]
        for entry in images:
            with archive.open(entry) as content:
                name = entry.filename
                yield Member(name, partial(_copy, content, name, LARGEST_IMAGE))
        rars = [name for name in archive.namelist() if name.lower().endswith(".rar")]
        for number, name in enumerate([] if images else rars):
            rar = scratch / f"{number}.rar"
            with archive.open(name) as content, rar.open("wb") as file:
                shutil.copyfileobj(content, file)
            yield from _rar_members(rar, scratch / str(number))


def _rar_members(path: Path, folder: Path) -> Iterator[Member]:
    """Unpack a RAR into `folder` with whichever tool is there, and yield its images."""
    tools = [tool for tool in RAR_TOOLS if shutil.which(tool)]
    if not tools:
        raise InputError("holds a RAR: install unrar, bsdtar (libarchive-tools), unar or 7z")
    folder.mkdir(exist_ok=True)
    for tool in tools:
        arguments = [part.format(archive=path, folder=folder) for part in RAR_TOOLS[tool]]
        done = subprocess.run([tool, *arguments], capture_output=True, text=True)
        if done.returncode == 0:
            break
        log.warning("%s cannot unpack the RAR: %s", tool, done.stderr.strip()[-500:])
    else:
        raise InputError(f"{', '.join(tools)} cannot unpack the RAR: install unrar")
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.is_symlink() and _is_image(file.name):
            yield Member(str(file.relative_to(folder)), file.rename)


def _is_image(name: str) -> bool:
    base = PurePosixPath(name.replace("\\", "/"))
    # macOS adds hidden files named like the images.
    return base.suffix.lower() in SUFFIXES and not base.name.startswith(".")


def _link(file: Path, place: Path) -> None:
    place.symlink_to(file)


def _copy(content: IO[bytes], name: str, most: int, place: Path) -> None:
    """Write a member's content to `place`, refusing one of more than `most` bytes."""
    with place.open("wb") as file:
        while block := content.read(MEGABYTE):
            if file.tell() + len(block) > most:
                raise InputError(f"{name} unpacks to more than {most // MEGABYTE} MB: no such film")
            file.write(block)


def _collect(
    path: Path, images: Path, scratch: Path, films: dict[str, Film] | None
) -> dict[Path, str]:
    """Place the images of a source in the folder `images`.

    Only the base name of a member is used, so nothing is written elsewhere. Of several members of
    one name, the one is kept that agrees best with the manifest.

    Returns:
        For each image's path, where it came from.
    """
    chosen: dict[str, Path] = {}
    origins: dict[Path, str] = {}
    for member in _members(path, scratch):
        name = member.name
        if films is not None and name.stem not in films:
            continue
        candidate = scratch / f"candidate{name.suffix.lower()}"
        candidate.unlink(missing_ok=True)
        member.place(candidate)
        if name.stem in chosen:
            other = chosen[name.stem]
            if films is None:
                raise InputError(f"{member.origin} and {origins[other]} have the same name")
            film = films[name.stem]
            if _agreement(candidate, film) <= _agreement(other, film):
                continue
            other.unlink()
            del origins[other]
        chosen[name.stem] = candidate.rename(images / f"{name.stem}{name.suffix.lower()}")
        origins[chosen[name.stem]] = member.origin
    return origins


def _verify(images: Path, origins: dict[Path, str], films: dict[str, Film] | None) -> None:
    """Raise an InputError that names every image that is missing, unreadable or the wrong one."""
    if not origins:
        raise InputError("holds no images")
    names = {path.stem for path in origins}
    missing = [name for name in films or {} if name not in names]
    faults = [f"{len(missing)} of {len(films or {})} are missing: {_some(missing)}"] * bool(missing)
    owners = {film.sha256: name for name, film in (films or {}).items()}
    progress = Progress("verifying images", len(origins))
    reencoded = 0
    for path, origin in origins.items():
        progress.advance()
        try:
            if films is None:
                read_grey(path)
            elif (digest := _sha256(path)) != films[path.stem].sha256:
                _check_film(path, owners.get(digest), films)
                reencoded += 1
        except (InputError, OSError) as error:
            faults.append(str(error).replace(str(path), origin))
    if faults:
        raise InputError(_some(faults, "\n"))
    if reencoded:
        log.info("%d images are other encodings of the known films", reencoded)


def _check_film(path: Path, owner: str | None, films: dict[str, Film]) -> None:
    """Raise an InputError unless an image shows its film; `owner` has exactly this file."""
    found = fingerprint(path)
    if owner is None and same_film(found, films[path.stem].fingerprint):
        return
    shown = owner or next((n for n, f in films.items() if same_film(found, f.fingerprint)), None)
    what = f"film {shown}" if shown else f"none of the {len(films)} films"
    raise InputError(f"{path} shows {what} instead of {path.stem}: get this image again")


def _agreement(path: Path, film: Film) -> int:
    """Return 2 if an image is the manifest's file, 1 if it shows the same film, and else 0."""
    try:
        if _sha256(path) == film.sha256:
            return 2
        return int(same_film(fingerprint(path), film.fingerprint))
    except (InputError, OSError):
        return 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _some(things: list[str], separator: str = ", ") -> str:
    """Join the first 20 things and count the others."""
    more = [f"and {len(things) - 20} more"] if len(things) > 20 else []
    return separator.join([*things[:20], *more])


def main(snakemake: "snakemake") -> None:
    """Get the images of one data set; see `fetch_images`."""
    dataset = snakemake.wildcards.dataset
    # Read from the configuration and not from params, on purpose: where images came from that were
    # verified is no part of what they are, and a new source must not make everything run again.
    sources = snakemake.config["datasets"][dataset]["sources"]
    manifest = snakemake.input.get("manifest")
    films = read_manifest(manifest) if manifest else None
    fetch_images(sources, Path(snakemake.output.images), films, dataset)


if __name__ == "__main__":
    run(main, snakemake)
