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
        label: What tables and figures call it; also what it learned from, if that was elsewhere.
        plugin: Name of its file in `workflow/scripts/methods/`.
        recipe: Name of the file in `workflow/scripts/recipes/` that trains it; None if nothing is
            trained.
        model: The file of a network that is trained already, if it is one.
        noise_level: What a network that wants to know the noise is told: `told`, the noise setting;
            another noise setting, by its name; or `estimated`, what each image looks like.
        data: What trains it: `clean` images, the published `pairs` of clean and noisy ones, or the
            `noisy test` images; None if nothing does.
        learns_from: The data set whose images train or tune it, or have trained the network in
            `model`; None if it learns nothing.
        elsewhere: The same if that is another data set than the one that is scored; else None.
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
    model: str | None
    noise_level: str
    data: str | None
    learns_from: str | None
    elsewhere: str | None
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
    trains = declared["RECIPE"] if "build_network" in declared else None
    training = declarations("recipes", trains) if trains else {}
    recipe = None if "model" in entry else trains
    grid = entry.get("tune", {})
    inversion = entry.get("inversion", False)
    uses = {*declared.get("USES", []), *training.get("USES", [])}
    uses |= {"clean images", "noise model"} if grid else set()
    uses |= {"noise model"} if inversion else set()
    general = schema("config")["$defs"]["method"]["properties"]
    settings = {key: value for key, value in entry.items() if key not in general}
    scored, label = config["dataset"], entry.get("label", name)
    learns_from = entry.get("trained_on", scored) if trains or grid else None
    elsewhere = learns_from if learns_from != scored else None
    if elsewhere:
        label += f" ({'trained' if trains else 'tuned'} on {elsewhere})"
    level = entry.get("noise_level", "told")
    if level not in ("told", "estimated"):
        label += f" (told {level})"
    return Method(
        name=name,
        label=label,
        plugin=plugin,
        recipe=recipe,
        model=entry.get("model"),
        noise_level=level,
        data=training.get("DATA"),
        learns_from=learns_from,
        elsewhere=elsewhere,
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
