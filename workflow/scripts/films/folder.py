"""The films of a run, of a folder and a network that can be used."""

import sys
from pathlib import Path

from engine.films import LEARNED, FilmMethod, given_noise
from engine.messages import InputError
from engine.plugins import Config
from films.examining import beyond, ranges_of
from films.listing import Listed, check_places, listed


def films_of(config: Config, method: FilmMethod, *, note: bool) -> dict[str, Listed]:
    """Return the films of a run by their names in it, or end the process with a message.

    Args:
        config: The checked configuration.
        method: The method that denoises them.
        note: Whether this process will run jobs, and writes down which folders the run is of.
    """
    folder, out = (Path(config[key]).expanduser() for key in ("images", "out"))
    try:
        check_model(config, method)
        films = listed(folder)
        check_places(folder, out, films, Path("results", config["run"]), note=note)
    except InputError as error:
        sys.exit(f"The configuration can't be used.\n{error}")
    return {film.key: film for film in films}


def check_model(config: Config, method: FilmMethod) -> None:
    """Refuse a network that isn't there, and noise that is given and beyond its training."""
    if not method.model:
        return
    if not Path(method.model).is_file():
        raise InputError(
            f"methods.{LEARNED if method.learning else config['method']}.model: {method.model}: "
            "there is no such file; give the file of a network, or a classical `method`"
        )
    given = given_noise(config["noise_level"])
    if method.learning:  # of noise of any strength
        return
    if given and (fault := beyond(*given, ranges_of(method.model))):
        raise InputError(f"noise_level: {fault.removeprefix('has ')}")
