"""Finding films that a data set has twice: turned, cropped, scaled, or at another exposure.

Each image is laid on the mean, and the signs of its details there are its fingerprint. Images with
fingerprints that are much alike are laid on each other, and their details are correlated.
"""

import functools
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.stats import rankdata

from engine.messages import Progress, number_of, some
from files.arrays import StoredImages
from images.resizing import resize
from noise.seeds import generator

LEAST_SIZE = 64  # smaller images show too little to tell films apart: only equal ones are found
SAMPLE = 100  # images that make the mean
BITS = 256
FEW = 1000  # pairs, all of which are compared
# Fixed on other phantoms than those of docs/images.md, by `benchmarks/twins.py --seed 77`.
MOST_BITS = 84
CANDIDATES = 5  # the most of each image
LEAST_ALIKE = 0.9
INNER = 0.8  # of width and height: what is near the edge of one may be cut off in the other


class Twins(NamedTuple):
    """Two images of one film, by their places in the data set; `alike` is 1 for equal ones."""

    first: int
    second: int
    alike: float


class Joined:
    """The images of two files, those of the second one after those of the first.

    Attributes:
        shape: (N, size, size).
    """

    def __init__(self, first: StoredImages, second: StoredImages) -> None:
        self._parts = first, second
        self.shape = (len(first) + len(second), *first.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return itertools.chain(*self._parts)

    def read(self, start: int, size: int) -> np.ndarray:
        """Return at most `size` images from the place `start` on, of one of the files."""
        first, second = self._parts
        if start < len(first):
            return first.read(start, size)
        return second.read(start - len(first), size)


Images = StoredImages | Joined


class Details(NamedTuple):
    """What is local in an image: `broad` and `narrow` of shape (64, 64), `fine` (128, 128)."""

    broad: np.ndarray
    narrow: np.ndarray
    fine: np.ndarray


def twins(images: Images, rows: Sequence[int], columns: Sequence[int]) -> list[Twins]:
    """Return the films that are among the rows and among the columns, each pair once, in order.

    Args:
        images: Shape (N, size, size).
        rows: Places of images.
        columns: Places of images; an image is no twin of itself.
    """
    equal = _equal(images, rows, columns)
    found = [Twins(*pair, 1.0) for pair in equal]
    if images.shape[1] >= LEAST_SIZE:
        signs, maps = fingerprints(images)
        found += compared(images, candidates(signs, rows, columns) - equal, maps)
    return sorted(pair for pair in found if pair.alike >= LEAST_ALIKE)


def compared(images: Images, pairs: Iterable[tuple[int, int]], maps: np.ndarray) -> list[Twins]:
    """Return how alike the images of each pair are, in order; see `fingerprints` for the maps."""
    pairs, found = sorted(pairs), []
    seen = functools.lru_cache(4 * CANDIDATES)(lambda place: _details_of(images, place))
    progress = Progress("comparing films", len(pairs))
    for first, second in pairs:
        start = maps[first] @ np.linalg.inv(maps[second])
        found.append(Twins(first, second, alike(seen(first), seen(second), start)))
        progress.advance()
    return found


def in_words(found: Sequence[Twins], names: Sequence[str]) -> str:
    """Return pairs of images, most alike first; `names` has what each image is called."""
    pairs = sorted(found, key=lambda pair: -pair.alike)
    texts = [f"{names[first]} and {names[second]}, alike {a:.3f}" for first, second, a in pairs]
    return some(texts, 20, "; ")


def counted(found: Sequence[Twins], pairs: str) -> str:
    """Return how many pairs there are and which, see `in_words`; nothing if there are none."""
    return f"{number_of(len(found), 'pair')} of images of one film: {pairs}" if found else ""


def _equal(images: Images, rows: Sequence[int], columns: Sequence[int]) -> set[tuple[int, int]]:
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    places: dict[bytes, list[int]] = {}
    for place in columns:
        places.setdefault(digests[place], []).append(place)
    return _ordered((row, place) for row in rows for place in places.get(digests[row], []))


def _ordered(pairs: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    return {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}


def fingerprints(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Return the signs of details, bool (N, 256), and where images lie on the mean, (N, 3, 3).

    See `laid_on` for the latter. The memory needed does not grow with the size of the images.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, SAMPLE).round().astype(int))
    sample = [_details_of(images, place) for place in chosen]
    mean = np.mean([image.broad for image in sample], axis=0)
    for _ in range(2):
        laid = [laid_on(image.broad, mean) for image in sample]
        mean = _mean_of([image.broad for image in sample], laid)
    common = _mean_of([image.narrow for image in sample], laid)
    inner = _inner(common)
    directions = generator(0, "fingerprint").standard_normal((np.count_nonzero(inner), BITS))
    signs, maps = np.empty((len(images), BITS), bool), np.empty((len(images), 3, 3))
    progress = Progress("fingerprints", len(images))
    for place in range(len(images)):
        image = _details_of(images, place)
        maps[place] = laid_on(image.broad, mean, steps=30)
        own = np.nan_to_num(moved(image.narrow, maps[place])) - common
        signs[place] = own[inner] @ directions > 0
        progress.advance()
    return signs, maps


def _details_of(images: Images, place: int) -> Details:
    return details(images.read(place, 1)[0])


def _mean_of(images: list[np.ndarray], maps: list[np.ndarray]) -> np.ndarray:
    laid = [moved(image, own) for image, own in zip(images, maps, strict=True)]
    return np.mean(np.nan_to_num(laid), axis=0)


def candidates(
    signs: np.ndarray, rows: Sequence[int], columns: Sequence[int], most: int = MOST_BITS
) -> set[tuple[int, int]]:
    """Return the pairs of a row and a column whose fingerprints are most alike; of a few, all.

    Args:
        signs: Truth values, shape (N, 256).
        rows: Places of images.
        columns: Places of images.
        most: In how many bits their fingerprints differ at most.
    """
    if len(rows) * len(columns) <= FEW:
        return _ordered((row, column) for row in rows for column in columns)
    values, columns = signs.astype(np.float32) * 2 - 1, np.asarray(columns)
    others, count, found = values[columns].T, min(CANDIDATES, len(columns)), []
    for start in range(0, len(rows), 256):
        block = np.asarray(rows[start : start + 256])
        differ = (BITS - values[block] @ others) / 2
        differ[block[:, None] == columns] = BITS
        nearest = np.argpartition(differ, count - 1, axis=1)[:, :count]
        near = np.take_along_axis(differ, nearest, axis=1) <= most
        row, place = np.nonzero(near)
        found += zip(block[row].tolist(), columns[nearest[row, place]].tolist(), strict=True)
    return _ordered(found)


def details(image: np.ndarray) -> Details:
    """Return what is local in an image (size, size): no exposure, no contrast, no large shapes."""
    ranks = rankdata(resize(image, 128, 128), axis=None).reshape(128, 128) / 128**2
    half = resize(ranks, 64, 64)
    return Details(_band(half, 1, 3), _band(half, 0.7, 2), _band(ranks, 0.7, 2))


def _band(image: np.ndarray, fine: float, coarse: float) -> np.ndarray:
    """Return what lies between two blurs, their widths in pixels, divided by how strong it is."""
    blur = functools.partial(ndimage.gaussian_filter, mode="nearest")
    band = blur(image, fine) - blur(image, coarse)
    return band / (np.sqrt(blur(band**2, 2 * coarse)) + 0.01)


def moved(image: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return an image (size, size) seen through an affine map of [-1, 1]^2; NaN is outside it."""
    half, centre = len(image) / 2, (len(image) - 1) / 2
    to_pixels = np.array([[half, 0, centre], [0, half, centre], [0, 0, 1]])
    whole = to_pixels @ own @ np.linalg.inv(to_pixels)
    return ndimage.affine_transform(image, whole, order=1, cval=np.nan)


def _inner(image: np.ndarray) -> np.ndarray:
    places = np.abs(_places(len(image))) < INNER
    return np.outer(places, places)


def _places(size: int) -> np.ndarray:
    """Return where the pixels of a side are in [-1, 1]."""
    return (np.arange(size) + 0.5) * 2 / size - 1


def laid_on(
    image: np.ndarray, fixed: np.ndarray, start: np.ndarray | None = None, steps: int = 10
) -> np.ndarray:
    """Return the affine map (3, 3) with which `moved` makes an image most like another.

    It is found by Gauss's and Newton's method, in the inverse compositional form: S. Baker and
    I. Matthews, Lucas-Kanade 20 years on, Int. J. Computer Vision 56 (2004).

    Args:
        image: Shape (size, size).
        fixed: What it is laid on, of the same shape.
        start: A map to start with; by default the images as they lie.
        steps: How many are done.
    """
    down, right = np.gradient(fixed, 2 / len(fixed))
    rows, columns = np.meshgrid(*[_places(len(fixed))] * 2, indexing="ij")
    slopes = np.stack([down * rows, down * columns, down, right * rows, right * columns, right])
    inner, own = _inner(fixed), np.eye(3) if start is None else start
    for _ in range(steps):
        error = moved(image, own) - fixed
        seen = inner & np.isfinite(error)
        slope = slopes[:, seen]
        step = np.linalg.solve(slope @ slope.T + 1e-3 * np.eye(6), slope @ error[seen])
        change = np.eye(3)
        change[:2] += step.clip(-0.2, 0.2).reshape(2, 3)
        own = own @ np.linalg.inv(change)
    return own if np.abs(own - np.eye(3)).max() < 0.5 else np.eye(3)  # it went astray


def alike(image: Details, other: Details, start: np.ndarray) -> float:
    """Return the correlation of the details of two images after one was laid on the other."""
    laid = moved(image.fine, laid_on(image.broad, other.broad, start, steps=8))
    seen = _inner(laid) & np.isfinite(laid)
    values = np.stack([laid[seen], other.fine[seen]])
    values -= values.mean(axis=1, keepdims=True)
    first, second = np.linalg.norm(values, axis=1)
    return float(values[0] @ values[1] / max(first * second, 1e-9))
