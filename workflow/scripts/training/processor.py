"""Where and how networks run. All that is chosen for speed is chosen here."""

import contextlib
import ctypes
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.messages import InputError, log
from training.devices import autocast_dtype, torch_device

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
# Pixels that are evaluated at once: what the caches hold, what fills a GPU.
EVALUATED = {"cpu": 16 * 128**2, "cuda": 128 * 128**2}
EAGER_CALLS = 3  # before a capture, which wants all memory and libraries to be set up


@dataclass(frozen=True)
class Processor:
    """Where networks and their images are, and how they are computed.

    Attributes:
        autocast: What convolutions compute in, None for plain fp32; weights and losses stay in
            single precision.
        layout: How the axes of images and weights lie in memory; a key of `LAYOUTS`.
        capture: Whether a training step is recorded as a CUDA graph and replayed, which saves the
            launches of its kernels; for a small network they take longer than the arithmetic.
    """

    device: torch.device
    autocast: torch.dtype | None = None
    layout: str = "channels_last"
    capture: bool = False

    def ready(self, network: nn.Module) -> nn.Module:
        """Return the network, moved to the device and the layout in place."""
        return network.to(self.device, memory_format=LAYOUTS[self.layout])

    def tensor(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Return images of any shape in single precision, on the device."""
        return torch.as_tensor(images, dtype=torch.float32).to(self.device)

    def batch(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Return images of shape (N, H, W) as one of shape (N, 1, H, W), fp32, on the device."""
        tensor = self.tensor(images)
        if self.layout == "contiguous":
            return tensor.unsqueeze(1)
        # Not `unsqueeze`: with one channel the strides alone tell the layout, and what follows
        # takes it over. The first convolution's output would be in the other one, and be converted.
        return tensor.unsqueeze(-1).permute(0, 3, 1, 2)

    def output(self, network: nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the network's output in single precision."""
        with torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            return network(*inputs).float()

    @torch.no_grad()
    def evaluated(
        self, network: nn.Module, images: np.ndarray | torch.Tensor, *told: torch.Tensor
    ) -> torch.Tensor:
        """Return the network's output for images of shape (N, H, W), of that shape, on the device.

        The network is moved there, and set to evaluation mode. What it is told besides is there
        already, tensors of shape (N, ...).
        """
        self.ready(network).eval()
        size = max(1, EVALUATED[self.device.type] // (images.shape[-2] * images.shape[-1]))
        found = []
        for start in range(0, len(images), size):
            part, *besides = (each[start : start + size] for each in (images, *told))
            found.append(self.output(network, self.batch(part), *besides).squeeze(1))
        return torch.cat(found)


class Captured:
    """A function that is recorded at one of its first calls, and replayed from then on.

    It reads and writes the same tensors at each call, and waits for none of them. The generator
    that it draws from may be seeded before each call.
    """

    def __init__(self, function: Callable[[], None], generator: torch.Generator) -> None:
        self.function, self.generator = function, generator
        self.calls, self.graph = 0, None
        self.stream = torch.cuda.Stream()  # the first calls are to be made beside the usual one

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= EAGER_CALLS:
            current = torch.cuda.current_stream()
            self.stream.wait_stream(current)
            with torch.cuda.stream(self.stream):
                self.function()
            current.wait_stream(self.stream)
            return
        if self.graph is None:
            self.graph = self.recorded()
        self.graph.replay()

    def recorded(self) -> torch.cuda.CUDAGraph:
        """Return the graph of a call; nothing is computed.

        Raises:
            InputError: When the function does what a graph can't record.
        """
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        # An earlier graph that is collected meanwhile would spoil the recording.
        gc.collect()
        gc.disable()
        try:
            with torch.cuda.graph(graph):
                self.function()
        except RuntimeError as error:
            fault = f"a training step can't be recorded as a CUDA graph ({error})"
            raise InputError(f"{fault}; set capture: false in the method's training") from error
        finally:
            gc.enable()
        return graph


def chosen_processor(device: str, settings: Mapping[str, Any]) -> Processor:
    """Return the processor for a `device` setting and a method's `training` settings; log it.

    Raises:
        InputError: For `cuda` where torch finds no usable GPU.
    """
    place = torch_device(device)
    autocast = autocast_dtype(settings["precision"], place)
    layout, on_gpu = settings.get("layout", "channels_last"), place.type == "cuda"
    capture = on_gpu and settings.get("capture", True)
    threads = torch.get_num_threads()
    name = torch.cuda.get_device_name(place) if on_gpu else f"CPU, {threads} threads"
    precision, steps = "bf16" if autocast else "fp32", "CUDA graph" if capture else "step by step"
    log.info("runs on %s: %s, %s, %s", name, precision, layout, steps)
    return Processor(place, autocast, layout, capture)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step instead of handing it back.

    Activations are larger than glibc's limit for that. To fetch them again from the system, page
    by page, took a fifth of a training step. Does nothing on other C libraries.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
