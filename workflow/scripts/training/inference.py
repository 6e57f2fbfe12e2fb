"""Trained networks at work."""

import importlib

import numpy as np
import torch
from torch import nn

from engine.messages import InputError
from files.tensors import load_tensors
from training.devices import torch_device
from training.processor import Processor


def trained_network(model: str) -> tuple[nn.Module, dict[str, float]]:
    """Return the network in the file `model`, and what its training cost.

    Raises:
        InputError: When the file holds no model, or one that this code does not fit.
    """
    remedy = "delete it and run the same command again: it is trained again"
    try:
        saved = load_tensors(model)
        plugin = importlib.import_module(f"methods.{saved['plugin']}")
        network = plugin.build_network(saved["settings"], saved["noise"])
        network.load_state_dict(saved["weights"])
        return network, saved["cost"]
    except InputError as error:
        raise InputError(f"{error}; {remedy}") from error
    except (KeyError, TypeError, ImportError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{model} holds no model of this workflow ({reason}); {remedy}") from error


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
        return self.processor.evaluated(self.network, noisy).cpu().numpy()
