"""What the images of a source are called, and which of its files are no data.

An image's id is its path below the deepest folder that holds all images, without its suffix. It is
the same for a folder, for an archive of it, and on each system.
"""

import posixpath
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

from engine.messages import InputError, some
from images.reading import image_id

# What file managers, archivers and systems leave, in lower case, besides what is hidden.
LEFT_BEHIND = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "#recycle", "$recycle.bin"),
    *("lost+found", "system volume information"),
}


def path_in(name: str) -> PurePosixPath:
    """Return a name in a source, with slashes or backslashes, as a path that leads nowhere else."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return PurePosixPath(*(part for part in parts if part.strip("/") and part != ".."))


def is_left_behind(path: PurePosixPath) -> bool:
    """Whether a file in a source is hidden or a left-over, or in a folder that is."""
    return any(part[0] == "." or part.lower() in LEFT_BEHIND for part in path.parts)


def ids_of(paths: Sequence[PurePosixPath]) -> list[str]:
    """Return the ids of all images of a source, one or more, by their paths in it.

    Accents are composed (NFC), as they are on most systems; archives of macOS have them decomposed.
    """
    shared = posixpath.commonpath([path.parent for path in paths])
    below = [path.relative_to(shared) for path in paths]
    return [normalize("NFC", str(path.with_name(image_id(path.name)))) for path in below]


def check_names(origins: Sequence[str], ids: Sequence[str]) -> None:
    """Refuse ids that are no text, and such as not all systems can tell apart.

    Args:
        origins: Where the images are, for messages.
        ids: What they are called, in the same order.

    Raises:
        InputError: Naming the images, and the remedy.
    """
    known: dict[str, str] = {}
    same = []
    for name, origin in zip(ids, origins, strict=True):
        if name.encode(errors="ignore").decode() != name:
            raise InputError(f"{origin!a}: the name of this image is not UTF-8; rename it")
        if other := known.get(_key(name)):
            same.append(f"{other} and {origin} have the same name")
        known[_key(name)] = origin
    if same:
        raise InputError(
            some(same, separator="\n") + "\nSuffixes, capitals and forms of accents don't tell "
            "images apart: rename one of two, or move what is no image of the set, as masks, to "
            "another folder"
        )


def folders_of(sources: Sequence[str]) -> list[str]:
    """Return a name for each source that keeps their images apart.

    It is that of the deepest folder in their paths in which all differ, counted from the end. An
    archive counts as a folder of its name without suffix.

    Args:
        sources: Paths and URLs.

    Raises:
        InputError: When there is no such folder.
    """
    paths = [Path(_path(source)).expanduser().absolute() for source in sources]
    last = [p.name if p.is_dir() else p.stem.removesuffix(".tar") for p in paths]
    parts = ((name, *path.parts[-2:0:-1]) for name, path in zip(last, paths, strict=True))
    for names in zip(*parts, strict=False):
        if len(set(map(_key, names))) == len(names) and not {"", ".."} & set(names):
            return [normalize("NFC", name) for name in names]
    raise InputError(
        f"{', '.join(sources)}: no folder in their paths has another name in each, by which ids of "
        "images could differ: rename or move one"
    )


def _path(source: str) -> str:
    return unquote(urlsplit(source).path) if "://" in source else source


def _key(name: str) -> str:
    """Return what is the same for names that some file systems, as that of macOS, hold for one."""
    return normalize("NFC", name).lower()
