"""Trains a network on noisy films alone, for these very films."""

import os
from pathlib import Path

from engine.job import Snakemake, run
from engine.locks import alone
from files.atomic import checkpoint_of, lock_of
from files.jsons import read_json


def main(snakemake: Snakemake) -> None:
    # Torch looks for GPUs when it is imported, so this waits until the job has its own.
    import torch

    from files.tensors import save_tensors
    from films.learning import learned
    from training.processor import chosen_processor, keep_freed_memory

    params, output = snakemake.params, snakemake.output
    torch.set_num_threads(snakemake.threads)
    keep_freed_memory()
    checkpoint = checkpoint_of(output.model)
    with alone(lock_of(checkpoint), f"the training of {output.model}"):
        model = learned(
            Path(params.folder),
            list(map(read_json, snakemake.input.noise)),
            snakemake.input.start,
            params.settings,
            seed=params.seed,
            processor=chosen_processor(params.device, params.settings["training"]),
            checkpoint=checkpoint,
            code=params.code,
        )
        save_tensors(output.model, model)


if __name__ == "__main__":
    # Threads that wait let others work: else steps take 15 times as long where other programs run.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    run(main)
