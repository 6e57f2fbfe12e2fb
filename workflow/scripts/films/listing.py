"""The films of a folder, what each is called in a run, and where its results go."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from engine.films import PAGE, TABLE, place_of
from engine.messages import InputError, log, number_of, some
from engine.records import LOGS, RECORDS
from files.jsons import read_json, write_json
from films.writing import output_name
from images.archives import members

IMAGES, SHEETS = "images", "sheets"  # folders in that of the results
# Of a part of a path, in bytes: file systems allow 255, and temporary files have longer names.
LONGEST = 230
# Snakemake takes braces for wildcards; the rest would break lines of logs.
ESCAPED = re.compile(r"[{}%\\\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Listed:
    """A film of the folder.

    Attributes:
        path: Below the folder, with slashes.
        key: The same as a name in a run: characters that Snakemake takes for others are escaped.
        image: Where it is written, below the folder of the results.
        sheet: Where its sheet is written, below the folder of the results.
        note: What changes in the format, if anything.
    """

    path: str
    key: str
    image: str
    sheet: str
    note: str | None


def listed(folder: Path) -> list[Listed]:
    """Return the films in a folder and below, in the order of their paths.

    Hidden files, left-overs and files that are no images are passed over, links are followed, as
    where a folder is read as a data set. No two films are written to one file, on any system.

    Raises:
        InputError: When there is no such folder, no film in it, or a name can't be used.
    """
    if not folder.is_dir():
        raise InputError(f"images: {folder} is no folder; give the folder of your films")
    others: list[str] = []
    try:
        found = [Path(film.origin).relative_to(folder) for film in members(folder, folder, others)]
    except OSError as error:
        raise InputError(
            f"images: {error.filename} can't be read ({error.strerror}); change its permissions"
        ) from error
    paths = sorted(path.as_posix() for path in found)
    if not paths:
        seen = f", but {number_of(len(others), 'other file')}" * bool(others)
        raise InputError(f"images: {folder} has no film{seen}; give the folder of your films")
    if others:
        what = number_of(len(others), "file")
        log.warning("images: %s passed over, no images: %s", what, some(sorted(others), 5))
    for path in paths:
        _check_name(path)
    names = {path: _output_name(folder / path) for path in paths}
    # Folders may not be called as a film that is written beside them.
    folders = {str(above) for path in paths for above in PurePosixPath(path).parents}
    # Those first that keep their name, so that one more film moves as few others as possible.
    order = sorted(paths, key=lambda path: names[path][0] != PurePosixPath(path).name)
    images = _apart(((path, _beside(path, names[path][0])) for path in order), folders)
    sheets = _apart(((path, f"{path}.png") for path in order), folders)
    return [
        Listed(
            path=path,
            key=key_of(path),
            image=f"{IMAGES}/{images[path]}",
            sheet=f"{SHEETS}/{sheets[path]}",
            note=names[path][1],
        )
        for path in paths
    ]


def key_of(path: str) -> str:
    """Return the name of a film in a run, by its path; those of two films differ."""
    # Folders of these names have a meaning in a run, wherever they are.
    return "/".join(
        f"%{part}"
        if part in (LOGS, RECORDS)
        else ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", part)
        for part in path.split("/")
    )


def check_places(
    folder: Path, out: Path, films: Sequence[Listed], run: Path, *, note: bool
) -> None:
    """Refuse to write into the films' folder, or over what is not of the same folder.

    Args:
        folder: That of the films.
        out: That of the results.
        films: All films of the folder.
        run: The folder of the run, whose file `folder.json` says which folders it is of.
        note: Whether to write that file.

    Raises:
        InputError: Naming the folders and the remedy.
    """
    here, there = folder.resolve(), out.resolve()
    if here == there or there.is_relative_to(here) or here.is_relative_to(there):
        how = "is" if here == there else "lies in" if there.is_relative_to(here) else "holds"
        raise InputError(
            f"out: {out} {how} the folder of the films, {folder}; give a folder beside it, since "
            "films are never written over"
        )
    if out.exists() and not out.is_dir():
        raise InputError(f"out: {out} is no folder; give another name")
    targets = {(out / name).parent for film in films for name in (film.image, film.sheet)}
    for path in targets:
        if path.resolve().is_relative_to(here):
            raise InputError(f"out: {path} leads into {folder}, that of the films; remove the link")
    for film in films:
        if (folder / film.path).resolve().is_relative_to(there):
            raise InputError(f"images: {folder / film.path} leads into {out}; remove the link")
    known, places = run / "folder.json", {"images": place_of(folder), "out": place_of(out)}
    if known.exists():
        if (before := _read(known)) != places:
            raise InputError(
                f"out: {out} has the films of {before.get('images')} (by {known}), not of "
                f"{folder}; give another `out`, or, if this folder was moved, delete {known} and "
                f"{out}"
            )
        return
    if taken := [name for name in (IMAGES, SHEETS, PAGE, TABLE) if (out / name).exists()]:
        raise InputError(
            f"out: {out} has {', '.join(taken)} already, and there is no {known} that says that "
            "these are results of your films; give another `out`, or delete them"
        )
    if note:
        write_json(known, places)


def _read(path: Path) -> dict[str, str]:
    try:
        return dict(read_json(path))
    except (ValueError, TypeError):
        return {}


def _check_name(path: str) -> None:
    if path.encode(errors="ignore").decode() != path:
        raise InputError(f"images: {path!a}: the name of this film is not UTF-8; rename it")
    if any(len(part.encode()) > LONGEST for part in key_of(path).split("/")):
        raise InputError(f"images: {path}: this name is too long; at most {LONGEST} bytes")


def _output_name(path: Path) -> tuple[str, str | None]:
    try:
        return output_name(path)
    except OSError:  # it can't be read, as its examination will say
        return path.name, None


def _beside(path: str, name: str) -> str:
    return str(PurePosixPath(path).with_name(name))


def _apart(wanted: Iterable[tuple[str, str]], folders: Iterable[str]) -> dict[str, str]:
    """Return for each film, by path, a path to write to that no other has, on any system.

    The second of two gets its whole name besides: `a.jpg.png` where `a.png` is taken.
    """
    taken, found = {_same(folder) for folder in folders}, {}
    for path, name in wanted:
        suffix, place, longer = PurePosixPath(name).suffix, name, path
        while _same(place) in taken:
            place = longer = f"{longer}{suffix}"
        taken.add(_same(place))
        found[path] = place
    return found


def _same(path: str) -> str:
    """Return what is the same for paths that some file systems hold for one."""
    return normalize("NFC", path).casefold()
