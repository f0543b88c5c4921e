"""A loss that sums over the examples of a batch, judged by its mean, which does not depend on how many there are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.core.description import describe_piece
from thalweg.core.nest import count_examples
from thalweg.core.objective import PlainLoss, apply, as_objective, pair
from thalweg.core.randomness import untouched
from thalweg.training import Recipe
from thalweg.training.judging import without_smoothing
from thalweg.training.values import each_alone


@dataclass(frozen=True, repr=False)
class Averaged:
    """A loss divided by the number of examples.

    >>> Averaged(torch.nn.MSELoss(reduction="sum"))(torch.zeros(4, 1), torch.ones(4, 1))
    tensor(1.)
    """

    loss: Callable[[Any, Any], Tensor]

    def __call__(self, output: Any, target: Any) -> Tensor:
        return self.loss(output, target) / count_examples((target, output))

    def __repr__(self) -> str:
        return f"{describe_piece(self.loss)} / examples"


def judge_of(recipe: Recipe, batch: Any) -> Any:
    """The recipe's judge; where it has none and its loss is a sum over examples, their mean."""
    form = without_smoothing(as_objective(recipe.objective))
    if recipe.judge is not None or not isinstance(form, PlainLoss):
        return recipe.judge
    try:
        x, y = pair(batch)
        with untouched(), torch.no_grad():
            output = apply(recipe.model().eval(), x)
            scalar, values = form.scalar(output, y), each_alone(form.loss, output, y)
    except Exception:  # a user's own code; training says what is wrong with it
        return None
    if values is None or len(values) < 2 or torch.isclose(values.mean().to(scalar), scalar, rtol=1e-3, atol=1e-6):
        return None
    return Averaged(form.loss) if torch.isclose(values.sum().to(scalar), scalar, rtol=1e-3, atol=1e-6) else None
