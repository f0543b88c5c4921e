"""Weights: how much an example, or a class, counts."""

import copy
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from thalweg.core.errors import RecipeError
from thalweg.core.nest import describe
from thalweg.core.objective import Losses, Moment, apply, counted_targets, name_of


class WeightedLoss(nn.Module):
    r"""A likelihood over batches `(x, (y, weight))`: the weighted mean $\sum w_i \ell_i / \sum w_i$.

    `likelihood` is a module with a `reduction`, as all of `thalweg.loss` and torch's losses are; its class weights
    multiply those of the examples, a class number that it ignores counts nothing, and its label smoothing is taken off
    where it judges.

    >>> loss = WeightedLoss(nn.MSELoss())
    >>> batch = (torch.zeros(2, 1), (torch.tensor([[1.0], [3.0]]), torch.tensor([3.0, 1.0])))
    >>> loss(nn.Identity(), batch, Moment()).mean()  # (3 * 1 + 1 * 9) / 4
    tensor(3.)

    Raises `RecipeError` for a loss that is no such module, and for batches without weights.
    """

    thalweg_objective = True

    def __init__(self, likelihood: Any) -> None:
        super().__init__()
        if not isinstance(likelihood, nn.Module) or not hasattr(likelihood, "reduction"):
            raise RecipeError(
                f"WeightedLoss weighs the values of a loss that has a reduction, not {name_of(likelihood)}. Give a "
                "module, such as nn.CrossEntropyLoss() or thalweg.loss.Categorical()."
            )
        trained, judged = copy.copy(likelihood), copy.copy(likelihood)
        for each in (trained, judged):
            setattr(each, "reduction", "none")  # noqa: B010 - nn.Module has no such attribute for mypy
        if hasattr(judged, "label_smoothing"):
            setattr(judged, "label_smoothing", 0.0)  # noqa: B010
        self.likelihood, self.bare = trained, judged

    def forward(self, model: nn.Module, batch: Any, moment: Moment) -> Losses:
        x, target = _parts(batch)
        return self.of_output(apply(model, x), target, moment)

    def of_output(self, output: Any, target: Any, moment: Moment) -> Losses:
        """The same of a batch whose output is known; its target is `(y, weight)`."""
        y, weight = target
        values = (self.likelihood if moment.training else self.bare)(output, y)
        values = values.flatten(1).mean(1) if values.dim() > 1 else values
        if (counted := self._counted(y)) is not None:
            counted = counted.to(values)
            values, weight = values / counted.clamp(min=torch.finfo(counted.dtype).tiny), weight * counted
        return Losses(values, weight=weight)

    def _counted(self, y: Any) -> Tensor | None:
        """What each example's class numbers count: their class's weight, 0 where ignored; the mean over positions."""
        if not isinstance(self.likelihood, nn.CrossEntropyLoss | nn.NLLLoss) and not hasattr(
            self.likelihood, "class_weights"
        ):
            return None
        counted = counted_targets(self.likelihood, y)
        return counted.flatten(1).mean(1) if counted is not None and counted.dim() > 1 else counted


def _parts(batch: Any) -> Any:
    if len(batch) == 2 and isinstance(batch[1], tuple | list) and len(batch[1]) == 2:
        return batch
    raise RecipeError(
        f"WeightedLoss was given a batch {describe(batch)}, but it needs (x, (y, weight)). Give the split as "
        "train=(x, (y, weight)), one weight for each example."
    )


def balanced_weights(labels: Int[Tensor, " example"], classes: int) -> list[float]:
    """One weight a class, n / (classes * count), so that every class counts as much as any other; 0 for absent ones.

    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
    [0.6666666666666666, 2.0]
    """
    counts = torch.bincount(labels, minlength=classes).tolist()
    return [len(labels) / (classes * count) if count else 0.0 for count in counts]
