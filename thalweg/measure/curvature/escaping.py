r"""Escape: from a saddle along the direction in which the loss is curved downwards most.

With $Hu = \lambda u$ and $\lambda < 0$ the loss falls by $\frac{1}{2} |\lambda| s^2$ at a small step s along u, in both
directions; the sign is that of $-g^\top u$. How far that holds the quadratic does not say: the step is doubled from a
small one for as long as the loss over the whole evaluation set falls.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.measure.curvature.evaluation import read_batches
from thalweg.measure.curvature.kinds import Kind
from thalweg.measure.curvature.opening import Decay
from thalweg.measure.curvature.point import CriticalPoint
from thalweg.measure.curvature.settings import trainable
from thalweg.measure.curvature.spectrum import exact_surface
from thalweg.measure.curvature.surface import Surface
from thalweg.measure.curvature.verdict import critical_point
from thalweg.measure.looking import as_module

SMALL, FAR = 1e-3, 10.0
"""The first step and the furthest, of the length of theta (at least 1)."""


@dataclass(frozen=True)
class Escape:
    """Whether the weights were moved and how far, the objective before and after, and the kind of point it was.

    >>> print(Escape(True, Kind.SADDLE, -2.0, 0.5, 1.0, 0.75))
    Moved by 0.5 off a saddle of curvature -2: the objective fell from 1 to 0.75.
    """

    moved: bool
    kind: Kind
    curvature: float
    step: float
    before: float
    after: float

    def __str__(self) -> str:
        name = self.kind.name.lower().replace("_", " ")
        if not self.moved:
            return f"Not moved: no way down from this {name} point lowers the objective, {self.before:.4g}."
        return (
            f"Moved by {self.step:.3g} off a {name} of curvature {self.curvature:.3g}: the objective fell from "
            f"{self.before:.4g} to {self.after:.4g}."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return vars(self) | {"kind": str(self.kind)}


@no_type_check
def escape(
    model: nn.Module,
    objective: Any,
    batches: Any,
    *,
    penalty: Any = None,
    weight_decay: Decay = 0.0,
    training: bool = False,
    point: CriticalPoint | None = None,
    seed: int = 0,
) -> Escape:
    """Move the model's weights off a saddle, down; where there is no way down they stay as they are.

    `point` is what `critical_point` said of these weights, None asks it. The way is `point.descent`, and the other way
    where that does not lower the objective over all `batches`. A point that is not stationary is left to the optimizer.
    Only the weights change. Raises `RecipeError` as `critical_point` does, and for a point of another model.

    >>> import thalweg
    >>> net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    >>> for parameter in net.parameters():
    ...     _ = nn.init.zeros_(parameter)
    >>> x = torch.tensor([[1.0], [-1.0], [2.0], [-2.0]])
    >>> print(escape(net, nn.MSELoss(), (x, x)))
    Moved by 1.02 off a saddle of curvature -5: the objective fell from 2.5 to 0.5...
    """
    read = read_batches(batches)
    restraints = {"penalty": penalty, "weight_decay": weight_decay, "training": training}
    parameters = trainable(as_module(model))
    point = critical_point(model, objective, read, seed=seed, **restraints) if point is None else point
    if point.parameters != sum(parameter.numel() for parameter in parameters.values()):
        raise RecipeError(
            f"The point is one of {point.parameters:,} parameters, but the model has another number of them. Give the "
            "point that critical_point found for this model, or leave it out."
        )
    if point.kind is Kind.NOT_STATIONARY or point.descent is None:
        return Escape(False, point.kind, point.smallest, 0.0, point.objective, point.objective)
    with exact_surface(model, objective, read, **restraints) as at:
        way, before = point.descent.to(at.device, at.dtype), at.value()
        step, after = doubled(at, way, before)
        if not step:
            way = -way
            step, after = doubled(at, way, before)
        moved = at.theta + step * way
    if step:
        write(parameters, moved)
    return Escape(bool(step), point.kind, point.smallest, step, before, after)


def doubled(at: Surface, way: Tensor, before: float) -> tuple[float, float]:
    """The step at which the objective is lowest, and that objective, doubling for as long as it falls; else 0."""
    theta = at.theta
    length = max(float(theta.norm()), 1.0)
    rounding = 100 * torch.finfo(at.dtype).eps * abs(before)
    best, lowest, step = 0.0, before, SMALL * length
    while step <= FAR * length:
        value = at.value_at(theta + step * way)
        if value < lowest - rounding:
            best, lowest = step, value
        elif not value <= lowest + rounding:
            break
        step *= 2
    return best, lowest


def write(parameters: dict[str, nn.Parameter], theta: Tensor) -> None:
    """Write a point into the model's weights."""
    with torch.no_grad():
        for parameter, piece in zip(
            parameters.values(), theta.split([p.numel() for p in parameters.values()]), strict=True
        ):
            parameter.copy_(piece.view(parameter.shape))
