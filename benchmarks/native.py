"""Measure what is gained, and what is lost, when noisy films are denoised at their own size.

Parts of real films, of which the network that comes with the project saw none, get the noise of a
detector at three doses. As in `make denoise`, that network is told what is estimated of each part.
The classical methods are told the true noise, through the generalised Anscombe transform, and NL
means and total variation are tuned on parts of other films for each dose. Then small discs and thin
lines of low contrast are added to the parts before the noise: how much of them is left? Writes the
page `benchmarks/results/native.md`, and the scores of each part and structure as CSV. An hour of a
core for 24 films; BM3D takes most of it, and is left out where its package is not installed. After
a change of the network alone, `--network` keeps what the others had, of the same parts and noise.
"""

import argparse
import importlib.util
import itertools
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from engine.messages import Progress, number_of
from files.atomic import write_text
from films.methods import Denoise, classical, denoiser_of
from images.reading import SUFFIXES, read_grey
from noise.estimation import estimate_noise
from noise.models import corrupt
from noise.seeds import generator
from results.pages import markdown

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SCORES, STRUCTURES = (RESULTS / f"native{suffix}.csv" for suffix in ("", "_structures"))
MODEL = str(ROOT / "resources/models/unet_any.safetensors")
DOSES, ELECTRONIC = (400, 100, 25), 0.01  # as in config/detector.yaml
PART = 512  # pixels a side of a film's part
MEASURED, TUNED = slice(0, 256), slice(256, 320)  # of the films; those after test
TRIED = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)  # tried for a filter, relative to its own rule
BY_RULE, BY_TUNING = "BM3D", {"nl_means": "NL means", "total_variation": "total variation"}
TOLD_NOTHING, TOLD = "U-Net, any noise, told nothing", "U-Net, any noise, told the true noise"
ORDER = ("noisy", TOLD_NOTHING, TOLD, BY_RULE, *BY_TUNING.values())
# Structures, pixels and grey levels: discs by their radius, vertical lines by their width.
DISCS, LINES, CONTRASTS, APART = (3, 6, 12), (1, 2, 4), (0.03, 0.1), 64


