"""A digest of the code that a job runs, so that exactly what a change reaches runs again."""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1]


def source_digest(*files: str) -> str:
    """Return a digest of Python files and of all local modules that they import.

    Comments, docstrings and layout don't count. Imports are followed to any depth, also those
    inside functions; installed packages don't count.

    Args:
        files: Paths relative to `workflow/scripts/`.
    """
    digest = hashlib.sha256()
    for path in sorted(_reached({SCRIPTS / name for name in files})):
        digest.update(path.relative_to(SCRIPTS).as_posix().encode())
        code, _ = _analysed(path.read_text(encoding="utf-8"))
        digest.update(code.encode())
    return digest.hexdigest()[:16]


def _reached(files: set[Path]) -> set[Path]:
    reached, waiting = set(), list(files)
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            _, imports = _analysed(path.read_text(encoding="utf-8"))
            waiting += _local_files(imports)
    return reached


@functools.cache  # many scripts reach the same modules
def _analysed(text: str) -> tuple[str, list[str]]:
    """Return a file's normalised code, and the names of all that it may import."""
    tree, imports = ast.parse(text), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return _normalised(tree), imports


def _local_files(imports: list[str]) -> Iterator[Path]:
    for name in imports:
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):  # importing a module runs its packages first
            place = SCRIPTS.joinpath(*parts[:depth])
            for path in (place.with_suffix(".py"), place / "__init__.py"):
                if path.is_file():
                    yield path


def _normalised(node: object) -> str:
    """Return a syntax tree as text without docstrings, positions and empty fields.

    `ast.dump` would do, but it shows different fields in different Python versions.
    """
    if isinstance(node, list):
        return "[" + ",".join(map(_normalised, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(
        node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    ) and ast.get_docstring(node, clean=False):
        node.body = node.body[1:]
    fields = (
        f"{name}={_normalised(value)}"
        for name, value in ast.iter_fields(node)
        if value not in (None, []) and name not in ("kind", "type_ignores")
    )
    return f"{type(node).__name__}({','.join(fields)})"
