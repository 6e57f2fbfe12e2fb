"""Reading the images that a folder or an archive (zip, tar, rar) holds.

From an archive only the images are unpacked; a folder is read in place, through links.
"""

import lzma
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from engine.job import InputError, log
from images.reading import SUFFIXES

MEGABYTE = 10**6
LARGEST_IMAGE = 64 * MEGABYTE  # the largest of the known copies are BMPs of 14 MB
# What reading an archive can raise, besides OSError, when it is damaged or of an unknown kind.
ARCHIVE_FAULTS = (
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


@dataclass(frozen=True)
class Member:
    """An image that a source holds: where, for messages, and how to put it at a path."""

    origin: str
    place: Callable[[Path], object]

    @property
    def name(self) -> PurePosixPath:
        return PurePosixPath(self.origin.replace("\\", "/"))


def members(path: Path, scratch: Path) -> Iterator[Member]:
    """Yield the images of a folder or an archive; each can be placed until the next is asked for.

    Args:
        path: A folder or an archive.
        scratch: Folder for what has to be unpacked on the way.

    Raises:
        InputError: The path is of no known kind, or no tool here can unpack it.
        OSError, or one of `ARCHIVE_FAULTS`: It cannot be read, or is damaged.
    """
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
