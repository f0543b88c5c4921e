"""Weights: how much an example, or a class, counts."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from thalweg.core.objective import Losses, apply


@dataclass(frozen=True, eq=False)
class WeightedLoss:
    r"""A likelihood over batches `(x, (y, weight))`: the weighted mean $\sum w_i \ell_i / \sum w_i$.

    `likelihood` is a module with a `reduction`, as all of `thalweg.loss` and torch's losses are.

    >>> from thalweg.core.objective import Moment
    >>> loss = WeightedLoss(nn.MSELoss(reduction="none"))
    >>> batch = (torch.zeros(2, 1), (torch.tensor([[1.0], [3.0]]), torch.tensor([3.0, 1.0])))
    >>> loss(nn.Identity(), batch).mean()  # (3 * 1 + 1 * 9) / 4
    tensor(3.)
    """

    likelihood: nn.Module

    thalweg_objective: ClassVar[bool] = True

    def __call__(self, model: nn.Module, batch: Any) -> Losses:
        x, (y, weight) = batch
        values = self.likelihood(apply(model, x), y)
        return Losses(values.flatten(1).mean(1) if values.dim() > 1 else values, weight=weight)


def balanced_weights(labels: Int[Tensor, " example"], classes: int) -> list[float]:
    """One weight a class, n / (classes * count), so that every class counts as much as any other; 0 for absent ones.

    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
    [0.6666666666666666, 2.0]
    """
    counts = torch.bincount(labels, minlength=classes).tolist()
    return [len(labels) / (classes * count) if count else 0.0 for count in counts]
