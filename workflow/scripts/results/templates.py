"""Fills in the templates of pages in HTML."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def filled(template: str | Path, **values: Any) -> str:  # noqa: ANN401
    """Return a template's page with these values, whose texts are taken literally.

    Raises:
        jinja2.UndefinedError: The template names a value that is not given.
    """
    path = Path(template)
    environment = Environment(
        loader=FileSystemLoader(path.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(path.name).render(**values)
