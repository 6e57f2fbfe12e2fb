"""What methods learn from: the training images of the scored data set, or those of another one."""

from collections.abc import Iterator, Sized
from pathlib import Path
from typing import TYPE_CHECKING

from engine.messages import InputError
from engine.methods import methods_of
from engine.plugins import Config

if TYPE_CHECKING:
    from engine.job import Snakemake


def learners(config: Config) -> dict[str, list[str]]:
    """Return the selected methods that are trained or tuned, by the data set they learn from."""
    methods, found = methods_of(config), {}
    for name in config["select"]["methods"]:
        method = methods[name]
        learns = method.learns_from and not method.model and method.data != "noisy test"
        if learns and method.settings.keys() & set(config["select"]["noise"]):
            found.setdefault(method.learns_from, []).append(name)
    return found


def learning_problems(config: Config) -> Iterator[str]:
    """Yield where a method can't learn from what it should."""
    methods = methods_of(config)
    for name, entry in config["methods"].items():
        if "trained_on" in entry and not methods[name].learns_from:
            yield f"methods.{name}.trained_on: it learns from no images; give `tune`, or remove it"
        if "trained_on" in entry and methods[name].data == "noisy test":
            yield f"methods.{name}.trained_on: it learns from the images that test; remove it"
    for dataset, names in learners(config).items():
        if config["datasets"][dataset].get("train") == 0:
            yield f"datasets.{dataset}.train: 0 is not allowed; {_needed(dataset, names)}"


def require_images(images: Sized, file: str, snakemake: "Snakemake") -> None:
    """Refuse to learn from a data set all of whose images test.

    Args:
        images: Its training images.
        file: Where they are, `.../NAME/SIZEpx/train.npy`.
        snakemake: What the job got.

    Raises:
        InputError: Naming the data set and the methods.
    """
    if not len(images):
        dataset = Path(file).parts[-3]
        needed = _needed(dataset, learners(snakemake.config).get(dataset, ["that of this job"]))
        raise InputError(f"{file} has no image, since all of {dataset} test; {needed}")


def _needed(dataset: str, names: list[str]) -> str:
    return (
        f"these methods learn from images of {dataset}: {', '.join(names)}. Let some of its images "
        "train (`train` or `test`), or give these methods another data set (`trained_on`), or "
        "select others"
    )
