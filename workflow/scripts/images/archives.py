"""Reading the images that a folder or an archive (zip, tar, rar) holds, with its subfolders.

From an archive only the images are unpacked; a folder is read in place, through links.
"""

import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO
from zipfile import BadZipFile, ZipFile, is_zipfile

import rarfile

from engine.messages import InputError, log
from images.naming import is_left_behind, path_in
from images.reading import MOST_PIXELS, holds_image

MEGABYTE = 10**6
# The most that an image takes that is read: 8 bytes a pixel are colours of 16 bits with a
# transparency, or floats of 64. The rest is for its header.
LARGEST_IMAGE = 8 * MOST_PIXELS + 64 * MEGABYTE
# Besides one image, an archive may unpack to so many times its size. Films grow twofold to tenfold,
# and archives that are made to fill a disk a thousandfold or more.
MOST_GROWTH = 100
DICOM_START = bytes(128) + b"DICM"  # by which files without a known suffix can be images
# What reading an archive can raise, besides OSError, when it is damaged or of an unknown kind; a
# RuntimeError is zipfile's, for an encrypted one or a compression that it does not know.
FAULTS = EOFError, RuntimeError, BadZipFile, tarfile.TarError, zlib.error, LZMAError, rarfile.Error
# rarfile 4.5 calls bsdtar with `-f -- ARCHIVE`, where `--` is taken for the archive.
rarfile.SHELL = "/bin/sh"
bsdtar = 'archive=$1; shift; exec bsdtar -xOf "$archive" -- "$@"'
rarfile.BSDTAR_CONFIG["open_cmd"] = ("SHELL", "-c", bsdtar)


@dataclass(frozen=True)
class Member:
    """An image that a source holds.

    Attributes:
        path: Where in the source.
        origin: Where, for messages.
        place: Puts it at a path.
    """

    path: PurePosixPath
    origin: str
    place: Callable[[Path], object]


@dataclass
class Room:
    """How many bytes an archive may still unpack to."""

    left: int

    def copy(self, content: IO[bytes], name: str, place: Path, most: int | None = None) -> None:
        """Write a member's content to `place`; by default it may have `LARGEST_IMAGE` bytes."""
        most = LARGEST_IMAGE if most is None else most
        with place.open("wb") as file:
            while block := content.read(MEGABYTE):
                self.left -= len(block)
                if self.left < 0:
                    raise InputError(
                        f"unpacks to more than {MOST_GROWTH} times its size, as archives do that "
                        "are made to fill a disk: if it is sound, unpack it by hand"
                    )
                if file.tell() + len(block) > most:
                    raise InputError(f"{name} unpacks to more than {most // MEGABYTE} MB: no film")
                file.write(block)


def members(path: Path, scratch: Path, others: list[str]) -> Iterator[Member]:
    """Yield the images of a folder or an archive; each can be placed until the next is asked for.

    What has to be unpacked on the way goes into the folder `scratch`. The names of the files that
    are no images are added to `others`, but for what file managers and archivers leave behind.

    Raises:
        InputError: The path is of no known kind, or no tool here can unpack it.
        OSError, or one of `FAULTS`: It cannot be read, or is damaged.
    """
    if path.is_dir():
        for file in _files(path, []):
            below = path_in(file.relative_to(path).as_posix())
            if _is_image(below, str(file), others, partial(file.open, "rb")):
                yield Member(below, str(file), partial(os.symlink, file))
        return
    room = Room(LARGEST_IMAGE + MOST_GROWTH * path.stat().st_size)
    if is_zipfile(path):
        yield from _zip_members(path, scratch, others, room)
    elif tarfile.is_tarfile(path):
        yield from _tar_members(path, others, room)
    elif rarfile.is_rarfile(path):
        yield from _rar_members(path, scratch, others, room)
    else:
        raise InputError(f"{path} is no folder and no complete zip, tar or rar archive")


