"""Which device a job runs on, and in which precision."""

import torch

from engine.messages import InputError, log


def torch_device(device: str) -> torch.device:
    """Return the torch device of a `device` setting, and make torch deterministic there.

    Raises:
        InputError: For `cuda` where torch finds no usable GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        fault = f"device: cuda, but torch finds no usable GPU (torch {torch.__version__})"
        remedy = "set device to cpu or auto, or install a CUDA build of torch"
        raise InputError(f"{fault}; {remedy}")
    use_gpu = device != "cpu" and torch.cuda.is_available()
    # The same weights each time, and fp32 that is not TF32 inside.
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    if device == "auto":
        log.info("device: auto uses %s", "the GPU" if use_gpu else "the CPU")
    return torch.device("cuda" if use_gpu else "cpu")


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype of a `precision` setting (auto, fp32, bf16), None for plain fp32.

    `auto` is bf16 where the hardware is made for it: elsewhere it is emulated and far slower.
    """
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.get_device_capability(device) >= (8, 0)
        else:
            fast = torch.cpu._is_avx512_bf16_supported()
        precision = "bf16" if fast else "fp32"
        log.info("precision: auto uses %s", precision)
    return torch.bfloat16 if precision == "bf16" else None
