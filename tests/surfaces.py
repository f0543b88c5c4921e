"""Error surfaces with known answers, for the tests of curvature."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

import thalweg

NO_DATA = torch.zeros(1, 1)


class Place(nn.Module):
    """A point whose coordinates are its only parameters."""

    def __init__(self, *coordinates: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(coordinates, dtype=torch.float64))


def function(of: Callable[..., Tensor]) -> Any:
    """A function of coordinates as an objective."""

    @thalweg.objective
    def value(model: Place, batch: Any) -> Tensor:
        return of(*model.theta).reshape(1)

    return value


rosenbrock = function(lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2)
monkey_saddle = function(lambda x, y: x**3 - 3 * x * y**2)


def regression(examples: int = 41, inputs: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, inputs, generator=stream)
    return x, x @ torch.randn(inputs, 1, generator=stream) + 0.5 * torch.randn(examples, 1, generator=stream)


def classes(examples: int = 37, inputs: int = 5, kinds: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(examples, inputs, generator=stream), torch.randint(0, kinds, (examples,), generator=stream)


def chain(depth: int, hidden: int = 1) -> nn.Sequential:
    """A deep linear chain of one input and one output, all weights 0."""
    sizes = [1] + [hidden] * (depth - 1) + [1]
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)]
    for layer in layers:
        nn.init.zeros_(layer.weight)
    return nn.Sequential(*layers)


def naive_hessian(loss: Callable[[], Tensor], parameters: list[nn.Parameter]) -> Tensor:
    """Every second derivative by itself."""
    gradients = torch.autograd.grad(loss(), parameters, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in gradients])
    rows = []
    for entry in flat:
        row = torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True, allow_unused=True)
        rows.append(torch.cat([r.reshape(-1) for r in row]))
    return torch.stack(rows)


def diagonal(values: Tensor) -> tuple[nn.Module, Any]:
    """A model with a diagonal Hessian of these values."""
    model = Place(*[0.0] * len(values))
    return model, function(lambda *theta: (values * torch.stack(theta) ** 2).sum() / 2)
