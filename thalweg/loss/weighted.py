"""Weights: how much an example, or a class, counts."""

import copy
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from thalweg.core.objective import Losses, Moment, apply


class WeightedLoss(nn.Module):
    r"""A likelihood over batches `(x, (y, weight))`: the weighted mean $\sum w_i \ell_i / \sum w_i$.

    `likelihood` is a module with a `reduction`, as all of `thalweg.loss` and torch's losses are; its class weights
    multiply those of the examples, and its label smoothing is taken off where it judges.

    >>> loss = WeightedLoss(nn.MSELoss())
    >>> batch = (torch.zeros(2, 1), (torch.tensor([[1.0], [3.0]]), torch.tensor([3.0, 1.0])))
    >>> loss(nn.Identity(), batch, Moment()).mean()  # (3 * 1 + 1 * 9) / 4
    tensor(3.)
    """

    thalweg_objective = True

    def __init__(self, likelihood: nn.Module) -> None:
        super().__init__()
        trained, judged = copy.copy(likelihood), copy.copy(likelihood)
        for each in (trained, judged):
            setattr(each, "reduction", "none")  # noqa: B010 - nn.Module has no such attribute for mypy
        if hasattr(judged, "label_smoothing"):
            setattr(judged, "label_smoothing", 0.0)  # noqa: B010
        self.likelihood, self.bare = trained, judged

    def forward(self, model: nn.Module, batch: Any, moment: Moment) -> Losses:
        x, (y, weight) = batch
        values = (self.likelihood if moment.training else self.bare)(apply(model, x), y)
        values = values.flatten(1).mean(1) if values.dim() > 1 else values
        own = getattr(self.likelihood, "class_weights", None)
        if isinstance(own, Tensor) and y.dim() == 1:
            own = own.to(values)[y]
            values, weight = values / own.clamp(min=torch.finfo(own.dtype).tiny), weight * own
        return Losses(values, weight=weight)


def balanced_weights(labels: Int[Tensor, " example"], classes: int) -> list[float]:
    """One weight a class, n / (classes * count), so that every class counts as much as any other; 0 for absent ones.

    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
    [0.6666666666666666, 2.0]
    """
    counts = torch.bincount(labels, minlength=classes).tolist()
    return [len(labels) / (classes * count) if count else 0.0 for count in counts]
