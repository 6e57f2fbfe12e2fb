"""Files of tensors: models and checkpoints. They are complete and undamaged, or refused."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from engine.messages import InputError
from files.atomic import replacing


def save_tensors(path: str | Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers and texts to a file, which takes the place of `path` when complete.

    Raises:
        OSError: When it can't be written, with the reason; `torch.save` alone would hide it.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_tensors(path: str | Path) -> dict[str, Any]:
    """Return what `save_tensors` wrote, on the CPU. No code in the file is run.

    Raises:
        InputError: When the file is damaged (PyTorch itself reads over changed bits), or holds
            anything but tensors, numbers and texts.
        FileNotFoundError: When there is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise InputError(f"{path} can't be read: the checksum of its {damaged} is wrong")
        content = torch.load(path, weights_only=True, map_location="cpu")
    except (FileNotFoundError, InputError):
        raise
    except Exception as error:  # unpickling of anything can raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{path} can't be read ({reason})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} can't be read: it holds something else")
    return content
