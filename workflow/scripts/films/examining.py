"""What is known of a film before it is denoised: its size, its noise, or why it can't be used."""

import importlib
import json
from pathlib import Path
from typing import Any

import safetensors

from engine.messages import InputError
from films.strips import open_film, sampled
from noise.estimation import SMALLEST, estimate_noise
from noise.ranges import Ranges, ranges_in

Record = dict[str, Any]
NO_LIMITS = ranges_in({})


def examined(
    path: Path,
    name: str,
    given: tuple[float, float] | None,
    ranges: Ranges = NO_LIMITS,
    white: float | None = None,
) -> Record:
    """Return the record of a film; whatever is wrong with it, this raises no error.

    Args:
        path: Its file.
        name: Its path below the folder of the films.
        given: Gain and deviation of its noise; None to estimate them. The variance of the noise is
            `gain * x + deviation^2` at the clean grey level x of [0, 1].
        ranges: From and to of the gain and of the deviation that the method is for.
        white: The level of white, if the film doesn't say it; None for what it says.

    Returns:
        `path`, `white` (as given), `height`, `width` (pixels), `bits` (of the levels, 32 of
        floats), `gain`, `deviation`, `estimated` (whether they are estimates), `levels` (from and
        to of the greys that they were measured at), `refused` (a sentence why it can't be
        denoised). None stands for what is not known or does not apply.
    """
    keys = ("height", "width", "bits", "gain", "deviation", "levels", "refused")
    record = {"path": name, "white": white, "estimated": given is None} | dict.fromkeys(keys)
    try:
        film = open_film(path, white)
        record["height"], record["width"] = map(int, film.shape)
        record["bits"] = int(film.bits)
        if min(film.shape) < SMALLEST:
            raise InputError(
                f"is too small ({film.shape[1]} x {film.shape[0]} pixels; at least {SMALLEST} x "
                f"{SMALLEST} are needed): give a larger copy of it"
            )
        if given is None:
            found = estimate_noise(sampled(film))
            record["gain"], record["deviation"] = found.gain, found.deviation
            record["levels"] = list(found.levels)
            if not found.fits:
                raise InputError(_other_kind(found.reasons))
        else:
            record["gain"], record["deviation"] = given
        if fault := beyond(record["gain"], record["deviation"], ranges):
            raise InputError(fault)
    except InputError as error:
        record["refused"] = str(error).replace(f"{path} ", "").replace(str(path), name)
    return record


def beyond(gain: float, deviation: float, ranges: Ranges) -> str | None:
    """Return a sentence that says that noise is none that a method is for; None if it is."""
    (_, most_gain), (_, most_deviation) = ranges
    noise = f"a gain of {gain:.3g} and a deviation of {deviation:.3g}"
    if gain > most_gain or deviation > most_deviation:
        return (
            f"has noise beyond the training of the network: {noise}, where the greatest were "
            f"{most_gain:.3g} and {most_deviation:.3g}; take a classical method, as nl_means"
        )
    if not gain and not deviation:
        return "has no noise that could be measured: there is nothing to remove"
    return None


def _other_kind(reasons: tuple[str, ...]) -> str:
    return (
        f"has noise of another kind than a detector's: {'; '.join(reasons)}. If you know how "
        "strong it is, give it (NOISE='dose: ..., electronic: ...')"
    )


def ranges_of(model: str | Path) -> Ranges:
    """Return from and to of the gain and of the deviation in the training of a network.

    Of a `.safetensors` file only the header is read, without torch, which takes seconds to import.

    Raises:
        InputError: When the file is no model of this workflow.
    """
    if Path(model).suffix != ".safetensors":
        # By its name, so that nothing here depends on that code.
        return importlib.import_module("training.networks").trained_network(model, True).ranges
    try:
        with safetensors.safe_open(model, framework="numpy") as file:
            about = json.loads(file.metadata()["denoiser"])["about"]
        return ranges_in(about.get("training", {}))
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{model} holds no model of this workflow ({error})") from error
