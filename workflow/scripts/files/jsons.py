"""Files of JSON."""

import json
from pathlib import Path
from typing import Any

from files.atomic import write_text


def read_json(path: str | Path) -> Any:  # noqa: ANN401 (what JSON can hold)
    """Return what a file of JSON holds.

    Raises:
        ValueError: When it holds something else.
    """
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path: str | Path, content: Any) -> None:  # noqa: ANN401
    """Write a file of JSON that people can read, whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
