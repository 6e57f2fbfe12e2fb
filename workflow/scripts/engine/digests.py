"""Digests of the code that a job runs, so that exactly what a change reaches runs again.

They stop at `engine/` as they stop at installed packages: what is around the work decides nothing
that a result holds.
"""

import ast
import functools
import hashlib
import tokenize
from collections.abc import Iterable, Iterator
from importlib.util import resolve_name
from pathlib import Path

ENGINE = Path(__file__).resolve().parent
SCRIPTS = ENGINE.parent
TYPES_ONLY = "TYPE_CHECKING"
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def source_digests(*files: str) -> dict[str, str]:
    """Return a digest of each of some Python files, and of each local module that they import.

    Comments, docstrings and layout don't count, and neither do `engine/` and installed packages.
    Imports are followed to any depth, also those inside functions.

    Args:
        files: Paths relative to `workflow/scripts/`, as those of the result are.
    """
    return digests_of(path.relative_to(SCRIPTS).as_posix() for path in _reached(files))


def digests_of(files: Iterable[str]) -> dict[str, str]:
    """Return a digest of each of these files alone; of one that is gone, an empty text."""
    found = {}
    for name in sorted(files):
        path = SCRIPTS / name
        found[name] = _analysed(path.read_text(encoding="utf-8"))[0] if path.is_file() else ""
    return found


def rules_digest(files: Iterable[Path]) -> str:
    """Return a digest of files in Snakemake's language; comments and blank lines don't count."""
    found = hashlib.sha256()
    for path in sorted(files):
        with path.open(encoding="utf-8") as file:
            for token in tokenize.generate_tokens(file.readline):
                if token.type not in (tokenize.COMMENT, tokenize.NL):
                    found.update(repr(token[:2]).encode())
    return found.hexdigest()


def imported_names(*files: str) -> set[str]:
    """Return the names of all that Python files and the local modules that they reach import."""
    return {name for path in _reached(files) for name in _imports(path)}


def _reached(files: Iterable[str]) -> set[Path]:
    reached, waiting = set(), [SCRIPTS / name for name in files]
    while waiting:
        path = waiting.pop()
        if path not in reached and ENGINE not in path.parents:
            reached.add(path)
            for name in _imports(path):
                waiting += _local_files(name, SCRIPTS)
    return reached


def _imports(path: Path) -> set[str]:
    package = ".".join(path.relative_to(SCRIPTS).parent.parts)
    names = _analysed(path.read_text(encoding="utf-8"))[1]
    return {resolve_name(name, package) if name.startswith(".") else name for name in names}


@functools.cache  # many scripts reach the same modules
def _analysed(text: str) -> tuple[str, set[str]]:
    """Return a digest of a file's normalised code, and the names of all that it may import."""
    tree, imports = ast.parse(text), set()
    for node in _running(tree):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module + "." if node.module else "")
            imports |= {base.rstrip(".") or base, *(base + alias.name for alias in node.names)}
    return hashlib.sha256(_normalised(tree).encode()).hexdigest()[:16], imports


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements of a syntax tree but those that are for type checkers only."""
    waiting = [tree]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            is_for_types = isinstance(node, ast.If) and getattr(node.test, "id", "") == TYPES_ONLY
            if not isinstance(node, ast.expr) and not is_for_types:  # no expression imports
                yield node
                waiting.append(node)


@functools.cache
def _local_files(name: str, folder: Path) -> list[Path]:
    """Return the files of a folder that importing a module runs, its packages' before its own."""
    parts, found = name.split("."), []
    for depth in range(1, len(parts) + 1):
        place = folder.joinpath(*parts[:depth])
        found += [p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()]
    return found


def _normalised(node: object) -> str:
    """Return a syntax tree as text without docstrings, positions and empty fields.

    `ast.dump` would do, but it shows different fields in different Python versions.
    """
    if isinstance(node, ast.AST):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:]
        fields = []
        for name in node._fields:
            value = getattr(node, name, None)
            if value is not None and value != [] and name != "type_ignores":
                fields.append(f"{name}={_normalised(value)}")
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return "[" + ",".join(map(_normalised, node)) + "]"
    return repr(node)
