"""The page of a folder of films that were denoised, and its table."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from engine.digests import SCRIPTS
from films.sheet import layout
from films.wording import Record, in_words, is_doubtful, readable, size_in_words
from results.templates import filled

TEMPLATE = SCRIPTS.parent / "report/films.html.j2"
DIGITS = 6  # of numbers in the table
# Its columns, of types that can be without a value.
COLUMNS = {
    **dict.fromkeys(("film", "refused"), "string"),
    **dict.fromkeys(("height", "width", "bits"), "Int64"),
    **dict.fromkeys(("gain", "deviation"), "Float64"),
    "estimated": "boolean",
    **dict.fromkeys(("lowest_grey", "highest_grey"), "Float64"),
    **dict.fromkeys(("residual_deviation", "residual_correlation", "seconds"), "Float64"),
    **dict.fromkeys(("method", "image", "sheet", "note"), "string"),
}
# What else can be done about noise of another kind, by what the reason says. The reason itself says
# what to do in general, as those of files that can't be read do.
REMEDIES = {
    "compressed as JPEG": "Find the film as it was before JPEG: the archive may have it as DICOM.",
    "impulse noise": "Correct the defective pixels first, as by a median filter of 3 x 3 pixels.",
    "hardly any noise|finer than": "Use the film as it is: there is nothing to remove.",
    "are clipped": "Export the film with all of its grey levels, not cut to a window.",
    "not white": "Export the film without smoothing, sharpening or scaling.",
    "proportion|skewed|tails": "Measure the noise in flat fields of the detector, and give it by "
    "hand.",
}


def index(
    records: Sequence[Record], about: Mapping[str, str], template: str | Path = TEMPLATE
) -> str:
    """Return the page of a folder: HTML that asks for nothing but sheets and images beside it.

    Args:
        records: Of all films, in the order of the page; of one that was refused, `refused` is the
            sentence that says why. `image` and `sheet` are paths below the page's folder.
        about: In words: `folder`, `method`, `noise` (where it is known from) and `version`.
        template: The page's template, for Jinja.
    """
    done = [film for film in records if not film["refused"]]
    return filled(
        template,
        about={key: readable(value) for key, value in about.items()},
        refused=[
            {
                "name": readable(film["path"]),
                "reason": sentence(film["refused"]),
                "remedy": remedy(film),
            }
            for film in records
            if film["refused"]
        ],
        done=[shown(film, number) for number, film in enumerate(done, start=1)],
    )


def remedy(record: Record) -> str:
    """Return what else to do about a film that was refused; nothing if the reason says it all."""
    found = (text for words, text in REMEDIES.items() if re.search(words, record["refused"]))
    return next(found, "")


def sentence(reason: str) -> str:
    """Return a reason as a sentence; most begin with a verb, to be said of a file."""
    is_said_of_it = re.match("(is|has|holds|cannot|can't|does|may|shows) ", reason)
    text = f"It {reason}" if is_said_of_it else reason[:1].upper() + reason[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def shown(record: Record, number: int) -> dict[str, Any]:
    """Return what the page shows of a film that was denoised."""
    rows = {
        "Film": [size_in_words(record["height"], record["width"], record["bits"])],
        **in_words(record),
        "Note": [record["note"]] if record["note"] else [],
        "Time": [f"{record['seconds']:.3g} s"] if record["seconds"] else [],
    }
    return {
        "number": number,
        "name": readable(record["path"]),
        "image": address(record["image"]),
        "saved": readable(record["image"]),
        "sheet": address(record["sheet"]),
        "size": layout(record).size,
        "rows": {heading: lines for heading, lines in rows.items() if lines},
        "is_doubtful": is_doubtful(record),
    }


def address(path: str) -> str:
    """Return the relative URL of a path; a name may hold what means something in URLs."""
    return quote(path, errors="surrogateescape")


def table(records: Sequence[Record]) -> pd.DataFrame:
    """Return a line for each film, those refused with the reason; what is not known is empty.

    Columns: `film`, its path; `refused`; `height` and `width`, pixels; `bits`; `gain` and
    `deviation` of the noise, for grey levels of [0, 1]; `estimated`, or else given; `lowest_grey`
    and `highest_grey`, between which the noise was measured; what was measured of the residual; and
    the label of the `method`.
    """
    lines = [
        {"film": film["path"], "lowest_grey": low, "highest_grey": high} | dict(film)
        for film in records
        for low, high in [film["levels"] or (None, None)]
    ]
    found = pd.DataFrame(lines, columns=[*COLUMNS]).astype(COLUMNS)
    numbers = found.select_dtypes("Float64")
    found[numbers.columns] = numbers.map(rounded, na_action="ignore")
    return found


def rounded(value: float) -> float:
    """Return a number with six digits, however small it is."""
    return float(f"{value:.{DIGITS}g}")
