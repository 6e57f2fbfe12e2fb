"""Trains the network of one method for one noise setting."""

import importlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.job import Snakemake, run
from engine.learning import require_images
from engine.locks import alone
from engine.messages import log
from files.arrays import load_images
from files.atomic import checkpoint_of, lock_of
from files.tables import write_table
from noise.seeds import digest, generator, replicate

if TYPE_CHECKING:
    from training.recipe import Recipe


def recipe_class(name: str) -> "type[Recipe]":
    """Return the recipe of the file `recipes/<name>.py`."""
    module = importlib.import_module(f"recipes.{name}")
    return getattr(module, name.title().replace("_", ""))


def main(snakemake: Snakemake) -> None:
    checkpoint = checkpoint_of(snakemake.output.model)
    with alone(lock_of(checkpoint), f"the training of {snakemake.output.model}"):
        train_network(snakemake, checkpoint)


def train_network(snakemake: Snakemake, checkpoint: Path) -> None:
    # Torch looks for GPUs when it is imported, so this waits until the job has its own.
    import torch

    from files.tensors import save_tensors
    from training.loop import identity_of, train
    from training.processor import chosen_processor, keep_freed_memory

    params, wildcards = snakemake.params, snakemake.wildcards
    purpose = wildcards.noise, wildcards.method, *replicate(wildcards.training)
    name = "/".join(purpose)
    settings = dict(params.settings)
    training = settings.pop("training")

    torch.set_num_threads(training["threads"])
    keep_freed_memory()
    processor = chosen_processor(params.device, training)
    paths = {key: snakemake.input.get(key) for key in ("clean", "noisy")}
    images = {key: load_images(path, "r") for key, path in paths.items() if path}
    if "clean" in images:
        require_images(images["clean"], paths["clean"], snakemake)

    torch.manual_seed(digest(params.seed, "initialise", *purpose))
    plugin = importlib.import_module(f"methods.{params.plugin}")
    network = plugin.build_network(settings, params.noise)
    parameters = sum(p.numel() for p in network.parameters())
    steps, batch = training["steps"], training["batch"]
    log.info("%s: %d parameters, %d steps of %d images", name, parameters, steps, batch)

    draw = partial(generator, params.seed, plugin.RECIPE, *purpose)
    kind = recipe_class(plugin.RECIPE)
    recipe = kind(network, images, params.noise, training, draw, processor)
    made_of = [params.settings, params.noise, params.seed, params.code]
    identity = identity_of(processor, images.values(), *made_of)
    done = train(recipe, checkpoint=checkpoint, identity=identity, name=name)

    cost = {"training_images": done.images, "training_seconds": done.seconds}
    model = {"plugin": params.plugin, "settings": settings, "noise": params.noise}
    model |= {"learned_from": params.learns_from, "training": training}
    model |= {"weights": recipe.kept(), "cost": {"parameters": parameters} | cost}
    save_tensors(snakemake.output.model, model)
    write_table(snakemake.output.history, done.history)


if __name__ == "__main__":
    run(main)
