"""Arms of the same size: recipes whose learning rate differs.

Factories are opaque (`lambda p: Adam(p, lr=3e-4)`), so a learning rate is changed in the optimizer that was built.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thalweg.core.description import describe_piece
from thalweg.training import Recipe


@dataclass(frozen=True, repr=False)
class ScaledRate:
    """An optimizer factory whose learning rates are multiplied in every group.

    >>> import torch
    >>> from functools import partial
    >>> factory = ScaledRate(partial(torch.optim.SGD, lr=0.1), 10.0)
    >>> factory(torch.nn.Linear(2, 1).parameters()).param_groups[0]["lr"], factory
    (1.0, SGD(lr=0.1) with its learning rate x 10)
    """

    factory: Callable[..., Any]
    factor: float

    @property
    def takes_model(self) -> bool:
        """Whether the factory is given the model instead of its parameters."""
        return bool(getattr(self.factory, "takes_model", False))

    def __call__(self, target: Any) -> Any:
        optimizer = self.factory(target)
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * self.factor
        return optimizer

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)} with its learning rate x {self.factor:g}"


def at_rate(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with every learning rate times `factor`."""
    inner = recipe.optimizer
    if isinstance(inner, ScaledRate):
        return recipe.but(optimizer=ScaledRate(inner.factory, inner.factor * factor))
    return recipe.but(optimizer=ScaledRate(inner, factor))
