"""Where the checkpoints of a training are. Nothing here needs torch, which takes seconds to import."""

from pathlib import Path


def copies(checkpoint: Path) -> list[Path]:
    """Return the files that may hold a checkpoint, the newest first: itself, and the one before it."""
    return [checkpoint, checkpoint.with_name(f".{checkpoint.stem}.before{checkpoint.suffix}")]


def forget(checkpoint: Path) -> None:
    """Delete a checkpoint, and the one before it."""
    for path in copies(checkpoint):
        path.unlink(missing_ok=True)
