"""What tests of races and proofs share: a small regression, its remedies, and a circle around it."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from thalweg import Cause, Recipe, Remedy, Splits
from thalweg.diagnosis import Budget, Finding
from thalweg.nn import mlp
from thalweg.remedy.circle import Circle
from thalweg.remedy.round import Round

RANDOM = np.random.default_rng(0)
X = torch.from_numpy(RANDOM.normal(size=(340, 3))).float()
Y = X.sum(1, keepdim=True) + 0.1 * torch.from_numpy(RANDOM.normal(size=(340, 1))).float()


def recipe(**changes: Any) -> Recipe:
    made = Recipe(
        data=Splits(train=(X[:60], Y[:60]), validation=(X[60:120], Y[60:120])),
        model=partial(mlp, 3, 1, width=8),
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        epochs=2,
    )
    return made.but(**changes)


def at(rate: float) -> Remedy:
    return Remedy(
        f"rate {rate:g}", Cause.OPTIMIZATION, lambda one: one.but(optimizer=partial(torch.optim.Adam, lr=rate))
    )


class Twice(nn.MSELoss):
    """The squared error in another unit."""

    def forward(self, output: Any, target: Any) -> Any:
        return 2 * super().forward(output, target)


def circle(found: Finding, budget: float = 200.0, **changes: Any) -> Circle:
    return Circle(
        recipe(**changes), recipe(**changes), Budget(budget), "cpu", print, lambda diary: None, [Round(found)]
    )
