"""The step: model, objective and penalty as one module whose forward is what training minimizes.

Whatever wraps a step (compilation, data parallelism, vmap) wraps this module, so an objective may call any method of
the model.
"""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

from thalweg.core.errors import RecipeError
from thalweg.core.nest import Nest, describe
from thalweg.core.objective import Losses, Moment, as_objective, name_of

Penalty = Callable[[nn.Module], Tensor]


class Step(nn.Module):
    """`(batch, moment) -> (minimized, losses)`: the losses of a batch, and their weighted mean plus the penalty.

    A loss module is copied, and so is a penalty that is one, so that moving what they hold (class weights, a prior's
    mean) to a device leaves the recipe's own untouched.

    >>> import torch
    >>> step = Step(nn.Linear(3, 1), nn.MSELoss(), penalty=lambda model: model.weight.square().sum())
    >>> minimized, losses = step((torch.ones(5, 3), torch.ones(5, 1)), Moment())
    >>> bool(minimized >= losses.mean())
    True

    Raises `RecipeError` for a loss with parameters of its own: they would be shared by all runs of a recipe.
    """

    def __init__(self, model: nn.Module, objective: Any, penalty: Penalty | None = None) -> None:
        super().__init__()
        self.model = model
        self.objective = as_objective(objective)
        self.penalty = copy.deepcopy(penalty) if isinstance(penalty, nn.Module) else penalty
        self.block: AbstractContextManager[Any] = nullcontext()
        """In which the objective is computed: one of another precision."""
        if isinstance(inner := self.objective.inner, nn.Module):
            if any(True for _ in inner.parameters()):
                raise RecipeError(
                    f"The loss {name_of(inner)} has parameters of its own, which every run of the recipe would share. "
                    "Put them into the model, and read them there in a function marked by @thalweg.objective."
                )
            self.loss = copy.deepcopy(inner)
            self.objective = self.objective.around(self.loss)

    def forward(self, batch: Nest, moment: Moment) -> tuple[Tensor, Losses]:
        with self.block:
            losses = self.objective(self.model, batch, moment)
        minimized = losses.mean()
        if self.penalty is not None:
            minimized = minimized + self.cost(self.penalty)
        return minimized, losses

    def cost(self, penalty: Penalty) -> Tensor | float:
        """What a penalty adds to the loss.

        Raises `RecipeError` where that is not one number.
        """
        cost = penalty(self.model)
        if isinstance(cost, Tensor) and cost.numel() == 1:
            return cost.reshape(())
        if isinstance(cost, int | float):
            return cost
        raise RecipeError(
            f"The penalty {name_of(penalty)} returned {describe(cost)}, but it is added to the loss: it gives one "
            "number. Take a sum, for instance model.weight.square().sum()."
        )
