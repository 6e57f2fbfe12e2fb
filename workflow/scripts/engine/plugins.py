"""What plug-ins declare: the files in `methods/`, `recipes/` and `distributions/`.

Files are read and not imported: some need torch, which takes seconds.
"""

import ast
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

SCRIPTS = Path(__file__).resolve().parents[1]
SCHEMAS = SCRIPTS.parent / "schemas"
FOLDERS = ("methods", "recipes", "distributions")

Config = dict[str, Any]


class Computed:
    """Stands for the value of a constant that is not written out."""

    def __repr__(self) -> str:
        return "a computed value (files are not run to read it: write it out)"


class ConfigurationError(Exception):
    """The configuration cannot be used. The message names each key and what is allowed."""


def plugins(folder: str) -> list[str]:
    """Return the names that can be chosen from, in one of `FOLDERS`."""
    return sorted(path.stem for path in (SCRIPTS / folder).glob("[!_]*.py"))


@functools.cache
def declarations(folder: str, name: str) -> Config:
    """Return what a plug-in declares.

    Args:
        folder: One of `FOLDERS`.
        name: The file's name without `.py`.

    Returns:
        Its constants by name, and its functions' names with value None; also those that it imports
        from other plug-ins.

    Raises:
        ConfigurationError: When the file is no Python.
    """
    file = SCRIPTS / folder / f"{name}.py"
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    except (SyntaxError, UnicodeDecodeError) as error:
        place = file.relative_to(SCRIPTS)
        raise ConfigurationError(f"{place}: can't be read as Python: {error}") from error
    found: Config = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = None
        elif isinstance(node, ast.ImportFrom) and node.module:
            other, _, module = node.module.partition(".")
            if other in FOLDERS and module in plugins(other):
                theirs = declarations(other, module)
                found |= {a.asname or a.name: theirs.get(a.name) for a in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            try:
                found[getattr(target, "id", "")] = constant(node.value, found)
            except (ValueError, KeyError, TypeError):
                found[getattr(target, "id", "")] = Computed()
    return found


def constant(node: ast.expr, known: Config) -> Any:  # noqa: ANN401
    """Return the value of a literal, of a known name, or of mappings joined with `|`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return constant(node.left, known) | constant(node.right, known)
    return known[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)


@functools.cache
def schema(name: str) -> Config:
    """Return a file of `workflow/schemas/`."""
    return YAML(typ="safe", pure=True).load(SCHEMAS / f"{name}.yaml")


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Config:
    """Return `base` with the changes of a second configuration: mappings merge, lists don't."""
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result
