"""Random tensors by the methods of NumPy's generator, so that noise is written once for both."""

from typing import NoReturn

import torch

Shape = tuple[int, ...]
Size = Shape | None
Values = float | torch.Tensor


class DeviceGenerator:
    """Draws tensors on a device; the methods are those of `numpy.random.Generator`."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.torch = device, torch.Generator(device)

    def seed(self, seed: int) -> None:
        """Start the sequence that belongs to a seed."""
        self.torch.manual_seed(seed)

    def random(self, size: Shape = ()) -> torch.Tensor:
        return torch.rand(size, generator=self.torch, device=self.device)

    def uniform(self, low: Values = 0.0, high: Values = 1.0, size: Size = None) -> torch.Tensor:
        return low + (high - low) * self.random(shape_of(size, low, high))

    def normal(self, loc: Values = 0.0, scale: Values = 1.0, size: Size = None) -> torch.Tensor:
        size = shape_of(size, loc, scale)
        return loc + scale * torch.randn(size, generator=self.torch, device=self.device)

    def poisson(self, lam: Values, size: Size = None) -> torch.Tensor:
        if not isinstance(lam, torch.Tensor):
            # Not as a copy from the CPU, which a CUDA graph can't record.
            lam = torch.full((), float(lam), device=self.device)
        return torch.poisson(lam.expand(shape_of(size, lam)).contiguous(), generator=self.torch)

    def integers(self, low: int, high: int, size: Shape = ()) -> torch.Tensor:
        return torch.randint(low, high, size, generator=self.torch, device=self.device)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"noise for training can't be drawn with rng.{name}: give the class in "
            "workflow/scripts/noise/device_random.py a method of this name, as NumPy's has"
        )


def shape_of(size: Size, *values: Values) -> Shape:
    """Return the size, or if there is none the shape that the values have together."""
    if size is not None:
        return tuple(size)
    return torch.broadcast_shapes(*(v.shape if isinstance(v, torch.Tensor) else () for v in values))
