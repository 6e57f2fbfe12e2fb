"""Measure how well noise is estimated from one image, and how often it is said not to fit.

Noise of the whole range of the model is added to phantoms, and with `--images FOLDER` to parts of
real films, of which the last that train are used: the limits were chosen on others. Writes
`benchmarks/results/estimation.md`; takes ten minutes of one core. Needs what the workflow needs.
"""

import argparse
import io
import itertools
import logging
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage
from skimage.restoration import denoise_tv_chambolle
from skimage.transform import resize

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from engine.messages import InputError, Progress
from files.atomic import write_text
from files.pools import each
from images.reading import SUFFIXES, read_grey
from noise.estimation import NoiseEstimate, estimate_noise
from noise.models import corrupt
from noise.seeds import generator
from render_phantom import render
from results.pages import markdown

RESULT = Path(__file__).resolve().parent / "results" / "estimation.md"
GREYS = np.array([0.1, 0.5, 0.9])
FILMS = slice(256, 320)  # of the real images; those before were looked at, those behind test
PART = 512  # pixels a side of a film's part
# Ranges of the noise. A quarter of all draws has no gain, the others spread over the logarithm.
GAINS, DEVIATIONS, WITHOUT_GAIN = (1e-5, 0.05), (0.002, 0.2), 0.25
BANDS = (0, 0.005, 0.02, 0.1, 1)  # of the standard deviation at grey 0.5
DOSES, ELECTRONIC = (400, 100, 25), 0.01  # as in config/detector.yaml
NATIVE, WHOLE = "films, native pixels", "films, whole"
STRIDE = 5  # between films that are taken whole
FEWER = 4  # one image of so many is used for the doses and for each misfit
APART = 0.2  # least share of the variance at grey 0.5 of which gain and deviation are judged

Noisy = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Drawn(NamedTuple):
    """One noise that was added to an image, and what was estimated."""

    gain: float
    deviation: float
    own: NoiseEstimate | None  # of the image before, if it has noise
    found: NoiseEstimate

    def errors(self) -> dict[str, float]:
        """Return relative errors of standard deviations, of the gain and of the deviation."""
        own_gain, own_square = 0.0, 0.0
        if self.own:  # with what rounding to its grey levels added
            own_gain = self.own.gain
            own_square = self.own.deviation**2 + self.own.misfit.grey_step**2 / 12
        gain, square = self.gain + own_gain, self.deviation**2 + own_square
        true = np.sqrt(gain * GREYS + square)
        row = dict(zip(GREYS, self.found.deviation_at(GREYS) / true - 1, strict=True))
        row = {f"at {grey:g}": error for grey, error in row.items()}
        if APART <= gain * 0.5 / (gain * 0.5 + square) <= 1 - APART:
            row["gain"] = self.found.gain / gain - 1
            row["deviation"] = self.found.deviation / np.sqrt(square) - 1
        return row


def draw_model(rng: np.random.Generator) -> tuple[float, float]:
    """Return a gain and a deviation of the ranges above."""
    gain, deviation = (float(np.exp(rng.uniform(*np.log(r)))) for r in (GAINS, DEVIATIONS))
    return (0.0 if rng.random() < WITHOUT_GAIN else gain), deviation


def with_noise(
    image: np.ndarray, gain: float, deviation: float, rng: np.random.Generator
) -> np.ndarray:
    """Return an image with Poisson-Gaussian noise, clipped."""
    if gain:
        settings = {"dose": 1 / gain, "electronic": deviation}
        return corrupt(image, {"distribution": "poisson_gaussian", **settings}, rng)
    settings = {"factor": deviation, "mean": 0, "std": 1}
    return corrupt(image, {"distribution": "gaussian", **settings}, rng)


