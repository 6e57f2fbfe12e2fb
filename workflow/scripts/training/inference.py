"""Trained networks at work."""

import importlib

from torch import nn

from engine.messages import InputError
from files.tensors import load_tensors


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
