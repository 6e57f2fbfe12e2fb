"""Trains the network of one method for one noise setting."""

import hashlib
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from common.devices import autocast_dtype, torch_device
from common.files import replacing
from common.job import log, run
from common.seeds import digest, generator
from common.training import Recipe, keep_freed_memory, train

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def training_identity(settings: object, *arrays: np.ndarray) -> str:
    """Return a digest of everything that makes a training what it is."""
    identity = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for array in arrays:
        identity.update(np.ascontiguousarray(array))
    return identity.hexdigest()


def main(snakemake: "snakemake") -> None:
    params = snakemake.params
    noise, method = snakemake.wildcards.noise, snakemake.wildcards.method
    settings = dict(params.settings)
    recipe = Recipe(**settings.pop("training"))

    torch.set_num_threads(recipe.threads)
    keep_freed_memory()
    device = torch_device(params.device)
    noisy = np.load(snakemake.input.noisy)
    clean = np.load(snakemake.input.clean)

    torch.manual_seed(digest(params.seed, "initialise", noise, method))
    network = importlib.import_module(f"methods.{params.plugin}").build_network(settings)
    parameters = sum(p.numel() for p in network.parameters())
    log.info(
        "%s/%s: %d parameters, %d steps of %d images",
        noise,
        method,
        parameters,
        recipe.steps,
        recipe.batch,
    )

    checkpoint = Path(params.checkpoint)
    autocast = autocast_dtype(recipe.precision, device)
    # The settings may say `auto`: what they came to belongs to the training as well.
    made_with = [device.type, str(autocast), torch.__version__]
    state, history = train(
        network,
        noisy,
        clean,
        recipe,
        lambda epoch, n: generator(params.seed, "shuffle", noise, method, epoch).permutation(n),
        device=device,
        autocast=autocast,
        checkpoint=checkpoint,
        identity=training_identity(
            [params.settings, params.seed, params.code, *made_with], noisy, clean
        ),
        name=f"{noise}/{method}",
    )

    with replacing(snakemake.output.model) as path:
        torch.save({"plugin": params.plugin, "settings": settings, "weights": state}, path)
    with replacing(snakemake.output.history) as path:
        pd.DataFrame(history).to_csv(path, index=False)
    checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    run(main, snakemake)
