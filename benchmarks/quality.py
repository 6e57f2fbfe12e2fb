"""Train the published auto-encoder in several ways from the same starts, and compare the SSIM.

The ways: the workflow's fast one, the same in fp32 or with PyTorch's Adam, and Keras
(`--keras PYTHON`). For each seed all have the same initial weights, images, noise and order of
batches. The loss leaps from step to step, and the last model's SSIM with it; that of the best
validation loss is steadier, so both are given. Reads the 400 real images; needs no Snakemake.
"""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from augment_images import augmented
from engine.messages import Progress
from images.reading import SUFFIXES
from images.resizing import read_resized
from methods import autoencoder
from noise.models import corrupt
from noise.seeds import digest, generator
from recipes.published import BETAS, EPSILON, Published
from results.scores import scores
from trainers import Keras
from training.processor import Processor, chosen_processor, keep_freed_memory
from training.recipe import Recipe

CONFIG = yaml.safe_load((Path(__file__).resolve().parents[1] / "config.yaml").read_text())
TRAIN = CONFIG["datasets"]["isbi2015"]["train"]
WAYS = ["workflow", "fp32", "PyTorch's Adam", "Keras"]
EVERY = 20  # steps between two looks at the clock


def resized(folder: Path) -> dict[str, np.ndarray]:
    """Return the images of a folder by name, in file-name order, each of shape (128, 128)."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    with ThreadPoolExecutor(2) as pool:
        images = pool.map(lambda path: read_resized(path, 128), paths)
        return {path.stem: image for path, image in zip(paths, images, strict=True)}


def arrays(images: dict[str, np.ndarray], noise: str, seed: int) -> dict[str, np.ndarray]:
    """Return the training arrays `clean` and `noisy`, and the test images, clean and noisy."""
    model = CONFIG["noise"][noise]
    training = list(images.items())[:TRAIN]
    clean = np.concatenate(
        [augmented(image, generator(seed, "augment", name)) for name, image in training]
    )
    test = np.stack(list(images.values())[TRAIN:])
    return {
        "clean": clean.astype(np.float32),
        "noisy": corrupt(clean, model, generator(seed, "noise", noise)).astype(np.float32),
        "test": test,
        "test_noisy": corrupt(test, model, generator(seed, "test", noise)),
    }


def recipe_of(
    data: dict[str, np.ndarray],
    noise: str,
    seed: int,
    way: str,
    arguments: argparse.Namespace,
) -> Recipe:
    """Return a training of the published auto-encoder; for Keras, what it starts from."""
    entry = CONFIG["methods"]["autoencoder"]
    settings = {"tail": entry["tail"]} | entry["overrides"].get(noise, {})
    torch.manual_seed(digest(seed, "initialise", noise))
    network = autoencoder.build_network(settings, CONFIG["noise"][noise])
    training = {
        "steps": arguments.steps,
        "batch": arguments.batch,
        "learning_rate": entry["training"]["learning_rate"],
        "keep": "best",
    }
    precision = "fp32" if way in ("fp32", "Keras") else "auto"
    processor = chosen_processor(arguments.device, {"precision": precision})
    images = {name: data[name] for name in ("clean", "noisy")}
    kind = WithPyTorchsAdam if way == "PyTorch's Adam" else Published
    return kind(
        network,
        images,
        CONFIG["noise"][noise],
        training,
        lambda *purpose: generator(seed, noise, *purpose),
        processor,
    )


class WithPyTorchsAdam(Published):
    """The published recipe, epsilon added after the bias correction, as PyTorch does."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments)
        rate = torch.zeros((), device=self.processor.device)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), rate, BETAS, EPSILON, capturable=self.processor.capture
        )

    def learning_rate(self, step: int) -> float:
        return self.settings["learning_rate"]


def trained_by_us(
    recipe: Recipe, noisy: np.ndarray, name: str
) -> tuple[float, np.ndarray, np.ndarray]:
    """Take all steps.

    Returns:
        The last epoch's mean loss, and the images as the last and the best model denoise them.
    """
    progress, count = Progress(name, recipe.steps), 0
    for step in range(recipe.steps):
        if step == recipe.steps - recipe.steps_an_epoch:
            recipe.summed_error.zero_()
            count = 0
        count += recipe.take(step)
        recipe.validation_loss(step)
        if step % EVERY == EVERY - 1:
            progress.advance(EVERY)
    plain = Processor(recipe.processor.device)
    last = plain.evaluated(recipe.network, noisy).cpu().numpy()
    recipe.network.load_state_dict(recipe.kept())
    best = plain.evaluated(recipe.network, noisy).cpu().numpy()
    return recipe.summed_error.item() / count, last, best


def trained_by_keras(
    recipe: Recipe, data: dict[str, np.ndarray], arguments: argparse.Namespace, name: str
) -> tuple[float, np.ndarray]:
    """The same with Keras, from the recipe's weights and in its order."""
    training = slice(0, recipe.train_count)
    keras = Keras(
        arguments.keras,
        recipe,
        data["clean"][training],
        data["noisy"][training],
        arguments.threads,
        data["test_noisy"].astype(np.float32),
    )
    progress, loss = Progress(name, recipe.steps), float("nan")
    for done in range(0, recipe.steps, recipe.steps_an_epoch):
        steps = min(recipe.steps_an_epoch, recipe.steps - done)
        _, loss = keras.fit(steps)
        progress.advance(steps)
    denoised = keras.predict()
    keras.close()
    return loss, denoised


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a line for each noise setting, seed and way: the loss and the mean SSIM in the end."""
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    results, images = [], resized(arguments.images)
    for noise in arguments.noise:
        for seed in arguments.seeds:
            data = arrays(images, noise, seed)
            for way in arguments.ways:
                recipe = recipe_of(data, noise, seed, way, arguments)
                name = f"{noise}, seed {seed}, {way}"
                if way == "Keras":
                    loss, *denoised = trained_by_keras(recipe, data, arguments, name)
                else:
                    loss, *denoised = trained_by_us(recipe, data["test_noisy"], name)
                line = {"noise": noise, "seed": seed, "way": way, "loss": loss}
                for key, images_of in zip(["ssim", "ssim_of_best"], denoised, strict=False):
                    found = scores(data["test"], images_of.astype(np.float64))["ssim"]
                    line[key] = float(found.mean())
                results.append(line | {"steps": arguments.steps, "batch": arguments.batch})
                print(json.dumps(results[-1]), flush=True)
    return results


def table(results: list[dict[str, Any]]) -> str:
    """Return tables, a row a noise setting and seed, a column a way; their means and spread."""
    table, parts = pd.DataFrame(results), []
    for value, title in (("ssim", "last model"), ("ssim_of_best", "best validation loss")):
        wide = table.pivot(index=["noise", "seed"], columns="way", values=value)
        groups = wide.groupby("noise")
        together = {"": wide, "mean": groups.mean(), "standard deviation": groups.std()}
        parts.append(f"SSIM of the {title}:")
        parts += [
            frame.reset_index()
            .rename(columns={"noise": f"{kind} noise".strip()})
            .to_markdown(index=False, floatfmt=".4f")
            for kind, frame in together.items()
        ]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the real images")
    parser.add_argument("--noise", nargs="+", default=["gaussian_0.2_0_1", "poisson_0.2_5"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--ways", nargs="+", default=WAYS[:2], choices=WAYS, metavar="WAY")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--keras", metavar="PYTHON", help="interpreter with TensorFlow")
    print(table(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