def parts(
    folder: Path, films: slice, count: int, seed: int, part: int = PART
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names of films and a part of each (part, part), from anywhere but near its edge."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[films]
    for path in paths[:: len(paths) // count][:count]:
        film, rng = read_grey(path), generator(seed, "part", path.stem)
        top, left = (rng.integers(side // 8, 7 * side // 8 - part) for side in film.shape)
        yield path.stem, film[top : top + part, left : left + part]


def noisy_part(part: np.ndarray, name: str, dose: float, seed: int) -> np.ndarray:
    """Return a part with the noise of a dose, the same each time."""
    noise = {"distribution": "poisson_gaussian", "dose": dose, "electronic": ELECTRONIC}
    return corrupt(part, noise, generator(seed, "noise", name, str(dose)))


def scores(part: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Return both scores of an answer (H, W)."""
    return {
        "PSNR": peak_signal_noise_ratio(part, found, data_range=1),
        "SSIM": structural_similarity(part, found, data_range=1),
    }


def tuned(folder: Path, count: int, seed: int) -> dict[tuple[str, int], float]:
    """Return the best strength of each filter at each dose, by the PSNR of parts of other films."""
    known, best = list(parts(folder, TUNED, count, seed)), {}
    for plugin, dose in itertools.product(BY_TUNING, DOSES):
        noisy = [(part, noisy_part(part, name, dose, seed)) for name, part in known]

        def psnr(strength: float, plugin=plugin, dose=dose, noisy=noisy) -> float:  # noqa: ANN001
            denoise = classical(plugin, 1 / dose, ELECTRONIC, strength)
            return float(np.mean([scores(part, denoise(image))["PSNR"] for part, image in noisy]))

        best[plugin, dose] = max(TRIED, key=psnr)
    return best


def networks(dose: int) -> dict[str, Denoise]:
    """Return what the network does at a dose, by what it is told."""

    def told_nothing(noisy: np.ndarray) -> np.ndarray:
        found = estimate_noise(noisy)
        return denoiser_of("unet_any", MODEL, found.gain, found.deviation)(noisy)

    told = denoiser_of("unet_any", MODEL, 1 / dose, ELECTRONIC)
    return {TOLD_NOTHING: told_nothing, TOLD: told}


def others(dose: int, strengths: Mapping[tuple[str, int], float]) -> dict[str, Denoise]:
    """Return the other methods at a dose by their names, and what noisy parts are themselves."""
    gain, found = 1 / dose, {"noisy": lambda noisy: noisy}
    if importlib.util.find_spec("bm3d"):
        found[BY_RULE] = denoiser_of("bm3d", None, gain, ELECTRONIC)
    for plugin, label in BY_TUNING.items():
        strength = strengths[plugin, dose]
        found[label] = classical(plugin, gain, ELECTRONIC, strength)
    return found


def interval(values: pd.Series, digits: int) -> str:
    """Return the mean of a value of each film, with its 95 % interval; of one film, its value."""
    if len(values) == 1:
        return f"{values.mean():.{digits}f}"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std() / np.sqrt(len(values))
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


def quality(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return the means of each method at each dose, and how they differ from the network's."""
    rows = []
    for (dose, method), lines in table.groupby(["dose", "method"], sort=False):
        row = {"dose": dose, "method": method}
        own = lines.set_index("film")
        default = table[(table["dose"] == dose) & (table["method"] == TOLD_NOTHING)]
        for score, digits in (("PSNR", 2), ("SSIM", 4)):
            row[score] = f"{own[score].mean():.{digits}f}"
            gain = default.set_index("film")[score] - own[score]
            row[f"{score} gained"] = "" if method == TOLD_NOTHING else interval(gain, digits)
        rows.append(row)
    return rows


def structures() -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Yield the kind and the size of structures, a map of them (512, 512) in [0, 1], and centres.

    The centres (N, 2) are their places, rows and columns.
    """
    places = np.arange(APART // 2, PART, APART)
    y, x = np.mgrid[:PART, :PART]
    near = [np.abs(axis[..., None] - places).min(axis=-1) for axis in (y, x)]
    centres = np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2)
    for radius in DISCS:
        shape = (radius + 0.5 - np.hypot(*near)).clip(0, 1)
        yield "disc", f"radius {radius}", shape, centres
    for width in LINES:
        start = (x[..., None] - places).min(axis=-1, where=x[..., None] >= places, initial=PART)
        shape = ((start < width) & (near[0] < APART // 2 - 8)).astype(float)
        yield "line", f"width {width}", shape, centres


def kept(
    clean: np.ndarray, name: str, dose: int, denoise: Denoise, seed: int
) -> Iterator[dict[str, object]]:
    """Yield how much of each structure is left in an image (512, 512).

    What the same method makes of the image with and without the structures, under the same draw of
    noise, differs by what is left of them. `contrast` is its mean inside, relative to what was put
    in; `width` is relative too, by the area over half the greatest value along the mean profile.
    """
    base = 0.9 * clean  # so that nothing that is added is clipped
    without = denoise(noisy_part(base, name, dose, seed))
    for kind, size, shape, centres in structures():
        for contrast in CONTRASTS:
            left = denoise(noisy_part(base + contrast * shape, name, dose, seed)) - without
            put, found = (mean_profile(image, centres) for image in (shape, left / contrast))
            yield {
                **{"structure": kind, "size": size, "contrast": contrast},
                "kept": (left * shape).sum() / (contrast * shape.sum()),
                "wider": widths(found) / widths(put),
            }


def mean_profile(image: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the mean along the rows through the centres, shape (64,), over all centres."""
    half = APART // 2
    rows = [image[y - 1 : y + 2, x - half : x + half].mean(axis=0) for y, x in centres]
    return np.mean(rows, axis=0)


def widths(profile: np.ndarray) -> float:
    """Return the area of a profile over its greatest value, pixels: its equivalent width."""
    return float(profile.clip(0).sum() / max(profile.max(), 1e-9))


def page(table: pd.DataFrame, left: pd.DataFrame) -> str:
    """Return the measurements in Markdown.

    Args:
        table: A row a part, dose and method, with both scores and, of a tuned filter, its strength.
        left: A row a part, dose, method and structure: what `kept` yields.
    """
    told = [
        f"{table['film'].nunique()} parts of {PART} x {PART} pixels, each of another film at its "
        "own size",
        "gained: by how much the network that is told nothing has more, with the 95 % interval "
        "over films",
    ]
    tuned_ones = table.dropna(subset="strength").drop_duplicates(["method", "dose"])
    for row in tuned_ones.itertuples():
        told.append(
            f"{row.method}, dose {row.dose}: {row.strength:g} times as strong as by its rule"
        )
    told.append(f"structures were put into {number_of(left['film'].nunique(), 'part')} of these")
    keys = ["structure", "size", "contrast", "dose"]
    means = left.groupby([*keys, "method"], sort=False)[["kept", "wider"]].mean()
    cells = means.unstack("method").map("{:.2f}".format)
    cells.columns = [f"{method}: {what}" for what, method in cells.columns]
    frames = pd.DataFrame(quality(table)).astype(str), cells.reset_index().astype(str)
    return markdown("Films at their own size", "Quality", told, frames[0], "Structures", frames[1])


def kept_lines(file: Path) -> list[dict[str, object]]:
    """Return the lines of a file that was written before, but for those of the network."""
    table = pd.read_csv(file, dtype={"film": str})
    return table[~table["method"].isin([TOLD_NOTHING, TOLD])].to_dict("records")


def in_order(lines: list[dict[str, object]]) -> pd.DataFrame:
    """Return lines as a table, in the order of dose and method."""
    table = pd.DataFrame(lines)
    places = {name: place for column in (DOSES, ORDER) for place, name in enumerate(column)}
    return table.sort_values(["dose", "method"], key=lambda c: c.map(places), kind="stable")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the real images")
    parser.add_argument("--films", type=int, default=24, help="of which parts are measured")
    parser.add_argument("--structured", type=int, default=2, help="of these, with structures")
    parser.add_argument("--seed", type=int, default=1811, help="of parts and noise")
    parser.add_argument("--network", action="store_true", help="measure the network alone again")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    lines, left = ([], []) if not given.network else map(kept_lines, (SCORES, STRUCTURES))
    strengths = {} if given.network else tuned(given.images, max(2, given.films // 4), given.seed)
    known = list(parts(given.images, MEASURED, given.films, given.seed))
    progress = Progress("parts", len(known) * len(DOSES))
    for dose in DOSES:
        denoisers = networks(dose) | ({} if given.network else others(dose, strengths))
        chosen = {label: strengths.get((plugin, dose)) for plugin, label in BY_TUNING.items()}
        for place, (name, part) in enumerate(known):
            noisy = noisy_part(part, name, dose, given.seed)
            for method, denoise in denoisers.items():
                line = {"film": name, "dose": dose, "method": method}
                line |= {"strength": chosen.get(method)} | scores(part, denoise(noisy))
                lines.append(line)
                if method in (TOLD_NOTHING, BY_RULE) and place < given.structured:
                    found = kept(part, name, dose, denoise, given.seed)
                    left += [{"film": name, "dose": dose, "method": method, **row} for row in found]
            progress.advance()
    table, structures_left = (in_order(each).round(5) for each in (lines, left))
    write_text(SCORES, table.to_csv(index=False))
    write_text(STRUCTURES, structures_left.to_csv(index=False))
    write_text(RESULTS / "native.md", page(table, structures_left))


if __name__ == "__main__":
    main()
