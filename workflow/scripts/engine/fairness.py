"""What the methods of a fair comparison are allowed: the same for all, or the run is refused."""

import math
from collections.abc import Iterator

from engine.methods import methods_of
from engine.plugins import Config


def unfair(config: Config) -> Iterator[str]:
    """Yield where a method that is selected differs from what `allowed` grants each of them.

    Whether trainings take the same time is only known when they end, see `results.fairness`. What
    images methods learn from may differ (`trained_on`): the table of all methods says so in words.
    """
    allowed, methods = config.get("allowed", {}), methods_of(config)
    selected = {name: methods[name] for name in config["select"]["methods"]}
    yardstick, noises = allowed.get("seconds_as"), config["select"]["noise"]
    passes = {
        name: {
            noise: math.prod(method.settings[noise]["training"][key] for key in ("steps", "batch"))
            for noise in noises
            if noise in method.settings
        }
        for name, method in selected.items()
        if method.recipe and not method.reference
    }
    for name, method in selected.items() if allowed else []:
        if method.model and not method.reference:
            yield f"methods.{name}: what its training was given is not known; set `reference: true`"
    if yardstick and len(passes.get(yardstick, [])) < len(noises):
        wanted = "a method that is selected, trained for each noise setting, and no reference"
        yield f"allowed.seconds_as: {yardstick!r} is not allowed; allowed: {wanted}"
    for name, method in selected.items():
        trials = math.prod(map(len, method.grid.values()))
        if trials > allowed.get("trials", trials):
            most = f"allowed: {allowed['trials']} or less (allowed.trials)"
            yield f"methods.{name}.tune: {trials} combinations are not allowed; {most}"
    for name in [yardstick] if yardstick in passes else passes:  # the others have its seconds
        for noise, count in passes[name].items():
            if count != allowed.get("passes", count):
                most = f"allowed: {allowed['passes']} (allowed.passes)"
                yield f"methods.{name}: {count} image passes for {noise} are not allowed; {most}"
