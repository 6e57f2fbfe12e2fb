"""Which images of a data set train and which test: by number, name, table or patient.

Where no method learns from them, all may test, see `engine.learning`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from engine.messages import InputError, some
from files.tables import read_table

PARTS = ("train", "test")


def first_ones(groups: Sequence[int], train: int) -> list[str]:
    """Return the part of each image: the first groups train, in the order of their first images.

    Args:
        groups: A number for each image; images of the same one are in the same part.
        train: The least number of images that train.

    Raises:
        InputError: When none would be left for the test.
    """
    images, sizes = len(groups), Counter(groups)
    most = images - sizes[list(sizes)[-1]]
    if not 0 <= train <= most:
        together = "" if len(sizes) == images else f" in {len(sizes)} groups that stay together"
        raise InputError(
            f"the data set has {images} images{together}, of which train: {train} are for "
            f"training; allowed: " + (f"0 to {most}" if most else "0, as it is one group")
        )
    ends = dict(zip(sizes, np.cumsum(list(sizes.values())), strict=True))
    return [PARTS[bool(ends[group] - sizes[group] >= train)] for group in groups]


def grouped(names: Sequence[str], pairs: Iterable[Sequence[int]]) -> list[int]:
    """Return the group of each image: those of the same name share one, and those of a pair.

    Args:
        names: A name for each image, of its patient or its own.
        pairs: Places of two images each.
    """
    first = {name: place for place, name in reversed(list(enumerate(names)))}
    edges = [(place, first[name]) for place, name in enumerate(names)]
    ends = np.array([*edges, *pairs]).T
    graph = coo_array((np.ones(ends.shape[1]), ends), shape=(len(names), len(names)))
    return connected_components(graph, directed=False)[1].tolist()


def named(ids: Sequence[str], test: str | Sequence[str]) -> list[str]:
    """Return the part of each image: those that are named are for the test.

    Args:
        ids: Names of the images, in order.
        test: Names, or a pattern of them, as of file names: with `*`, `?` and `[...]`.

    Raises:
        InputError: When there is no such image, or none would test.
    """
    known = set(ids)
    chosen = {n for n in ids if fnmatchcase(n, test)} if isinstance(test, str) else set(test)
    if missing := sorted(chosen - known):
        raise InputError(
            f"test: the data set has no image {some(missing)}; names are those of files without "
            f"the suffix, as {ids[0]} and {ids[-1]}"
        )
    if not chosen:
        raise InputError(
            f"test: {test!r} names none of the {len(ids)} images, as {ids[0]} and {ids[-1]}: "
            "correct it, so that some test"
        )
    return [PARTS[name in chosen] for name in ids]


def tabled(ids: Sequence[str], table: str) -> tuple[list[str], list[str] | None]:
    """Return the part of each image and its patient, if the table says it.

    Args:
        ids: Names of the images, in order.
        table: A `.csv` file with the columns `image`, `part` (train or test) and, where it is
            known, `patient`; a line for each image.

    Raises:
        InputError: When the table is not such, or not of exactly these images.
    """
    try:
        lines = read_table(table)
    except UnicodeDecodeError as error:
        raise InputError(f"{table} is not UTF-8: save it so") from error
    columns = list(lines[0]) if lines else []
    if not {"image", "part"} <= set(columns):
        raise InputError(
            f"{table} has the columns {columns}: columns image and part are needed, between commas"
        )
    rows = {line["image"]: line for line in lines}
    faults = {
        "are not in the data set": sorted(rows.keys() - set(ids)),
        "are missing": [name for name in ids if name not in rows],
        "are there twice": [
            n for n, k in Counter(line["image"] for line in lines).items() if k > 1
        ],
        "are neither train nor test": [n for n, row in rows.items() if row["part"] not in PARTS],
        "have no patient": [n for n, row in rows.items() if not row.get("patient", "-")],
    }
    if any(faults.values()):
        found = [f"{some(names)} {fault}" for fault, names in faults.items() if names]
        raise InputError(f"{table}: {'; '.join(found)}. Correct these lines")
    parts = [rows[name]["part"] for name in ids]
    if "test" not in parts:
        raise InputError(f"{table}: all images are for train; some must test")
    return parts, [rows[name]["patient"] for name in ids] if "patient" in columns else None


def patients_of(ids: Sequence[str], pattern: str) -> list[str]:
    """Return the patient of each image, which a regular expression finds in its name.

    Args:
        ids: Names of the images, in order.
        pattern: The patient is what its group matches, or without a group all that it matches.

    Raises:
        InputError: When it finds none in a name.
    """
    wanted = re.compile(pattern)
    matches = [wanted.search(name) for name in ids]
    patients = [match and match[wanted.groups] for match in matches]
    if missing := [name for name, patient in zip(ids, patients, strict=True) if not patient]:
        raise InputError(
            f"patient: {pattern!r} finds no patient in {len(missing)} of {len(ids)} names: "
            f"{some(missing)}; give a pattern that is in all"
        )
    return patients


def check_patients(patients: Sequence[str], parts: Sequence[str]) -> None:
    """Raise an InputError that names the patients of whom images train and others test."""
    of_part = [{p for p, own in zip(patients, parts, strict=True) if own == part} for part in PARTS]
    if both := sorted(of_part[0] & of_part[1]):
        raise InputError(
            f"test: of the patients {some(both)} images train and others test; put all images of a "
            "patient into one part"
        )