def film_part(number: int, paths: list[Path], box: int, seed: int) -> np.ndarray:
    """Return a part (512, 512) of a film of which boxes of pixels are averaged, from anywhere."""
    path = paths[number % len(paths)]
    film = read_grey(path)
    height, width = (side // box for side in film.shape)
    boxes = film[: height * box, : width * box].reshape(height, box, width, box)
    film, rng = boxes.mean(axis=(1, 3)), generator(seed, "part", number)
    top, left = rng.integers(0, height - PART + 1), rng.integers(0, width - PART + 1)
    return film[top : top + PART, left : left + PART]


def whole_film(number: int, paths: list[Path]) -> np.ndarray:
    """Return a film (H, W) at its own size."""
    return read_grey(paths[number * STRIDE % len(paths)])


def drawn(
    job: tuple[int, np.ndarray],
    name: str,
    seed: int,
    has_noise: bool,
    model: tuple[float, float] | None = None,
) -> Drawn:
    """Add noise to an image, of which the number is given too, and estimate it."""
    number, image = job
    rng = generator(seed, "estimation", name, number, *map(str, model or ()))
    gain, deviation = model or draw_model(rng)
    own = estimate_noise(image) if has_noise else None
    return Drawn(gain, deviation, own, estimate_noise(with_noise(image, gain, deviation, rng)))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Return an image as JPEG of a quality leaves it."""
    file = io.BytesIO()
    Image.fromarray((255 * image).round().astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)) / 255


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    """Return an image of other sides."""
    return resize(image, [round(factor * side) for side in image.shape], anti_aliasing=True)


def other(**noise: str | float) -> Noisy:
    """Return a function that adds another noise."""
    return lambda image, rng: corrupt(image, noise, rng)


# What is done to an image with noise that fits.
AFTERWARDS: dict[str, Noisy] = {
    "rounded to 8 bits: it fits": lambda image, _: (255 * image).round() / 255,
    "blurred, 0.5 pixels": lambda image, _: ndimage.gaussian_filter(image, 0.5),
    "blurred, 1 pixel": lambda image, _: ndimage.gaussian_filter(image, 1),
    "mean of 3 x 3": lambda image, _: ndimage.uniform_filter(image, 3),
    "median of 3 x 3": lambda image, _: ndimage.median_filter(image, 3),
    "total variation, weight 0.1": lambda image, _: denoise_tv_chambolle(image, 0.1),
    "JPEG, quality 90": lambda image, _: jpeg(image, 90),
    "JPEG, quality 75": lambda image, _: jpeg(image, 75),
    "JPEG, quality 50": lambda image, _: jpeg(image, 50),
    "enlarged 1.5 times": lambda image, _: resized(image, 1.5),
    "reduced to 0.7": lambda image, _: resized(image, 0.7),
    "reduced to 0.5": lambda image, _: resized(image, 0.5),
    "salt and pepper, 1 %": other(distribution="salt_pepper", share=0.01),
    "salt and pepper, 0.1 %": other(distribution="salt_pepper", share=0.001),
}
# Other noise, added to an image without.
INSTEAD: dict[str, Noisy] = {
    "published Poisson, lambda 1": other(distribution="poisson", factor=0.2, **{"lambda": 1}),
    "published Poisson, lambda 5": other(distribution="poisson", factor=0.2, **{"lambda": 5}),
    "speckle, deviation 0.1": other(distribution="speckle", std=0.1),
    "no noise at all": lambda image, _: image,
}
# Of which images misfits are counted, and which.
JUDGED = dict.fromkeys(["phantom, 128 pixels", NATIVE], (*AFTERWARDS, *INSTEAD))
JUDGED[WHOLE] = tuple(name for name in AFTERWARDS if name.endswith("fits") or "salt" in name)


def is_refused(job: tuple[int, np.ndarray], name: str, seed: int) -> bool:
    """Whether the noise of an image, treated as the name says, is said not to fit."""
    number, image = job
    rng = generator(seed, "misfit", name, number)
    if name in AFTERWARDS:
        image = AFTERWARDS[name](with_noise(image, *draw_model(rng), rng), rng)
    else:
        image = INSTEAD[name](image, rng)
    try:
        return not estimate_noise(image).fits
    except InputError:
        return True


def accuracy(name: str, draws: Iterable[Drawn]) -> list[dict[str, str]]:
    """Return rows of a table: median errors in percent, for each band of noise and together."""
    rows = []
    for one in draws:
        strength = np.sqrt(one.gain * 0.5 + one.deviation**2)
        rows.append({"strength": strength, "alarm": not one.found.fits, **one.errors()})
    table = pd.DataFrame(rows)
    bands = pd.cut(table["strength"], BANDS)
    parts = [(f"{band.left:g} to {band.right:g}", part) for band, part in table.groupby(bands)]
    if len(parts) > 1:
        parts = [("all", table), *parts]
    return [{"images": name, "noise at 0.5": band, **medians(part)} for band, part in parts]


def medians(table: pd.DataFrame) -> dict[str, str]:
    """Return the number of draws and the medians of columns' magnitudes, in percent."""
    row = {"draws": str(len(table))}
    for grey in GREYS:
        errors = 100 * table[f"at {grey:g}"].abs()
        row[f"at {grey:g}"] = f"{errors.median():.1f} ({errors.quantile(0.95):.1f})"
    for column in ("gain", "deviation"):
        errors = 100 * table.get(column, pd.Series(dtype=float)).dropna().abs()
        row[column] = f"{errors.median():.1f} of {len(errors)}" if len(errors) else ""
    return row | {"said not to fit": f"{100 * table['alarm'].mean():.0f} %"}


def costs(seed: int) -> list[dict[str, str]]:
    """Return rows of a table: what an estimate takes."""
    rows = []
    for height, width in ((128, 128), (512, 512), (2400, 1935)):
        image = ndimage.zoom(render(1, 256, seed), (height / 256, width / 256), order=1)
        noisy = with_noise(image.clip(0, 1), 0.01, 0.01, generator(seed, "cost"))
        started = time.process_time()
        estimate_noise(noisy)
        seconds = time.process_time() - started
        tracemalloc.start()
        estimate_noise(noisy)
        memory = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        cells = {"seconds": f"{seconds:.1f}", "MiB beside the image": f"{memory:.0f}"}
        rows.append({"pixels": f"{height} x {width}", **cells})
    return rows


def called(job: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Return what a job without arguments returns."""
    return job()


def watched(results: Iterable[Any], total: int) -> Iterator[Any]:
    """Yield results, and say from time to time how many there are."""
    progress = Progress("estimates", total)
    for result in results:
        yield result
        progress.advance()


def page(arguments: argparse.Namespace) -> str:
    """Return the results in Markdown."""
    seed, every = arguments.seed, partial(each, processes=arguments.processes)
    numbers = range(1, arguments.draws + 1)
    count = -(-len(numbers) // FEWER)
    makers = {
        f"phantom, {size} pixels": partial(render, size=size, seed=seed) for size in (64, 128, 256)
    }
    if arguments.images:
        paths = sorted(path for path in arguments.images.iterdir() if path.suffix in SUFFIXES)
        for name, box in ((NATIVE, 1), ("films, means of 3 x 3", 3)):
            makers[name] = partial(film_part, paths=paths[FILMS], box=box, seed=seed)
        makers[WHOLE] = partial(whole_film, paths=paths[FILMS])
    of = {name: numbers[: count if name == WHOLE else None] for name in makers}
    makes = [partial(make, number) for name, make in makers.items() for number in of[name]]
    images = iter(list(every(called, makes)))
    # All jobs at once, since starting processes takes longer than many jobs.
    jobs: dict[tuple[str, str], list[Callable[[], Any]]] = {}
    for name in makers:
        numbered = list(zip(of[name], images, strict=False))
        few = numbered[:count]
        draw = partial(drawn, name=name, seed=seed, has_noise=name == NATIVE)
        if name != WHOLE:
            jobs[name, "all"] = [partial(draw, image) for image in numbered]
        for dose in DOSES:
            at_dose = partial(draw, model=(1 / dose, ELECTRONIC))
            jobs[name, str(dose)] = [partial(at_dose, image) for image in few]
        for kind in JUDGED.get(name, ()):
            judge = partial(is_refused, name=kind, seed=seed)
            used = numbered if kind.endswith("fits") else few
            jobs[name, kind] = [partial(judge, image) for image in used]
    total = sum(map(len, jobs.values()))
    done = watched(every(called, itertools.chain.from_iterable(jobs.values())), total)
    found, doses, misfits = [], [], {}
    for (name, kind), asked in jobs.items():
        answers = list(itertools.islice(done, len(asked)))
        if kind == "all":
            found += accuracy(name, answers)
        elif kind.isdigit():
            row = accuracy(name, answers)[0]
            del row["noise at 0.5"]
            doses.append({"dose": kind, **row})
        else:
            cell = f"{100 * np.mean(answers):.0f} % of {len(answers)}"
            misfits.setdefault(kind, {"what was done": kind})[name] = cell
    rows = {"Accuracy": found, "Doses": doses, "Misfits": list(misfits.values())}
    rows["Costs"] = costs(seed)
    parts = [
        part for name, lines in rows.items() for part in (name, pd.DataFrame(lines).fillna(""))
    ]
    return markdown("Noise estimation", *parts)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=48, help="of noise, for each kind of image")
    parser.add_argument("--seed", type=int, default=4242, help="of phantoms and noise")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--images", type=Path, help="folder of the real images")
    text = page(parser.parse_args())
    write_text(RESULT, text)
    print(text)


if __name__ == "__main__":
    main()
