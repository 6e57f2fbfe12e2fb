"""What is said of the noise of a film and of what was removed, on its sheet and on the page."""

from collections.abc import Mapping
from typing import Any

import numpy as np

WHITE = 255  # grey levels are told as those of an 8-bit display, from black to white
GREYS = {"dark": 0.1, "middle": 0.5, "bright": 0.9}
# Beyond these, what was removed does not look like the noise. In phantoms and films of 64 to 512
# pixels with noise that was estimated, a network removed 0.93 to 0.99 times the noise, with
# correlations of -0.05 to 0.02. Told half or twice the variance, it removed 1.25 to 1.34 or 0.70
# to 0.82 times that noise; told a quarter, correlations were -0.08 to -0.15.
WEAKEST, STRONGEST = 0.9, 1.1  # standard deviation of the residual, relative to the noise
MOST_CORRELATION = 0.08

MADE_OF, REMOVED = "What it is made of", "What was removed"  # headings

Record = Mapping[str, Any]


def deviations(record: Record) -> dict[str, float]:
    """Return the standard deviation of a film's noise by the names of `GREYS`, grey of [0, 1]."""
    gain, deviation = record["gain"], record["deviation"]
    return {name: float(np.sqrt(gain * x + deviation**2)) for name, x in GREYS.items()}


def in_levels(grey: float) -> str:
    """Return a standard deviation of [0, 1] in grey levels of 255, and in percent."""
    return f"{number(WHITE * grey)} of {WHITE} ({number(100 * grey)} %)"


def number(value: float) -> str:
    """Return a number of 0 or more with one decimal, or two digits if it is small."""
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def level(grey: float) -> int:
    """Return a grey of [0, 1] as a level of 255."""
    return round(WHITE * grey)


def origin(record: Record) -> str:
    """Return where gain and deviation come from."""
    return "estimated from this film" if record["estimated"] else "given by hand"


def in_words(record: Record) -> dict[str, list[str]]:
    """Return what is said of a film's noise and of what was removed, sentences by headings."""
    return {
        f"Noise, {origin(record)}": noise_in_words(record),
        MADE_OF: model_in_words(record),
        REMOVED: residual_in_words(record),
    }


def noise_in_words(record: Record) -> list[str]:
    """Return how strong the noise of a film is, a sentence for each of `GREYS`."""
    return [
        f"{name.capitalize()} grey, {level(GREYS[name])}: standard deviation {in_levels(value)}"
        for name, value in deviations(record).items()
    ]


def model_in_words(record: Record) -> list[str]:
    """Return in sentences what gain and deviation mean, and at which greys they were measured."""
    gain, deviation = record["gain"], record["deviation"]
    parts = [f"a white pixel counts {quanta(gain)} quanta"] if gain else []
    if deviation or not gain:
        parts.append(f"electronic noise of {number(WHITE * deviation)} grey levels")
    same = "" if gain else ", the same at all greys"
    found = [f"Gain {gain:.3g}, deviation {deviation:.3g}: {', with '.join(parts)}{same}."]
    if record.get("levels"):
        low, high = map(level, record["levels"])
        found.append(f"Measured at greys from {low} to {high}; for others it is a guess.")
    return found


def quanta(gain: float) -> str:
    """Return how many quanta a white pixel counts, 1 / gain, to three digits."""
    return f"{float(f'{1 / gain:.3g}'):,.0f}" if gain <= 0.1 else f"{1 / gain:.3g}"


def residual_in_words(record: Record) -> list[str]:
    """Return in sentences whether what was removed looks like the noise; none if not known."""
    strength, correlation = record.get("residual_deviation"), record.get("residual_correlation")
    found = []
    if strength is not None:
        means = "as it should be"
        if strength < WEAKEST:
            means = "so the film is less noisy than that, or noise is left in it"
        elif strength > STRONGEST:
            means = "so the film is noisier than that, or structure was removed"
        found.append(f"{strength:.2f} times as strong as that noise, {means}.")
    if correlation is not None:
        means = "it is white, as noise is"
        if correlation > MOST_CORRELATION:
            means = "it is not white, so look for structure in it, such as edges"
        elif correlation < -MOST_CORRELATION:
            means = "it is not white: coarse noise is left in the film"
        found.append(f"Neighbouring pixels have a correlation of {correlation:+.2f}: {means}.")
    return found


def is_doubtful(record: Record) -> bool:
    """Whether what was removed from a film does not look like its noise."""
    strength, correlation = record.get("residual_deviation"), record.get("residual_correlation")
    is_as_strong = strength is None or WEAKEST <= strength <= STRONGEST
    return not (is_as_strong and abs(correlation or 0) <= MOST_CORRELATION)


def readable(text: str, others: str = "\N{REPLACEMENT CHARACTER}") -> str:
    """Return a name with what can't be shown replaced, as line breaks and halves of characters."""
    return "".join(letter if letter.isprintable() else others for letter in text)


def size_in_words(height: int, width: int, bits: int) -> str:
    """Return the size of a film, and how many bits its grey levels have."""
    depth = "floating-point numbers" if bits > 16 else f"{bits} bits" if bits > 1 else "1 bit"
    return f"{width} x {height} pixels, {depth}"
