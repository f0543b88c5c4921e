r"""The loss along lines through the weights, beside what the first two derivatives say of it.

$$ L(\theta + t d) \approx L(\theta) + t\, g^\top d + \tfrac{1}{2} t^2\, d^\top H d . $$

Along an eigenvector of length 1 the curvature $d^\top H d$ is the eigenvalue.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.nest import describe
from thalweg.core.randomness import generator
from thalweg.measure.curvature.lanczos import lanczos, random_start
from thalweg.measure.curvature.opening import Decay, surface
from thalweg.measure.curvature.surface import Surface
from thalweg.measure.landscape.filters import check_direction, flat
from thalweg.measure.landscape.plain import plain

POINTS = 41
TOLD, MOST_TOLD = 4.0, 4.0
"""A line goes on until the objective has changed by so many times itself, and ends before it is as many times that."""
FLOOR = 1e-5
"""Of the change over the whole length of theta: a smaller one is not gone for, or an objective of 0 would show none."""


@dataclass(frozen=True, eq=False)
class Lines:
    r"""The objective along some directions, a row each, and the quadratic's prediction at the same steps.

    A step t is a multiple of the direction, of length 1 where it is an eigenvector. `slopes` are $g^\top d$,
    `curvatures` $d^\top H d$, the eigenvalue of an eigenvector; `objective` is the value at t = 0. Where the objective
    is not finite, so it stands in `losses`.

    >>> x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0], [4.0]])
    >>> found = along(nn.Linear(1, 1, bias=False), nn.MSELoss(), (x, y))
    >>> found.names, bool(abs(found.curvatures[0] - 5) < 1e-4), found.losses.shape
    (('the only eigenvalue',), True, (1, 41))
    """

    names: tuple[str, ...]
    curvatures: tuple[float, ...]
    slopes: tuple[float, ...]
    objective: float
    steps: Float[np.ndarray, "line point"]
    losses: Float[np.ndarray, "line point"]
    predicted: Float[np.ndarray, "line point"]
    directions: Float[Tensor, "line n"]
    mode: str

    def __str__(self) -> str:
        rows = [f"The objective along {len(self.names)} lines from {self.objective:.4g}, {self.mode}"]
        for name, curvature, steps, losses in zip(self.names, self.curvatures, self.steps, self.losses, strict=True):
            low, high = np.nanmin(losses), np.nanmax(losses)
            rows.append(f"  {name}: curvature {curvature:.4g}, from {low:.4g} to {high:.4g} within ±{steps[-1]:.3g}")
        return "\n".join(rows)

    def to_json(self) -> dict[str, Any]:
        """Plain values: objective, mode, and a list of lines; the directions are left out."""
        listed = zip(self.names, self.curvatures, self.slopes, self.steps, self.losses, self.predicted, strict=True)
        return {
            "objective": plain(self.objective),
            "mode": self.mode,
            "lines": [
                {
                    "name": name,
                    "curvature": plain(curvature),
                    "slope": plain(slope),
                    "steps": plain(steps),
                    "losses": plain(losses),
                    "predicted": plain(predicted),
                }
                for name, curvature, slope, steps, losses, predicted in listed
            ],
        }


@no_type_check
def along(
    model: nn.Module,
    objective: Any,
    batches: Any,
    directions: Any = None,
    *,
    reach: float | None = None,
    points: int = POINTS,
    penalty: Any = None,
    weight_decay: Decay = 0.0,
    training: bool = False,
    seed: int = 0,
) -> Lines:
    """The objective along lines through the weights, the model left as it was found.

    It is the surface of `critical_point`, batch norm included: by running statistics, or with `training=True` by those
    of each batch. `directions` are tensors of as many numbers as the model has trained parameters, or dicts by
    parameter: one, a list, or `{name: direction}`. None takes the eigenvectors of the largest and of the smallest
    eigenvalue, by Lanczos (`seed` is that of its start).

    A line goes from `-reach` to `reach`, in multiples of the direction. None lets each go to where the objective has
    changed by 4 to 16 times itself (where that is almost 0, by a small share of what it changes over the length of
    theta); at most to the length of theta (at least 1). `points` of each are computed, an odd number, t = 0 among them.

    Raises `RecipeError` for directions of another shape, or of length 0, and for a reach or points that are not
    positive, and as `critical_point` does.

    >>> x, y = torch.eye(3), torch.zeros(3, 1)
    >>> layer = nn.Linear(3, 1, bias=False)
    >>> found = along(layer, nn.MSELoss(), (x, y), {"one weight": torch.tensor([1.0, 0.0, 0.0])}, reach=2.0, points=5)
    >>> found.steps.tolist(), [round(curvature, 3) for curvature in found.curvatures]
    ([[-2.0, -1.0, 0.0, 1.0, 2.0]], [0.667])
    >>> bool(abs(found.losses - found.predicted).max() < 1e-6)  # a bowl is a quadratic
    True
    """
    check_reach("along", reach, points)
    restraints = {"penalty": penalty, "weight_decay": weight_decay, "training": training}
    with surface(model, objective, batches, **restraints) as at:
        gradient, value = at.gradient().double(), at.value()
        named = _eigenvectors(at, seed) if directions is None else _given(directions, at)
        slopes = [float(gradient @ d.double()) for d in named.values()]
        curvatures = [float(d.double() @ at.product(d).double()) for d in named.values()]
        at.forget()
        steps = [
            np.linspace(-far, far, points)
            for far in (_reach(at, d, c, value) if reach is None else reach
                        for d, c in zip(named.values(), curvatures, strict=True))
        ]  # fmt: skip
        theta = at.theta
        losses = [[at.value_at(theta + t * d) for t in row] for row, d in zip(steps, named.values(), strict=True)]
        predicted = [value + s * row + c * row**2 / 2 for s, c, row in zip(slopes, curvatures, steps, strict=True)]
        drawn = torch.stack([direction.cpu() for direction in named.values()])
        return Lines(
            tuple(named), tuple(curvatures), tuple(slopes), value, np.array(steps), np.array(losses),
            np.array(predicted), drawn, at.mode,
        )  # fmt: skip


def check_reach(what: str, reach: Any, points: Any, *, fewest: int = 3) -> None:
    """Refuse a reach that is not positive, and points that are few, even, or no number."""
    if reach is not None and not (isinstance(reach, int | float) and 0 < reach < math.inf):
        raise RecipeError(
            f"{what}: reach is {reach!r}, but it is a length, positive and finite. Give for instance reach=1.0, or "
            "leave it out."
        )
    if not isinstance(points, int) or points < fewest or points % 2 == 0:
        raise RecipeError(
            f"{what}: points is {points!r}, but it is an odd number of at least {fewest}, so that one stands in the "
            "middle. Give for instance points=25."
        )


def _eigenvectors(at: Surface, seed: int) -> dict[str, Tensor]:
    space = lanczos(at.product, random_start(at.size, at.theta, generator(seed, "curvature", "start")))
    if space.steps == 1:
        return {"the only eigenvalue": space.vector(0)}
    low = "most negative eigenvalue" if float(space.values[0]) < 0 else "smallest eigenvalue"
    return {"largest eigenvalue": space.vector(space.steps - 1), low: space.vector(0)}


def _given(directions: Any, at: Surface) -> dict[str, Tensor]:
    """Directions by name, as vectors; a dict whose keys are the model's parameters is one direction."""
    if isinstance(directions, Tensor) or (isinstance(directions, Mapping) and set(directions) & set(at.parameters)):
        directions = [directions]
    if not isinstance(directions, Mapping):
        if not isinstance(directions, Sequence) or isinstance(directions, str):
            raise RecipeError(
                f"The directions are a {type(directions).__name__}, but they are tensors of {at.size:,} numbers, or "
                "dicts by parameter: one, a list, or {name: direction}."
            )
        directions = {f"direction {number}": each for number, each in enumerate(directions, 1)}
    if not directions:
        raise RecipeError("There is no direction to go along. Give at least one, or leave directions out.")
    return {str(name): _vector(each, str(name), at) for name, each in directions.items()}


