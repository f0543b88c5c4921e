"""A walk on a surface of two coordinates as a recipe: the point is the model, an epoch is a step."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.source import Splits
from thalweg.training import Recipe, Run


class Point(nn.Module):
    """A point (x, y) as the parameters of a model; its output is the point, whatever the input.

    >>> Point((3.0, 2.0))(torch.zeros(1, 1)).tolist()
    [[3.0, 2.0]]
    """

    def __init__(self, start: tuple[float, float]) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor(start))

    def forward(self, x: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 2"]:
        return self.place.expand(len(x), 2)


def walk(
    surface: Callable[[Tensor, Tensor], Tensor], start: tuple[float, float], optimizer: Callable[..., Any], steps: int
) -> Recipe:
    """The way down a surface `(place, _) -> height` from a start; the coordinates are kept as metrics."""
    one = (torch.zeros(1, 1), torch.zeros(1))
    return Recipe(
        data=Splits(train=one, validation=one),
        model=partial(Point, start),
        objective=surface,
        optimizer=optimizer,
        batch_size=None,
        epochs=steps,
        metrics={"x": partial(_coordinate, 0), "y": partial(_coordinate, 1)},
    )


def path(run: Run) -> Float[np.ndarray, "step 2"]:
    """The places that a walk came through, its start first."""
    assert run.recipe is not None
    point = run.recipe.model()
    assert isinstance(point, Point)
    return np.array([point.place.tolist(), *([row["metrics"]["x"], row["metrics"]["y"]] for row in run.history)])


def _coordinate(axis: int, place: Tensor, target: Tensor) -> float:
    return place[0, axis].item()
