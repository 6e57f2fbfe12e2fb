"""Files of models: what a training saved, and safetensors, which other programs read as well.

Neither can run code.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from engine.messages import InputError
from files.atomic import replacing
from files.tensors import load_tensors

# One entry of the file's metadata: the order of several would differ from process to process.
ENTRY = "denoiser"
FORMAT = 1


def load_model(path: str | Path) -> dict[str, Any]:
    """Return what a model's file holds: `plugin`, `settings`, `noise`, `cost` and `weights`.

    Files with the suffix `.safetensors` are read as such, all others as a training saves them.

    Raises:
        InputError: When there is no such file, or it can't be read.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file; give the path of a model")
    return load_safetensors(path) if Path(path).suffix == ".safetensors" else load_tensors(path)


def save_safetensors(path: str | Path, model: Mapping[str, Any], half: bool = True) -> None:
    """Write a model to a file, which takes the place of `path` when complete.

    Args:
        path: The `.safetensors` file.
        model: What a training saves: `weights`, tensors by name; the other entries, such as
            `plugin`, `settings`, `noise` and `cost`, become JSON in the file's metadata.
        half: Whether weights are stored in half precision; they are rounded to 11 bits.

    Raises:
        InputError: When a weight is too large for half precision.
        OSError: When the file can't be written.
    """
    weights = {}
    for name, value in model["weights"].items():
        stored = value.half() if half and value.is_floating_point() else value
        if not bool((stored.isfinite() | ~value.isfinite()).all()):
            fault = f"{path}: weights of {name} are too large for half precision"
            raise InputError(f"{fault}; save it with half=False")
        weights[name] = stored.cpu().clone(memory_format=torch.contiguous_format)
    about = {key: value for key, value in model.items() if key != "weights"}
    entry = {"format": FORMAT, "sha256": _digest(about, weights), "about": about}
    content = safetensors.torch.save(weights, {ENTRY: json.dumps(entry)})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def load_safetensors(path: str | Path) -> dict[str, Any]:
    """Return what `save_safetensors` wrote, weights as they are stored, on the CPU.

    Raises:
        InputError: When the file is damaged, or holds something else.
        FileNotFoundError: When there is none.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(ENTRY)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path} can't be read as safetensors ({error})") from error
    if text is None:
        raise InputError(f"{path} holds no model of this workflow: its metadata says nothing of it")
    try:
        entry = json.loads(text)
        if entry["format"] > FORMAT:
            raise InputError(f"{path} was written by a newer version: update this project")
        about, made = dict(entry["about"]), entry["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} can't be read: its metadata is damaged ({error})") from error
    if _digest(about, weights) != made:
        raise InputError(f"{path} can't be read: the checksum of its content is wrong")
    return about | {"weights": weights}


def _digest(about: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of a model, in hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