def _vector(direction: Any, name: str, at: Surface) -> Tensor:
    if isinstance(direction, Mapping):
        check_direction(direction, at.parameters)
        direction = flat(direction, at.parameters)
    if not isinstance(direction, Tensor) or direction.shape != (at.size,):
        raise RecipeError(
            f"{name} is {describe(direction)}, but the model has {at.size:,} trained parameters: a direction is a "
            f"tensor of shape ({at.size},), or a dict of tensors by parameter."
        )
    found = direction.detach().to(at.device, at.dtype)
    if not bool(torch.isfinite(found).all()) or not float(found.norm()) > 0:
        raise RecipeError(f"{name} has no length, or one that is not finite. Give a direction that leads somewhere.")
    return found


def _reach(at: Surface, direction: Tensor, curvature: float, value: float) -> float:
    """The step at which the objective has changed enough to be seen, and not so much that only its ends are."""
    theta, length = at.theta, float(direction.norm())
    most = max(float(theta.norm()), 1.0) / length

    def change(t: float) -> float:
        ends = [at.value_at(theta + sign * t * direction) - value for sign in (1, -1)]
        return max(map(abs, ends)) if all(map(math.isfinite, ends)) else math.inf

    least = most * math.sqrt(torch.finfo(at.dtype).eps)
    while (far := change(most)) == math.inf and most > least:
        most /= 2
    told = max(TOLD * abs(value), FLOOR * far)
    t = min(most, max(least, math.sqrt(2 * told / abs(curvature)))) if curvature and told else most
    while t < most and change(t) < told:
        t = min(2 * t, most)
    while t > least and change(t) > MOST_TOLD * max(told, torch.finfo(at.dtype).tiny):
        t /= 2
    return t
