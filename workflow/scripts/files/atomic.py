"""Files that are either complete or not there, and their digests."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block succeeds.

    The temporary file keeps the suffix of `path`, since NumPy and matplotlib choose their format
    by it. Its name is fixed, so that a killed job leaves at most one behind, for the next to write
    over. When the block raises, the temporary file is deleted and `path` is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_of(model: str | Path) -> Path:
    """Return where a training keeps its progress: as `results/RUN/models/...`, in `checkpoints`."""
    parts = list(Path(model).parts)
    parts[parts.index("results") + 2] = "checkpoints"
    return Path(*parts)


def copies(path: str | Path) -> list[Path]:
    """Return the newest copy of a checkpoint, which is `path` itself, and the one before it."""
    path = Path(path)
    return [path, path.with_name(f".{path.stem}.before{path.suffix}")]


def lock_of(path: str | Path) -> Path:
    """Return the file that the training of a checkpoint locks."""
    return Path(path).with_suffix(".lock")


def forget(path: str | Path) -> None:
    """Delete both copies of a checkpoint and its lock, as far as they are there."""
    for file in (*copies(path), lock_of(path)):
        file.unlink(missing_ok=True)
