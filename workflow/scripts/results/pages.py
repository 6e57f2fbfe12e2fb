"""Writes pages of headings, tables and lists, in Markdown and in HTML."""

import re
from collections.abc import Sequence

import pandas as pd
from markdown_it import MarkdownIt

from files.atomic import write_text

Part = str | pd.DataFrame | Sequence[str]  # of a page: a heading, a table or a list

# What Markdown could take for markup. Of underscores only those that end a word could end emphasis.
MARKUP = re.compile(r"[\\`*|<\[]|&(?=#?\w+;)|_(?![^\W_])")
MARKED_CELL = re.compile(r"(\*{1,2})(.+)\1")
PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font-family:sans-serif}}td,th{{padding:.3em .8em}}</style>
{body}</html>
"""


def markdown(title: str, *parts: Part) -> str:
    """Return a page in Markdown.

    All texts are taken literally, but a cell of a table may be marked up as a whole: `*italic*`,
    `**bold**`.
    """
    texts = [f"# {escaped(title)}"]
    for part in parts:
        if isinstance(part, str):
            texts.append(f"## {escaped(part)}")
        elif isinstance(part, pd.DataFrame):
            cells = part.map(escaped_cell).rename(columns=escaped)
            texts.append(cells.to_markdown(index=False, disable_numparse=True, stralign="right"))
        else:
            texts.append("\n".join(f"- {escaped(line)}" for line in part))
    return "\n\n".join(texts) + "\n"


def escaped(text: str) -> str:
    """Return a text so that Markdown shows it literally."""
    return MARKUP.sub(r"\\\g<0>", text)


def escaped_cell(text: str) -> str:
    """Return a cell so that Markdown shows it literally, but for markup around all of it."""
    found = MARKED_CELL.fullmatch(text)
    return f"{found[1]}{escaped(found[2])}{found[1]}" if found else escaped(text)


def html(page: str) -> str:
    """Return a page that `markdown` returned, in HTML."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(page)
    return PAGE.format(title=re.search("<h1>(.*)</h1>", body)[1], body=body)


def write_texts(texts: dict[str, str]) -> None:
    """Write each text to the path that is its key, whole or not at all."""
    for name, content in texts.items():
        write_text(name, content)
