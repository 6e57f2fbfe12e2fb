"""Get the images of a data set: try its sources in order, verify what they hold, keep it whole.

A source is the URL of an archive, an archive or a folder; see `images.downloads` and
`images.archives`.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine.job import Snakemake, run
from engine.messages import InputError, Progress, log, number_of, some
from files.atomic import file_digest, write_text
from files.tables import read_table, write_table
from images.archives import FAULTS, Member, members
from images.downloads import download
from images.films import fingerprint, same_film
from images.naming import check_names, folders_of, ids_of
from images.reading import image_id, read_grey

# What reading a source can raise when the source, and not this program, is at fault; all of
# requests' exceptions are OSErrors.
SOURCE_FAULTS = (InputError, OSError, *FAULTS)
is_url = re.compile(r"https?://", re.IGNORECASE).match
WAYS = """\
Ways to get the images:
  1. Download one of these with a browser:
       {urls}
       https://www.kaggle.com/datasets/jiahongqian/cephalometric-landmarks
         (needs a Kaggle account)
       http://www-o.ntust.edu.tw/~cweiwang/ISBI2015/challenge1/
         (the challenge's own page, which may have gone)
     Those that hold a RAR need unrar, bsdtar, unar or 7z.
  2. Name the archive, or the folder into which you unpacked it, as the source:
       snakemake --config 'datasets={{{dataset}: {{sources: [FOLDER_OR_ARCHIVE]}}}}'"""
WAYS_TO_OWN = """\
Name a folder of images, an archive of them, or its URL:
  snakemake --config 'datasets={{{dataset}: {{{key}: [FOLDER_OR_ARCHIVE_OR_URL]}}}}'"""


@dataclass(frozen=True)
class Film:
    """What the manifest knows of an image: its file's checksum and what it shows."""

    sha256: str
    fingerprint: str


def fetch_images(
    sources: Sequence[str],
    target: Path,
    checksums: Path,
    passed_over: Path,
    films: dict[str, Film] | None,
    dataset: str = "isbi2015",
    attempts: int = 5,
    backoff: float = 1,
    join: bool = False,
) -> None:
    """Make the folder `target`, complete and verified, from the first source that can give it.

    Downloads are kept in `<target>.download` until then, so that the next try resumes them.

    Args:
        sources: URLs of archives, and paths of archives or folders.
        target: Folder to make. It then has one file an image, `<id>.<suffix>`; ids with slashes
            are in subfolders.
        checksums: `.csv` file to write: the columns `file` and `sha256`, a line for each of these.
        passed_over: `.txt` file to write: what else the source holds, in a sentence, if anything.
        films: The images wanted, by id; None takes all that can be read.
        dataset: Name of the data set, for messages.
        attempts: How many failures in a row end a download.
        backoff: Seconds before the second attempt; the wait doubles each time.
        join: Take the images of all sources, each of which has to work. Ids then begin with a name
            of the source, see `images.naming.folders_of`. Only without `films`.

    Raises:
        InputError: No source has usable images, or of sources to be joined one has none. The
            message has each one's fault, and what to do.
    """
    downloads = target.with_name(f"{target.name}.download")
    sources = list(map(str, sources))

    def take(source: str, images: Path, scratch: Path, others: list[str]) -> None:
        try:
            path = _local(source, downloads, attempts, backoff)
            try:
                origins = _collect(path, images, scratch, films, others)
                _verify(origins, films)
            except SOURCE_FAULTS:
                if downloads in path.parents:
                    path.unlink(missing_ok=True)  # complete but of no use
                raise
        except SOURCE_FAULTS as error:
            fault = str(error) or type(error).__name__
            log.warning("source %s: %s", source, fault)
            indented = fault.replace("\n", "\n      ")
            raise InputError(f"  - {source}\n      {indented}") from error
        log.info("%s: %s from %s", dataset, number_of(len(origins), "image"), source)

    faults = []
    joined = dict(zip(sources, folders_of(sources), strict=True)) if join else {}
    for group in [joined] if join else [{source: ""} for source in sources]:
        others: list[str] = []
        try:
            with _complete_folder(target) as (images, scratch):
                for source, folder in group.items():
                    take(source, images / folder, scratch, others)
        except InputError as error:
            faults.append(str(error))
            continue
        files = sorted(path for path in target.rglob("*") if path.is_file())
        lines = ({"file": str(f.relative_to(target)), "sha256": file_digest(f)} for f in files)
        write_table(checksums, lines)
        shutil.rmtree(downloads, ignore_errors=True)
        text = "" if films else in_words(others)
        write_text(passed_over, text)
        if text:
            log.warning("%s: %s", dataset, text)
        for other in sources[sources.index(source) + 1 :]:
            if not is_url(other) and Path(other).expanduser().exists():
                log.warning("%s was not used: of several sources the first that works is", other)
        return
    # A source named on the command line takes the place of the configured ones.
    urls = list(filter(is_url, sources)) or ["a URL that config.yaml has in `sources`"]
    ways = (WAYS if films else WAYS_TO_OWN).format(
        dataset=dataset, urls="\n       ".join(urls), key="join" if join else "sources"
    )
    tried = "\n".join(["Tried:", *faults]) if faults else "No sources are set."
    raise InputError(f"the images of {dataset} could not be got.\n{tried}\n{ways}")


def in_words(others: list[str]) -> str:
    """Return which files were passed over, by suffix, with the first of each; or nothing."""
    by_suffix: dict[str, list[str]] = {}
    for name in sorted(others):
        suffix = PurePosixPath(name).suffix.lower() or "without a suffix"
        by_suffix.setdefault(suffix, []).append(name)
    found = (f"{len(names)} {kind}, first: {names[0]}" for kind, names in by_suffix.items())
    return f"passed over: {'; '.join(found)}" if others else ""


def read_manifest(path: Path) -> dict[str, Film]:
    """Return the films of a manifest (columns `id`, `sha256`, `fingerprint`) by their ids."""
    return {row["id"]: Film(row["sha256"], row["fingerprint"]) for row in read_table(path)}


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
    if is_url(source):
        return download(source, downloads, attempts, backoff)
    path = Path(source).expanduser().absolute()
    if not path.exists():
        raise InputError(f"{path} does not exist: check the path")
    return path


def _collect(
    path: Path,
    images: Path,
    scratch: Path,
    films: dict[str, Film] | None,
    others: list[str],
) -> dict[Path, str]:
    """Place the images of a source in the folder `images`; return each one's path and origin.

    Nothing is written elsewhere, whatever their names. With a manifest, an image's id is its base
    name, and of several images of one id the one is kept that agrees best.
    """
    found: dict[str | int, tuple[Member, Path]] = {}
    for number, member in enumerate(members(path, scratch, others)):
        name = number if films is None else image_id(member.path.name)
        if films is not None and name not in films:
            continue
        candidate = scratch / f"{number}{member.path.suffix.lower()}"
        member.place(candidate)
        if name in found:
            other = found[name][1]
            better = _agreement(candidate, films[name]) > _agreement(other, films[name])
            (other if better else candidate).unlink()
            if not better:
                continue
        found[name] = member, candidate
    if not found:
        raise InputError("holds no images")
    paths = [member.path for member, _ in found.values()]
    ids = ids_of(paths) if films is None else list(found)
    check_names([member.origin for member, _ in found.values()], ids)
    origins = {}
    for name, (member, candidate) in zip(ids, found.values(), strict=True):
        suffix = member.path.name.removeprefix(image_id(member.path.name)).lower()
        place = images / f"{name}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        origins[candidate.rename(place)] = member.origin
    return origins


def _verify(origins: dict[Path, str], films: dict[str, Film] | None) -> None:
    """Raise an InputError that names every image that is missing, unreadable or the wrong one."""
    known = films or {}
    names = {image_id(path.name) for path in origins}
    missing = [name for name in known if name not in names]
    faults = [f"{len(missing)} of {len(known)} are missing: {some(missing)}"] * bool(missing)
    owners = {film.sha256: name for name, film in known.items()}
    progress = Progress("verifying images", len(origins))
    reencoded = 0
    for path, origin in origins.items():
        progress.advance()
        try:
            if films is None:
                read_grey(path)
            elif (digest := file_digest(path)) != films[image_id(path.name)].sha256:
                _check_film(path, owners.get(digest), films)
                reencoded += 1
        except (InputError, OSError) as error:
            faults.append(str(error).replace(str(path), origin))
    if faults:
        raise InputError(some(faults, separator="\n"))
    if reencoded:
        what = "is another encoding" if reencoded == 1 else "are other encodings"
        log.info("%s %s of known films", number_of(reencoded, "image"), what)


def _check_film(path: Path, owner: str | None, films: dict[str, Film]) -> None:
    """Raise an InputError unless an image shows its film; `owner` has exactly this file."""
    name, found = image_id(path.name), fingerprint(path)
    if owner is None and same_film(found, films[name].fingerprint):
        return
    shown = owner or next((n for n, f in films.items() if same_film(found, f.fingerprint)), None)
    what = f"film {shown}" if shown else f"none of the {len(films)} films"
    raise InputError(f"{path} shows {what} instead of {name}: get this image again")


def _agreement(path: Path, film: Film) -> int:
    """Return 2 if an image is the manifest's file, 1 if it shows the same film, and else 0."""
    try:
        if file_digest(path) == film.sha256:
            return 2
        return int(same_film(fingerprint(path), film.fingerprint))
    except (InputError, OSError):
        return 0


def main(snakemake: Snakemake) -> None:
    """Get the images of one data set; see `fetch_images`."""
    dataset = snakemake.wildcards.dataset
    # Read from the configuration and not from params, on purpose: where images came from that were
    # verified is no part of what they are, and a new source must not make everything run again.
    entry = snakemake.config["datasets"][dataset]
    join = "join" in entry
    manifest = snakemake.input.get("manifest")
    films = read_manifest(manifest) if manifest else None
    output = snakemake.output
    paths = map(Path, (output.images, output.checksums, output.passed_over))
    fetch_images(entry["join" if join else "sources"], *paths, films, dataset, join=join)


if __name__ == "__main__":
    run(main)
