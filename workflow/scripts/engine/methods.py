"""The methods of a configuration, each with what its plug-in and its recipe declare."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.plugins import Config, declarations, merged, schema


@dataclass(frozen=True)
class Method:
    """A denoiser as configured: an entry in `methods`.

    Attributes:
        name: The entry's name, which is that of its files.
        label: What tables and figures call it.
        plugin: Name of its file in `workflow/scripts/methods/`.
        recipe: Name of the file in `workflow/scripts/recipes/` that trains it; None if it is
            classical.
        pairs: Whether it is trained on the published pairs of clean and noisy images.
        grid: The candidates of each setting that is tuned.
        inversion: Whether the clip-aware inversion is applied to what it returns.
        uses: What it uses besides noisy images: clean images, the noise model, both, neither.
        caveat: What its scores must not be taken for, if anything.
        reference: Whether it is shown for reference, and may have been given more than others.
        settings: Its settings by the noise settings that it is for, overrides applied.
    """

    name: str
    label: str
    plugin: str
    recipe: str | None
    pairs: bool
    grid: Mapping[str, list[Any]]
    inversion: bool
    uses: tuple[str, ...]
    caveat: str | None
    reference: bool
    settings: Mapping[str, Config]


def methods_of(config: Config) -> dict[str, Method]:
    """Return the methods of a checked configuration by name."""
    return {name: _method(name, entry, config) for name, entry in config["methods"].items()}


def _method(name: str, entry: Config, config: Config) -> Method:
    plugin = entry.get("plugin", name)
    declared = declarations("methods", plugin)
    recipe = declared["RECIPE"] if "build_network" in declared else None
    training = declarations("recipes", recipe) if recipe else {}
    grid = entry.get("tune", {})
    # A recipe knows what its networks estimate; of classical methods the configuration says it.
    inversion = entry.get("inversion", training.get("ESTIMATES") == "mean noisy value")
    uses = {*declared.get("USES", []), *training.get("USES", [])}
    uses |= {"clean images", "noise model"} if grid else set()
    uses |= {"noise model"} if inversion else set()
    general = schema("config")["$defs"]["method"]["properties"]
    settings = {key: value for key, value in entry.items() if key not in general}
    return Method(
        name=name,
        label=entry.get("label", name),
        plugin=plugin,
        recipe=recipe,
        pairs=training.get("DATA") == "pairs",
        grid=grid,
        inversion=inversion,
        uses=tuple(sorted(uses)),
        caveat=declared.get("CAVEAT"),
        reference=entry.get("reference", False),
        settings={
            noise: merged(settings, entry.get("overrides", {}).get(noise, {}))
            for noise, value in config["noise"].items()
            if noise in entry.get("only", [noise])
            and value["distribution"] in declared.get("DISTRIBUTIONS", [value["distribution"]])
        },
    )
