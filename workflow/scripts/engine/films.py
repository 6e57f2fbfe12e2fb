"""What the configuration says of a run that denoises a folder of films, checked at once."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.messages import number_of
from engine.methods import methods_of
from engine.plugins import Config, declarations, plugins

PAGE, TABLE = "index.html", "noise.csv"  # in the folder of the results
KEYS = ("images", "out", "method", "noise_level", "white")
ESTIMATED = "estimated"
REMEDY = "add --configfile config/denoise.yaml"
# What learns from the films themselves, by its plug-in, and the network that then denoises them.
LEARNS, LEARNED = "blind_spot_estimated", "unet_any"
# The keys by which noise can be given.
FORMS = ({"dose", "electronic"}, {"gain", "deviation"})
IN_WORDS = "estimated, {dose: D, electronic: E} or {gain: G, deviation: D}"


@dataclass(frozen=True)
class FilmMethod:
    """The method that denoises films.

    Attributes:
        label: What pages call it.
        plugin: Name of the file in `workflow/scripts/methods/` that denoises.
        model: The file of a trained network, which denoises, or from which learning starts; None
            of a classical method.
        learning: The settings by which it learns from the films themselves; None if it doesn't.
    """

    label: str
    plugin: str
    model: str | None
    learning: Config | None = None


def is_of_films(config: Config) -> bool:
    """Whether a run denoises a folder of films; all keys that it needs are there."""
    return all(key in config for key in KEYS)


def film_run(out: str) -> str:
    """Return the name of the run that writes into a folder: each such folder has its own.

    It is the same wherever the project lies, if the folder lies in it.
    """
    name = re.sub("[^A-Za-z0-9._+-]+", "_", Path(out).expanduser().resolve().name)
    digest = hashlib.sha256(place_of(out).encode(errors="surrogateescape")).hexdigest()
    return f"films-{name[:60]}-{digest[:8]}"


def place_of(folder: str | Path) -> str:
    """Return a folder's path, links followed; from here if it is below, so that both may move."""
    place, here = Path(folder).expanduser().resolve(), Path.cwd().resolve()
    return str(place.relative_to(here) if place.is_relative_to(here) else place)


def film_methods(config: Config) -> dict[str, FilmMethod]:
    """Return the methods by name that can be told the noise of a film, all that are allowed.

    They are networks of the configuration that are trained and told the noise, classical plug-ins
    that say by `settings_for` what suits noise of some deviation, and what learns from the films.
    """
    found = {
        name: FilmMethod(name, name, None)
        for name in plugins("methods")
        if "settings_for" in declarations("methods", name)
    }
    known = methods_of(config)
    start = known[LEARNED].model if LEARNED in known else None
    for name, method in known.items():
        declared = declarations("methods", method.plugin)
        if "settings_for" in declared:
            found[name] = FilmMethod(method.label, method.plugin, None)
        elif method.model and declared.get("CONDITIONED"):
            found[name] = FilmMethod(method.label, method.plugin, method.model)
        elif method.plugin == LEARNS and start:
            learning = next(iter(method.settings.values()))
            found[name] = FilmMethod(method.label, LEARNED, start, learning)
    return found


def film_problems(config: Config) -> Iterator[str]:
    """Yield what is wrong with the keys of films, if one of them is given."""
    given = [key for key in KEYS if key in config]
    for key in KEYS if given else ():
        if key not in config:
            remedy = "give the folder of your films (images=FOLDER)" if key == "images" else REMEDY
            yield f"{key}: missing; {remedy}"
    if "method" in config and config["method"] not in (known := film_methods(config)):
        yield (
            f"method: {config['method']!r} is not allowed; allowed: {', '.join(sorted(known))}; "
            f"other methods can't be told how strong the noise of a film is"
        )
    if "noise_level" in config:
        yield from _noise_problems(config["noise_level"])


def _noise_problems(given: str | Mapping[str, float]) -> Iterator[str]:
    if isinstance(given, str):
        if given != ESTIMATED:
            yield f"noise_level: {given!r} is not allowed; allowed: {IN_WORDS}"
    elif set(given) not in FORMS:
        yield f"noise_level: {dict(given)} is not allowed; allowed: {IN_WORDS}"
    elif not any(value for key, value in given.items() if key != "electronic"):
        yield "noise_level: gain and deviation are both 0, so there is no noise; give one of them"


def given_noise(noise_level: str | Mapping[str, float]) -> tuple[float, float] | None:
    """Return gain and deviation of the noise that the user gave; None if it is to be estimated."""
    if noise_level == ESTIMATED:
        return None
    if "dose" in noise_level:
        return 1 / noise_level["dose"], float(noise_level["electronic"])
    return float(noise_level["gain"]), float(noise_level["deviation"])


def film_method(config: Config, own_file: Callable[[str], str]) -> FilmMethod | None:
    """Return the method that denoises films; None if the run is of none.

    Args:
        config: The checked configuration.
        own_file: Gives the path of a file of the project.
    """
    if not is_of_films(config):
        return None
    found = film_methods(config)[config["method"]]
    return replace(found, model=own_file(found.model) if found.model else None)


def refusals(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which films were refused, and why: a line before a line for each; nothing if none."""
    refused = [f"{each['path']} {each['refused']}" for each in records if each["refused"]]
    if not refused:
        return []
    share = f"{len(refused)} of {number_of(len(records), 'film')}"
    return [f"{share} can't be denoised: mend or remove them", *refused]


def shown(file: str | Path) -> str:
    """Return the path of a file, or of that which a link of a run of films stands for."""
    if not Path(file).is_symlink():
        return str(file)
    return os.path.relpath(Path(file).parent.resolve() / Path(file).readlink())
