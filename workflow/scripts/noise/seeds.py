"""Random generators that depend on what is drawn, never on when or in which order."""

import hashlib

import numpy as np


def digest(seed: int, *purpose: str | int) -> int:
    """Return a 64-bit integer that is the same on every machine and in every Python process.

    The purpose is what is drawn and for whom, as `"noise", "poisson_0.2_1", "test", 17`.
    """
    text = "\x1f".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def replicate_parts(count: int) -> list[str]:
    """Return what tells replicates apart in paths: nothing for the first, `/2` for the second."""
    return ["", *(f"/{number}" for number in range(2, count + 1))]


def replicate(part: str) -> tuple[str, ...]:
    """Return what a replicate adds to a purpose, by its part of a path; the first adds nothing."""
    return (f"replicate {replicate_number(part)}",) if part else ()


def replicate_number(part: str) -> int:
    """Return the number of a replicate by its part of a path."""
    return int(part.removeprefix("/") or 1)


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return NumPy's generator for one purpose; see `digest` for the arguments."""
    return np.random.default_rng(digest(seed, *purpose))
