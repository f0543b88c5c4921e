"""Optimizer factories whose parameter groups are changed after they are built, whatever built them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thalweg.core.description import describe_piece


@dataclass(frozen=True, repr=False)
class Regrouped(ABC):
    """An optimizer factory around another, that changes every group of what this builds."""

    factory: Callable[..., Any]

    @property
    def takes_model(self) -> bool:
        """Whether the factory is given the model instead of its parameters."""
        return bool(getattr(self.factory, "takes_model", False))

    def __call__(self, target: Any) -> Any:
        optimizer = self.factory(target)
        for group in optimizer.param_groups:
            self.change(group)
        return optimizer

    @abstractmethod
    def change(self, group: dict[str, Any]) -> None:
        """Change a parameter group in place."""


@dataclass(frozen=True, repr=False)
class ScaledRate(Regrouped):
    """An optimizer factory whose learning rates are multiplied in every group.

    >>> import torch
    >>> from functools import partial
    >>> factory = ScaledRate(partial(torch.optim.SGD, lr=0.1), 10.0)
    >>> factory(torch.nn.Linear(2, 1).parameters()).param_groups[0]["lr"], factory
    (1.0, SGD(lr=0.1) with its learning rate x 10)
    """

    factor: float

    def change(self, group: dict[str, Any]) -> None:
        """The rate times the factor."""
        group["lr"] = group["lr"] * self.factor

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)} with its learning rate x {self.factor:g}"


@dataclass(frozen=True, repr=False)
class Decayed(Regrouped):
    """An optimizer factory whose groups all have this weight decay, none unless it is given."""

    decay: float = 0.0

    def change(self, group: dict[str, Any]) -> None:
        """Set the decay."""
        group["weight_decay"] = self.decay

    def __repr__(self) -> str:
        decay = f"with a weight decay of {self.decay:.3g}" if self.decay else "without weight decay"
        return f"{describe_piece(self.factory)} {decay}"
