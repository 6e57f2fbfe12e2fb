"""Trains the network of one method for one noise setting."""

import hashlib
import importlib
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.job import Snakemake, run
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
    from training.loop import train
    from training.processor import chosen_processor, keep_freed_memory

    params, wildcards = snakemake.params, snakemake.wildcards
    purpose = wildcards.noise, wildcards.method, *replicate(wildcards.training)
    name = "/".join(purpose)
    settings = dict(params.settings)
    training = settings.pop("training")

    torch.set_num_threads(training["threads"])
    keep_freed_memory()
    processor = chosen_processor(params.device, training)
    images = {key: load_images(path, "r") for key, path in snakemake.input.items() if path}

    torch.manual_seed(digest(params.seed, "initialise", *purpose))
    plugin = importlib.import_module(f"methods.{params.plugin}")
    network = plugin.build_network(settings, params.noise)
    parameters = sum(p.numel() for p in network.parameters())
    steps, batch = training["steps"], training["batch"]
    log.info("%s: %d parameters, %d steps of %d images", name, parameters, steps, batch)

    draw = partial(generator, params.seed, plugin.RECIPE, *purpose)
    kind = recipe_class(plugin.RECIPE)
    recipe = kind(network, images, params.noise, training, draw, processor)
    # All that makes this training what it is. The settings may say `auto`: so what they came to.
    made_of = [params.settings, params.noise, params.seed, params.code]
    made_of += [processor.device.type, str(processor.autocast), torch.__version__]
    made = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode())
    for array in images.values():
        made.update(np.ascontiguousarray(array))
    done = train(recipe, checkpoint=checkpoint, identity=made.hexdigest(), name=name)

    cost = {"training_images": done.images, "training_seconds": done.seconds}
    model = {"plugin": params.plugin, "settings": settings, "noise": params.noise}
    model |= {"weights": recipe.kept(), "cost": {"parameters": parameters} | cost}
    save_tensors(snakemake.output.model, model)
    write_table(snakemake.output.history, done.history)


if __name__ == "__main__":
    run(main)
