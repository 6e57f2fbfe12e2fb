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
from engine.messages import InputError, Progress, log, some
from files.atomic import file_digest, write_text
from files.tables import read_table, write_table
from images.archives import FAULTS, members
from images.downloads import download
from images.films import fingerprint, same_film
from images.reading import read_grey

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
  snakemake --config 'datasets={{{dataset}: {{sources: [FOLDER_OR_ARCHIVE_OR_URL]}}}}'"""


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
) -> None:
    """Make the folder `target`, complete and verified, from the first source that can give it.

    Downloads are kept in `<target>.download` until then, so that the next try resumes them.

    Args:
        sources: URLs of archives, and paths of archives or folders.
        target: Folder to make. It then has one entry an image, `<id>.<suffix>`.
        checksums: `.csv` file to write: the columns `file` and `sha256`, a line for each of these.
        passed_over: `.txt` file to write: what else the source holds, in a sentence, if anything.
        films: The images wanted, by id; None takes all that can be read.
        dataset: Name of the data set, for messages.
        attempts: How many failures in a row end a download.
        backoff: Seconds before the second attempt; the wait doubles each time.

    Raises:
        InputError: No source has usable images. The message has each one's fault, and what to do.
    """
    downloads = target.with_name(f"{target.name}.download")
    faults = []
    sources = list(map(str, sources))
    for source in sources:
        try:
            with _complete_folder(target) as (images, scratch):
                path = _local(source, downloads, attempts, backoff)
                try:
                    others: list[str] = []
                    origins = _collect(path, images, scratch, films, others)
                    _verify(origins, films)
                except SOURCE_FAULTS:
                    if downloads in path.parents:
                        path.unlink(missing_ok=True)  # complete but of no use
                    raise
        except SOURCE_FAULTS as error:
            fault = str(error) or type(error).__name__
            log.warning("source %s: %s", source, fault)
            faults.append(f"  - {source}\n      " + fault.replace("\n", "\n      "))
            continue
        files = sorted(target.iterdir())
        write_table(checksums, ({"file": f.name, "sha256": file_digest(f)} for f in files))
        shutil.rmtree(downloads, ignore_errors=True)
        log.info("%s: %d images from %s", dataset, len(origins), source)
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
    ways = (WAYS if films else WAYS_TO_OWN).format(dataset=dataset, urls="\n       ".join(urls))
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
        raise InputError(f"{path} does not exist: check the path in `sources`")
    return path


def _collect(
    path: Path,
    images: Path,
    scratch: Path,
    films: dict[str, Film] | None,
    others: list[str],
) -> dict[Path, str]:
    """Place the images of a source in the folder `images`; return each one's path and origin.

    Only the base name of a member is used, so nothing is written elsewhere. Of several members of
    one name, the one is kept that agrees best with the manifest.
    """
    chosen: dict[str, Path] = {}
    origins: dict[Path, str] = {}
    for member in members(path, scratch, others):
        name = member.name
        if films is not None and name.stem not in films:
            continue
        if name.stem.encode(errors="ignore").decode() != name.stem:
            raise InputError(f"{member.origin!a}: the name of this image is not UTF-8; rename it")
        candidate = scratch / f"candidate{name.suffix.lower()}"
        candidate.unlink(missing_ok=True)
        member.place(candidate)
        if other := chosen.get(name.stem):
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


def _verify(origins: dict[Path, str], films: dict[str, Film] | None) -> None:
    """Raise an InputError that names every image that is missing, unreadable or the wrong one."""
    if not origins:
        raise InputError("holds no images")
    known = films or {}
    names = {path.stem for path in origins}
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
            elif (digest := file_digest(path)) != films[path.stem].sha256:
                _check_film(path, owners.get(digest), films)
                reencoded += 1
        except (InputError, OSError) as error:
            faults.append(str(error).replace(str(path), origin))
    if faults:
        raise InputError(some(faults, separator="\n"))
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
    sources = snakemake.config["datasets"][dataset]["sources"]
    manifest = snakemake.input.get("manifest")
    films = read_manifest(manifest) if manifest else None
    output = snakemake.output
    paths = map(Path, (output.images, output.checksums, output.passed_over))
    fetch_images(sources, *paths, films, dataset)


if __name__ == "__main__":
    run(main)