def _files(folder: Path, above: list[Path]) -> Iterator[Path]:
    """Yield the files in a folder and below, through links, but for those in left-overs.

    A link to a folder that holds it is not followed. `above` are the folders on the way.
    """
    here = folder.resolve()
    if any(other.is_relative_to(here) for other in above):
        log.warning("%s leads back to %s: not followed", folder, here)
        return
    for path in sorted(folder.iterdir()):
        if is_left_behind(PurePosixPath(path.name)):
            continue
        if path.is_dir():
            yield from _files(path, [*above, here])
        elif path.is_file() or path.is_symlink():  # of links that lead nowhere images are missed
            yield path


def _zip_members(path: Path, scratch: Path, others: list[str], room: Room) -> Iterator[Member]:
    """Yield the images of a zip, or, if it has none, those of the RARs in it."""
    found = False
    with ZipFile(path) as archive:
        for entry in (e for e in archive.infolist() if not e.is_dir()):
            name, below = entry.filename, path_in(entry.filename)
            if _is_image(below, name, others, partial(archive.open, entry)):
                found = True
                with archive.open(entry) as content:
                    yield Member(below, name, partial(room.copy, content, name))
        rars = [name for name in others if name.lower().endswith(".rar")]
        for name in [] if found else rars:
            others.remove(name)
            rar = scratch / "inner.rar"
            with archive.open(name) as content:
                room.copy(content, name, rar, room.left)
            yield from _rar_members(rar, scratch, others, room)


def _tar_members(path: Path, others: list[str], room: Room) -> Iterator[Member]:
    """Yield the images of a tar, compressed or not; links to files elsewhere are none."""
    files = set()
    with tarfile.open(path) as archive:
        for entry in archive:
            name, below = entry.name, path_in(entry.name)
            if entry.isreg() or (entry.islnk() and entry.linkname in files):
                files.add(name)
                if _is_image(below, name, others, partial(archive.extractfile, entry)):
                    content = archive.extractfile(entry)
                    yield Member(below, name, partial(room.copy, content, name))
            elif not entry.isdir() and not is_left_behind(below):
                others.append(name)


def _rar_members(path: Path, scratch: Path, others: list[str], room: Room) -> Iterator[Member]:
    """Yield the images of a RAR; what is compressed is unpacked by a tool that rarfile finds."""
    rarfile.HACK_TMP_DIR = str(scratch)  # for the excerpts that it hands to the tool
    with rarfile.RarFile(path, errors="strict") as archive:
        if archive.needs_password():
            raise InputError("the RAR is encrypted: unpack it by hand")
        if archive.is_solid():  # each image is unpacked along with all before it
            log.warning("the RAR is solid: if this takes too long, unpack it by hand")
        for entry in archive:
            name, below = entry.filename, path_in(entry.filename)
            if not entry.is_file():
                others += [name] * (not entry.is_dir() and not is_left_behind(below))
            elif _is_image(below, name, others, partial(archive.open, entry)):
                yield Member(below, name, partial(_unrar, archive, entry, room))


def _unrar(archive: rarfile.RarFile, entry: rarfile.RarInfo, room: Room, place: Path) -> None:
    tools = "unrar, unar, 7z or bsdtar (libarchive-tools)"
    try:
        with archive.open(entry) as content:
            room.copy(content, entry.filename, place)
    except rarfile.RarCannotExec as error:
        raise InputError(f"holds a RAR: install {tools}") from error
    except rarfile.Error as error:
        raise InputError(f"{entry.filename} cannot be unpacked ({error}): install unrar") from error


def _is_image(
    path: PurePosixPath, name: str, others: list[str], opened: Callable[[], IO[bytes]]
) -> bool:
    """Whether a file is an image; other names go to `others`, but for left-overs.

    The file is opened only if its start decides.
    """
    if is_left_behind(path):
        return False
    if holds_image(str(path), b""):
        return True
    if holds_image(str(path), DICOM_START):
        with opened() as content:
            if holds_image(str(path), content.read(len(DICOM_START))):
                return True
    others.append(name)
    return False
