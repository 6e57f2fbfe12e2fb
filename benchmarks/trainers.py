"""Ways to train the published auto-encoder that are compared: ours, plain PyTorch's, and Keras'.

All start from the weights of the same recipe and see its batches. `fit(steps)` takes up where the
last call ended.
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from methods import autoencoder
from recipes.published import EPSILON
from training.recipe import Recipe


class Plain(nn.Module):
    """The published network as one would first write it in PyTorch, Keras' padding by a slice."""

    def __init__(self, ours: autoencoder.AutoEncoder) -> None:
        super().__init__()
        self.encoder, self.decoder, self.tail = ours.encoder, ours.decoder, ours.tail

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.encoder:
            x = functional.pad(x, (0, 1, 0, 1))
            x = functional.conv2d(x, layer.weight, layer.bias, stride=2).relu()
        for layer in self.decoder:
            x = functional.conv_transpose2d(x, layer.weight, layer.bias, stride=2)
            x = x[:, :, :-1, :-1].relu()
        for layer in self.tail:
            x = functional.conv2d(x, layer.weight, layer.bias, padding=1).sigmoid()
        return x


class Ours:
    """The workflow's own steps."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.taken = recipe, 0

    def fit(self, steps: int) -> tuple[float, float]:
        """Take steps; return the seconds and the mean loss."""
        self.recipe.summed_error.zero_()
        started, count = time.perf_counter(), 0
        for step in range(self.taken, self.taken + steps):
            count += self.recipe.take(step)
        loss = self.recipe.summed_error.item() / count  # waits for a GPU
        self.taken += steps
        return time.perf_counter() - started, loss


class PlainPyTorch:
    """Single precision, PyTorch's own layout and optimizer, a batch at a time from the CPU."""

    def __init__(self, recipe: Recipe, clean: np.ndarray, noisy: np.ndarray) -> None:
        self.recipe, self.taken = recipe, 0
        self.device = recipe.processor.device
        self.network = Plain(recipe.network).to(self.device, memory_format=torch.contiguous_format)
        self.clean, self.noisy = torch.from_numpy(clean), torch.from_numpy(noisy)
        rate = recipe.settings["learning_rate"]
        self.optimizer = torch.optim.Adam(self.network.parameters(), rate, eps=EPSILON)

    def fit(self, steps: int) -> tuple[float, float]:
        """Take steps; return the seconds and the mean loss."""
        started, losses = time.perf_counter(), []
        # As PyTorch comes: the workflow asks for other things, in the same process.
        with torch.backends.cudnn.flags(deterministic=False, allow_tf32=True):
            for step in range(self.taken, self.taken + steps):
                chosen = torch.from_numpy(self.recipe.chosen(step))
                x, y = (a[chosen].unsqueeze(1).to(self.device) for a in (self.noisy, self.clean))
                loss = functional.mse_loss(self.network(x), y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                losses.append(loss.item())
        self.taken += steps
        return time.perf_counter() - started, statistics.fmean(losses)


class Keras:
    """Keras in a process of its own, from the same weights and with the same batches."""

    def __init__(
        self,
        python: str,
        recipe: Recipe,
        clean: np.ndarray,
        noisy: np.ndarray,
        threads: int,
        test: np.ndarray | None = None,
    ) -> None:
        self.folder = tempfile.TemporaryDirectory()
        epochs = range(math.ceil(recipe.steps / recipe.steps_an_epoch))
        order = np.concatenate([recipe.draw("shuffle", e).permutation(len(clean)) for e in epochs])
        test = noisy[:1] if test is None else test
        path = Path(self.folder.name) / "arrays.npz"
        np.savez(path, noisy=noisy, clean=clean, order=order, test=test, **keras_weights(recipe))
        script = str(Path(__file__).with_name("keras_training.py"))
        self.process = subprocess.Popen(
            [python, script, str(path), "--threads", str(threads), "--batch", str(recipe.batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.versions = self.answer()

    def answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("Keras ended; run benchmarks/keras_training.py by hand to see why")
        return json.loads(line)

    def fit(self, steps: int) -> tuple[float, float]:
        """Take steps; return the seconds and the mean loss."""
        self.process.stdin.write(f"fit {steps}\n")
        self.process.stdin.flush()
        answer = self.answer()
        return answer["seconds"], answer["loss"]

    def predict(self) -> np.ndarray:
        """Return what the network makes of the test images, shape (N, H, W)."""
        path = Path(self.folder.name) / "predicted.npy"
        self.process.stdin.write(f"predict {path}\n")
        self.process.stdin.flush()
        self.answer()
        return np.load(path)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()


def keras_weights(recipe: Recipe) -> dict[str, np.ndarray]:
    """Return the weights by layer, kernels as Keras has them: (height, width, in, out)."""
    network, found = recipe.network, {}
    for n, layer in enumerate([*network.encoder, *network.decoder, *network.tail]):
        # The same for transposed convolutions: PyTorch's (in, out) and Keras' (out, in) both turn.
        found[f"w{n}"] = layer.weight.detach().cpu().numpy().transpose(2, 3, 1, 0)
        found[f"b{n}"] = layer.bias.detach().cpu().numpy()
    return found
