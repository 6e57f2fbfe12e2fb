"""Links in a run to the files in the folder of the results, which may have any name."""

import os
from pathlib import Path


def link(path: str | Path, target: Path) -> None:
    """Make `path` a link to a file, in place of what is there.

    It is relative if both are below this folder, so that the project may move.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    here, there, place = Path.cwd().resolve(), target.resolve(), path.parent.resolve()
    if there.is_relative_to(here) and place.is_relative_to(here):
        there = Path(os.path.relpath(there, place))
    temporary = path.with_name(f".{path.name}.partial")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(there)
    temporary.replace(path)
