"""Which inputs an output depends on, by gradients: what a causal network must not read."""

from collections.abc import Callable

import torch
from torch import Tensor


def reads(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`(output position, input position)`, True where the output at the one has a gradient at the other.

    `network` takes and gives `(batch, length, ...)`. Outputs are weighted at random, so that gradients do not cancel.
    """
    x = x.clone().requires_grad_()
    output = network(x)
    weighted = output * torch.randn(output.shape, generator=torch.Generator().manual_seed(0), dtype=output.dtype)
    rows = []
    for place in range(output.shape[1]):
        (gradient,) = torch.autograd.grad(weighted[:, place].sum(), x, retain_graph=True)
        rows.append((gradient.abs() > 1e-12).flatten(2).any(2).any(0))
    return torch.stack(rows)


def reads_ahead(network: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether any output depends on an input that comes after it."""
    return bool(reads(network, x).triu(1).any())
