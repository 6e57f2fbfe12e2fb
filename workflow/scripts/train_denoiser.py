"""Trains the network of one method for one noise setting."""

import hashlib
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.job import Snakemake, run
from engine.locks import alone
from engine.messages import log
from files.arrays import load_images
from files.atomic import checkpoint_of, lock_of
from files.tables import write_table
from noise.seeds import digest, generator

if TYPE_CHECKING:
    from training.recipe import Recipe


def recipe_class(name: str) -> "type[Recipe]":
    """Return the recipe of the file `recipes/<name>.py`."""
    module = importlib.import_module(f"recipes.{name}")
    return getattr(module, name.title().replace("_", ""))


def training_identity(settings: object, *arrays: np.ndarray) -> str:
    """Return a digest of everything that makes a training what it is."""
    identity = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for array in arrays:
        identity.update(np.ascontiguousarray(array))
    return identity.hexdigest()


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

    params = snakemake.params
    noise, method = snakemake.wildcards.noise, snakemake.wildcards.method
    settings = dict(params.settings)
    training = settings.pop("training")

    torch.set_num_threads(training["threads"])
    keep_freed_memory()
    processor = chosen_processor(params.device, training)
    images = {name: load_images(path) for name, path in snakemake.input.items() if path}

    torch.manual_seed(digest(params.seed, "initialise", noise, method))
    plugin = importlib.import_module(f"methods.{params.plugin}")
    network = plugin.build_network(settings, params.noise)
    parameters = sum(p.numel() for p in network.parameters())
    log.info(
        "%s/%s: %d parameters, %d steps of %d images",
        noise,
        method,
        parameters,
        training["steps"],
        training["batch"],
    )

    recipe = recipe_class(plugin.RECIPE)(
        network,
        images,
        params.noise,
        training,
        lambda *purpose: generator(params.seed, plugin.RECIPE, noise, method, *purpose),
        processor,
    )
    # The settings may say `auto`: what they came to belongs to the training as well.
    made_with = [processor.device.type, str(processor.autocast), torch.__version__]
    trained = train(
        recipe,
        checkpoint=checkpoint,
        identity=training_identity(
            [params.settings, params.noise, params.seed, params.code, *made_with], *images.values()
        ),
        name=f"{noise}/{method}",
    )

    model = {
        "plugin": params.plugin,
        "settings": settings,
        "noise": params.noise,
        "weights": recipe.kept(),
        "cost": {
            "parameters": parameters,
            "training_images": trained.images,
            "training_seconds": trained.seconds,
        },
    }
    save_tensors(snakemake.output.model, model)
    write_table(snakemake.output.history, trained.history)


if __name__ == "__main__":
    run(main)
