"""Trained networks at work. Apart from the rest, since it needs torch, which takes seconds to import."""

import importlib

import numpy as np
import torch
from torch import nn

from common.devices import torch_device
from common.processor import Processor
from common.training import apply


def trained_network(model: str) -> tuple[nn.Module, dict[str, float]]:
    """Return the network in the file `model`, and what its training cost."""
    saved = torch.load(model, weights_only=True, map_location="cpu")
    plugin = importlib.import_module(f"methods.{saved['plugin']}")
    network = plugin.build_network(saved["settings"], saved["noise"])
    network.load_state_dict(saved["weights"])
    return network, saved["cost"]


class Denoiser:
    """A trained network as a function of noisy images.

    Args:
        network: Takes and returns tensors of shape (N, 1, H, W).
        device: The `device` setting: auto, cpu or cuda.
        threads: How many threads to take on a CPU.
    """

    def __init__(self, network: nn.Module, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.network, self.processor = network, Processor(torch_device(device))

    def __call__(self, noisy: np.ndarray) -> np.ndarray:
        """Return what the network makes of images of shape (N, H, W), in single precision."""
        return apply(self.network, noisy, self.processor)
