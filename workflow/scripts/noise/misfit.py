"""What tells that an image's noise is not white Poisson-Gaussian noise that was clipped."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from noise.blocks import BASIS, HIGH, SIDE, Blocks
from noise.clipping import LEVELS, Moments

# Overlapping blocks share their pixels: together they say as much as so many separate ones.
OVERLAP_WORTH = 2.5
MOST_PIXELS = 5_000  # blocks of which each pixel is looked at
BANDS = 12  # of grey level
LEAST_IN_BAND = 3  # separate blocks

# Of the power over the high frequencies, a model: 1 + what neighbours in a column, in a row and
# diagonal ones add if their noise is correlated.
COSINE = np.cos(np.pi * np.arange(SIDE) / SIDE)
DOWN, ACROSS = (wave.ravel()[HIGH] for wave in np.meshgrid(COSINE, COSINE, indexing="ij"))
WAVES = np.stack([np.ones_like(DOWN), 2 * DOWN, 2 * ACROSS, 4 * DOWN * ACROSS], axis=1)
FITTED = np.linalg.pinv(WAVES)

RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
# Standard deviations; counts have a longer tail towards white.
BLACK_BY, WHITE_BY = 5.5, 7
STRIP = 256  # rows

GREYS = 255  # steps of an 8-bit file
# The part in the middle, pixels a side, and the coefficients by which JPEG is known.
JPEG_PART = 263
JPEG_TERMS = (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (2, 2), (3, 3), (4, 4)
NORMAL = 1.4826  # standard deviations of a normal distribution in its median deviation
JPEG_LEAST = 8  # blocks at each place of the grid
# Bins a grey level, and how many; frequencies that belong to quantisation steps of 80 to 3.
JPEG_FINE, JPEG_BINS, JPEG_FREQUENCIES = 2, 8192, slice(51, 1366)


@dataclass(frozen=True)
class Misfit:
    """How far an image's noise is from the model; most numbers are about 0 if it fits.

    `correlation`: of neighbours in a column, in a row and of diagonal ones, relative to the power
    in the high frequencies; `colour`: the same together in standard errors, 1 for white noise.
    `curve`: by how much variances differ from the model's over grey level (relative, root mean
    square, beyond chance). `skewness`, `kurtosis`: of second differences, beyond the model's.
    `impulses`: lone black or white pixels that the model does not explain, of so many `pixels`.
    `jpeg`: how much the grid of JPEG stands out. `grey_step`: the step between grey levels, 0 if
    there is none. `blocks`: how many separate blocks all this rests on. `share`: of the blocks
    without structure. `usable`: share of the blocks that are not too much clipped.
    """

    correlation: tuple[float, float, float]
    colour: float
    curve: float
    skewness: float
    kurtosis: float
    impulses: int
    pixels: int
    jpeg: float
    grey_step: float
    blocks: float
    share: float
    usable: float


def measure(
    image: np.ndarray, parts: Blocks, chosen: np.ndarray, model: Moments, most_structure: float
) -> Misfit:
    """Compare an image (H, W) with a model of its noise.

    Args:
        image: Values in [0, 1].
        parts: Its blocks.
        chosen: Which of them have no structure, (N,).
        model: Moments of its clipped noise.
        most_structure: Relative power in the middle frequencies of a block without structure.
    """
    worth = min(1.0, OVERLAP_WORTH * (parts.step / SIDE) ** 2)
    count = worth * np.count_nonzero(chosen)
    variance = model.at(parts.mean[chosen], "variance")
    correlation, colour = coloured(parts.energy[chosen] / variance[:, None], count)
    skewness, kurtosis = shaped(parts, chosen, model)
    return Misfit(
        correlation=correlation,
        colour=colour,
        curve=bent(parts.mean[chosen], parts.high[chosen] / variance, worth),
        skewness=skewness,
        kurtosis=kurtosis,
        impulses=impulses(image, model),
        pixels=image.size,
        jpeg=jpeg(image, float(np.sqrt(np.quantile(variance, 0.05)))),
        grey_step=grey_step(image),
        blocks=float(count),
        share=float(np.mean(parts.middle <= most_structure * model.at(parts.mean, "variance"))),
        usable=float(model.usable(parts.mean).mean()),
    )


def coloured(relative: np.ndarray, count: float) -> tuple[tuple[float, float, float], float]:
    """Return the correlations of neighbours, and all three in standard errors.

    Args:
        relative: Energies in the high band over the variance of the noise, (n, frequencies).
        count: How many of the n blocks are independent.
    """
    power = relative.mean(axis=0, dtype=np.float64)
    found = (FITTED @ power / power.mean())[1:]
    covariance = 2 / count * (FITTED @ FITTED.T)[1:, 1:]
    colour = np.sqrt(found @ np.linalg.solve(covariance, found) / len(found))
    down, across, diagonal = map(float, found)
    return (down, across, diagonal), float(colour)


def bent(mean: np.ndarray, relative: np.ndarray, worth: float) -> float:
    """Return by how much relative variances (n,) depart from 1 over grey level, beyond chance."""
    band = np.minimum((mean * BANDS).astype(int), BANDS - 1)
    blocks = np.bincount(band, minlength=BANDS)
    is_filled = worth * blocks > LEAST_IN_BAND
    if not is_filled.any():
        return 0.0
    blocks = blocks[is_filled]
    departure = np.bincount(band, relative, BANDS)[is_filled] / blocks - 1
    by_chance = 2 / np.count_nonzero(HIGH) / (worth * blocks)
    return float(np.sqrt(max(0.0, np.average(departure**2 - by_chance, weights=blocks))))


def shaped(parts: Blocks, chosen: np.ndarray, model: Moments) -> tuple[float, float]:
    """Return skewness and excess kurtosis of second differences, less what the model predicts."""
    places, pixels = parts.chosen(chosen, MOST_PIXELS)
    mean = parts.mean[places]
    variance = model.at(mean, "variance")
    sums = np.zeros(3)
    for turned in (pixels, pixels.swapaxes(1, 2)):
        difference = 2 * turned[:, :, 1:-1] - turned[:, :, :-2] - turned[:, :, 2:]
        difference /= np.sqrt(6 * variance)[:, None, None]
        square = difference * difference
        sums += [square.mean(), (square * difference).mean(), (square * square).mean()]
    second, third, fourth = sums / 2
    if second == 0:
        return 0.0, 0.0
    # Of weights (2, -1, -1) / sqrt(6) the cubes sum to 1 / sqrt(6), the fourth powers to 1 / 2.
    skewness = np.mean(model.at(mean, "third") / variance**1.5) / np.sqrt(6)
    kurtosis = np.mean(model.at(mean, "fourth") / variance**2 - 3) / 2
    return float(third / second**1.5 - skewness), float(fourth / second**2 - 3 - kurtosis)


def impulses(image: np.ndarray, model: Moments) -> int:
    """Return how many pixels are black or white among neighbours that are not, beyond chance."""
    found = 0
    for top in range(0, len(image), STRIP):  # so that large images take no more memory
        part = image[max(0, top - 1) : top + STRIP + 1]
        mean = ndimage.convolve(part, RING / RING.sum())
        spread = np.sqrt(np.interp(mean, LEVELS, model.whole))
        black, white = 3 * np.sqrt(model.whole[[0, -1]])
        is_black = (part == 0) & (mean > BLACK_BY * spread)
        is_black &= ndimage.minimum_filter(part, footprint=RING) > black
        is_white = (part == 1) & (1 - mean > WHITE_BY * spread)
        is_white &= ndimage.maximum_filter(part, footprint=RING) < 1 - white
        first = min(top, 1)
        found += np.count_nonzero((is_black | is_white)[first : first + STRIP])
    return int(found)


def jpeg(image: np.ndarray, noise: float) -> float:
    """Return how much the coefficients at one place of an 8 x 8 grid lie on multiples of a step.

    That of JPEG after the noise is sharper than noise of this standard deviation, added after
    JPEG, leaves it. Without JPEG this is a few at most.
    """
    top, left = (max(0, (side - JPEG_PART) // 2) for side in image.shape)
    part = GREYS * image[top : top + JPEG_PART, left : left + JPEG_PART]
    windows = sliding_window_view(part, (SIDE, SIDE))
    rows, columns = (side // SIDE * SIDE for side in windows.shape[:2])
    windows = windows[:rows, :columns]
    is_whole = (windows.min(axis=(2, 3)) > 0) & (windows.max(axis=(2, 3)) < GREYS)
    place = np.add.outer(SIDE * (np.arange(rows) % SIDE), np.arange(columns) % SIDE)[is_whole]
    count = np.bincount(place, minlength=SIDE**2)
    if count.min() < JPEG_LEAST:
        return 0.0
    frequency = np.arange(JPEG_BINS // 2 + 1)[JPEG_FREQUENCIES] * JPEG_FINE / JPEG_BINS
    blurred = np.exp(-2 * (np.pi * GREYS * noise * frequency) ** 2)
    score = np.zeros(SIDE**2)
    for row, column in JPEG_TERMS:
        term = np.einsum("hwij,i,j->hw", windows, BASIS[row], BASIS[column], optimize=True)
        level = (JPEG_FINE * term[is_whole]).round().astype(int) % JPEG_BINS
        counts = np.bincount(JPEG_BINS * place + level, minlength=SIDE**2 * JPEG_BINS)
        waves = np.abs(np.fft.rfft(counts.reshape(-1, JPEG_BINS), axis=1)[:, JPEG_FREQUENCIES])
        sharp = np.maximum(waves / count[:, None] - blurred, 0) ** 2 * count[:, None]
        score += sharp.max(axis=1)
    usual = np.median(score)
    spread = NORMAL * np.median(np.abs(score - usual))
    return float((score.max() - usual) / (1 + spread))


def grey_step(image: np.ndarray) -> float:
    """Return the step between grey levels if they are those of 8 bits, else 0."""
    for row in image:
        levels = GREYS * row
        if np.abs(levels - levels.round()).max() > 1e-6:
            return 0.0
    return 1 / GREYS


# Limits, chosen on the phantom and on films that train; benchmarks/estimation.py tests them on
# others. Those of a shape allow for chance too: their second number is divided by the root of how
# many blocks there are.
LEAST_CORRELATION, MOST_COLOUR = 0.035, 2.4
FEW, MOST_COLOUR_OF_FEW = 0.06, 1.7  # where hardly a block is without structure
MOST_CURVE = 0.12
MOST_SKEWNESS = 0.06, 1.2
MOST_KURTOSIS = 0.06, 3.2
# Tails that are too light mean little: where gain and deviation can hardly be told apart, as in a
# bright image, the wrong mixture of both has them.
LEAST_KURTOSIS = -0.3, -3.2
# Or this share of the pixels: whole films have dust, scratches and marks.
MOST_IMPULSES, MOST_SHARE = 2, 1e-5
LEAST_USABLE = 0.1
MOST_JPEG = 6
LEAST_NOISE = 1e-4
LEAST_STEPS = 0.4  # standard deviation of the noise, in steps between grey levels


def reasons(misfit: Misfit, finest: float) -> tuple[str, ...]:
    """Return in sentences why the model does not explain the noise; none if it does.

    Args:
        misfit: What was measured.
        finest: The least standard deviation of the noise in the image.
    """
    found = []
    strongest = max(misfit.correlation, key=abs)
    most = MOST_COLOUR_OF_FEW if misfit.share < FEW else MOST_COLOUR
    if misfit.colour > most and abs(strongest) > LEAST_CORRELATION:
        found.append(
            f"the noise is not white: neighbouring pixels are correlated ({strongest:+.2f} "
            "relative to its high frequencies)"
        )
    if misfit.curve > MOST_CURVE:
        found.append(
            "the variance does not rise in proportion to the grey level: it departs by "
            f"{misfit.curve:.0%}".replace("%", " %")
        )
    root = np.sqrt(misfit.blocks)
    if abs(misfit.skewness) > MOST_SKEWNESS[0] + MOST_SKEWNESS[1] / root:
        found.append(f"the noise is skewed otherwise than counts are ({misfit.skewness:+.2f})")
    least, most = (limit + chance / root for limit, chance in (LEAST_KURTOSIS, MOST_KURTOSIS))
    if not least <= misfit.kurtosis <= most:
        tails = "heavier" if misfit.kurtosis > 0 else "lighter"
        found.append(
            f"the noise has {tails} tails than the model (kurtosis {misfit.kurtosis:+.2f})"
        )
    if misfit.usable < LEAST_USABLE:
        found.append(f"{1 - misfit.usable:.0%} of the image are clipped".replace("%", " %"))
    if misfit.impulses > max(MOST_IMPULSES, MOST_SHARE * misfit.pixels):
        found.append(f"{misfit.impulses} lone pixels are black or white: impulse noise")
    if misfit.jpeg > MOST_JPEG:
        found.append("the noisy image was compressed as JPEG: it shows the grid of 8 x 8 pixels")
    if finest < LEAST_NOISE:
        found.append(f"hardly any noise is there: its standard deviation is below {LEAST_NOISE}")
    elif finest < LEAST_STEPS * misfit.grey_step:
        found.append("the noise is finer than the steps between the grey levels")
    return tuple(found)
