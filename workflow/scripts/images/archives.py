"""Reading the images that a folder or an archive (zip, tar, rar) holds.

From an archive only the images are unpacked; a folder is read in place, through links.
"""

import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO
from zipfile import BadZipFile, ZipFile, is_zipfile

import rarfile

from engine.messages import InputError, log
from images.reading import SUFFIXES

MEGABYTE = 10**6
LARGEST_IMAGE = 64 * MEGABYTE  # the largest of the known copies are BMPs of 14 MB
# What reading an archive can raise, besides OSError, when it is damaged or of an unknown kind; a
# RuntimeError is zipfile's, for an encrypted one or a compression that it does not know.
FAULTS = EOFError, RuntimeError, BadZipFile, tarfile.TarError, zlib.error, LZMAError, rarfile.Error
LEFT_BEHIND = {"Thumbs.db", "desktop.ini"}  # besides hidden files
# rarfile 4.5 calls bsdtar with `-f -- ARCHIVE`, where `--` is taken for the archive.
rarfile.SHELL = "/bin/sh"
bsdtar = 'archive=$1; shift; exec bsdtar -xOf "$archive" -- "$@"'
rarfile.BSDTAR_CONFIG["open_cmd"] = ("SHELL", "-c", bsdtar)


@dataclass(frozen=True)
class Member:
    """An image that a source holds: where, for messages, and how to put it at a path."""

    origin: str
    place: Callable[[Path], object]

    @property
    def name(self) -> PurePosixPath:
        return PurePosixPath(self.origin.replace("\\", "/"))


def members(path: Path, scratch: Path, others: list[str]) -> Iterator[Member]:
    """Yield the images of a folder or an archive; each can be placed until the next is asked for.

    What has to be unpacked on the way goes into the folder `scratch`. The names of the files that
    are no images are added to `others`, but for what file managers and archivers leave behind.

    Raises:
        InputError: The path is of no known kind, or no tool here can unpack it.
        OSError, or one of `FAULTS`: It cannot be read, or is damaged.
    """
    if path.is_dir():
        # Its own images, or, if it has none, those of its subfolders: an archive unpacked by hand.
        for files in (path.iterdir(), path.rglob("*")):
            here = [str(file) for file in sorted(files) if not file.is_dir()]
            found = list(map(Path, _images(here, others)))
            yield from (Member(str(file), partial(os.symlink, file)) for file in found)
            if found:
                return
    elif is_zipfile(path):
        yield from _zip_members(path, scratch, others)
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            for entry in archive:
                if entry.isreg() and _images([entry.name], others):
                    content = archive.extractfile(entry)
                    yield Member(entry.name, partial(_copy, content, entry.name))
    elif rarfile.is_rarfile(path):
        yield from _rar_members(path, scratch, others)
    else:
        raise InputError(f"{path} is no folder and no complete zip, tar or rar archive")


def _zip_members(path: Path, scratch: Path, others: list[str]) -> Iterator[Member]:
    """Yield the images of a zip, or, if it has none, those of the RARs in it."""
    with ZipFile(path) as archive:
        files = [e.filename for e in archive.infolist() if not e.is_dir()]
        images = set(_images(files, others))
        for entry in (e for e in archive.infolist() if e.filename in images):
            with archive.open(entry) as content:
                yield Member(entry.filename, partial(_copy, content, entry.filename))
        rars = [name for name in archive.namelist() if name.lower().endswith(".rar")]
        for name in [] if images else rars:
            rar = scratch / "inner.rar"
            with archive.open(name) as content, rar.open("wb") as file:
                shutil.copyfileobj(content, file)
            yield from _rar_members(rar, scratch, others)


def _rar_members(path: Path, scratch: Path, others: list[str]) -> Iterator[Member]:
    """Yield the images of a RAR; what is compressed is unpacked by a tool that rarfile finds."""
    rarfile.HACK_TMP_DIR = str(scratch)  # for the excerpts that it hands to the tool
    with rarfile.RarFile(path, errors="strict") as archive:
        if archive.needs_password():
            raise InputError("the RAR is encrypted: unpack it by hand")
        if archive.is_solid():  # each image is unpacked along with all before it
            log.warning("the RAR is solid: if this takes too long, unpack it by hand")
        for entry in archive:
            if entry.is_file() and _images([entry.filename], others):
                yield Member(entry.filename, partial(_unrar, archive, entry))


def _unrar(archive: rarfile.RarFile, entry: rarfile.RarInfo, place: Path) -> None:
    tools = "unrar, unar, 7z or bsdtar (libarchive-tools)"
    try:
        with archive.open(entry) as content:
            _copy(content, entry.filename, place)
    except rarfile.RarCannotExec as error:
        raise InputError(f"holds a RAR: install {tools}") from error
    except rarfile.Error as error:
        raise InputError(f"{entry.filename} cannot be unpacked ({error}): install unrar") from error


def _images(names: Iterable[str], others: list[str]) -> list[str]:
    """Return which files are images by their names; the rest goes to `others`, but for left-overs.

    macOS adds hidden files named like the images.
    """
    paths = {name: PurePosixPath(name.replace("\\", "/")) for name in names}
    files = {n: p for n, p in paths.items() if p.name[:1] != "." and p.name not in LEFT_BEHIND}
    images = [name for name, path in files.items() if path.suffix.lower() in SUFFIXES]
    others += files.keys() - set(images)
    return images


def _copy(content: IO[bytes], name: str, place: Path) -> None:
    """Write a member's content to `place`, refusing more than `LARGEST_IMAGE` bytes."""
    with place.open("wb") as file:
        while block := content.read(MEGABYTE):
            if file.tell() + len(block) > LARGEST_IMAGE:
                most = LARGEST_IMAGE // MEGABYTE
                raise InputError(f"{name} unpacks to more than {most} MB: no such film")
            file.write(block)
