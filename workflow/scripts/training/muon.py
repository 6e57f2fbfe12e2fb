"""Muon, an optimizer for convolutions."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
SIZE = 0.2  # root mean square of a step by the learning rate, about that of AdamW
POLYNOMIAL = 3.4445, -4.7750, 2.0315  # of degree 5; applied again and again it comes near to 1
TIMES = 5


class Muon(torch.optim.AdamW):
    """AdamW for all but the weights of convolutions, which take steps in all directions alike.

    Such weights, as a matrix with a row for each output channel, move by the orthogonal matrix that
    is nearest to the moving average of their gradients. torch.optim.Muon takes matrices alone,
    computes in bfloat16, and can't be recorded as a CUDA graph.

    Sources: K. Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024; the
    size of steps: J. Liu et al., Muon is scalable for LLM training, arXiv:2502.16982, 2025.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rate: Tensor, **adamw: object) -> None:
        groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
        for weights in parameters:
            groups[weights.ndim == 4].append(weights)
        super().__init__([{"params": group} for group in groups], rate, **adamw)

    @torch.no_grad()
    def step(self) -> None:
        """Update the weights by their gradients."""
        group = self.param_groups[1]
        for weights in (each for each in group["params"] if each.grad is not None):
            state = self.state[weights]
            if not state:  # with the names that AdamW looks for
                state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(weights)}
            average = state["exp_avg"].lerp_(weights.grad, 1 - MOMENTUM)
            ahead = weights.grad.lerp(average, MOMENTUM).flatten(1)  # Nesterov's
            change = orthogonal(ahead) * (SIZE * max(ahead.shape) ** 0.5)
            weights.mul_(1 - group["lr"] * group["weight_decay"])
            weights.sub_(group["lr"] * change.view_as(weights))
            weights.grad = None  # so that AdamW leaves them alone
        super().step()


def orthogonal(matrix: Tensor) -> Tensor:
    """Return about the nearest matrix with singular values of 1; they are from .7 to 1.2.

    By Newton-Schulz iterations; singular values below a thousandth of the matrix's norm stay less.
    What changes is kept as a factor, a polynomial of the rows' products, which is far smaller than
    the matrix.
    """
    if len(matrix) > matrix.shape[1]:
        return orthogonal(matrix.T).T
    a, b, c = POLYNOMIAL
    rows = matrix / (matrix.norm() + 1e-7)
    products = rows @ rows.T
    factor = identity = torch.eye(len(rows), device=rows.device)
    for _ in range(TIMES):
        change = a * identity + b * products + c * products @ products
        factor, products = change @ factor, change @ products @ change
    return factor @ rows
