r"""The loss on a plane through the weights: along two random directions, or the plane that a path lies in most nearly.

$$ f(a, b) = L(\theta + a\, d_1 + b\, d_2) $$

Random directions are filter-normalized, and a, b multiples of them. Those of a path $\theta_0 \ldots \theta_k$ are the
principal directions of $\theta_i - \theta_k$, of length 1, so that a, b are distances (Li et al., "Visualizing the Loss
Landscape of Neural Nets", 2018, sections 4 and 7). The plane leads through the last weights, and so the variance is
that about the last weights and not about the mean: of all such planes this one is nearest to the path.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.passing import passed
from thalweg.core.randomness import generator
from thalweg.measure.curvature.evaluation import read_batches
from thalweg.measure.curvature.opening import Decay
from thalweg.measure.curvature.settings import trainable
from thalweg.measure.curvature.surface import Surface
from thalweg.measure.landscape.filters import flat, random_directions
from thalweg.measure.landscape.lines import check_reach
from thalweg.measure.landscape.path import Stops, read_path, standing, vector
from thalweg.measure.landscape.plain import plain
from thalweg.measure.landscape.statistics import far_surface
from thalweg.measure.looking import as_module

MARGIN = 1.4
"""The side of a grid around a path, in multiples of the path's longer side."""
LINE = 1e-12
"""Of the variance: a second principal direction of less is rounding, and the path a straight line."""


@dataclass(frozen=True)
class Passage:
    """Where a path passes: its coordinates, how far off the plane it is, the objective there and where it projects to.

    >>> Passage(3, 1.0, 0.0, 0.5, 0.25, 0.5).gap
    0.25
    """

    epoch: int
    x: float
    y: float
    away: float
    objective: float
    projected: float

    @property
    def gap(self) -> float:
        """How much higher the objective is in the plane than on the path."""
        return self.projected - self.objective


@dataclass(frozen=True, eq=False)
class Plane:
    """The objective on a grid: `losses[row, column]` at `y[row]`, `x[column]`, as it is where it is not finite.

    `objective` is that at (0, 0); `shares` are those of the variance that the two axes of a path explain, None for
    random directions; `mode` says by which statistics batch norm computes.

    >>> layer = nn.Linear(2, 1)
    >>> found = plane(layer, nn.MSELoss(), (torch.ones(4, 2), torch.ones(4, 1)), points=3)
    >>> found.x, found.losses.shape, found.shares
    ((-1.0, 0.0, 1.0), (3, 3), None)
    """

    names: tuple[str, str]
    x: tuple[float, ...]
    y: tuple[float, ...]
    losses: Float[np.ndarray, "row column"]
    objective: float
    shares: tuple[float, float] | None
    path: tuple[Passage, ...]
    mode: str
    directions: Float[Tensor, "2 n"] = field(repr=False)

    @property
    def furthest(self) -> Passage | None:
        """Where the objective on the path and in the plane are furthest apart; None without a path."""
        return max(self.path, key=lambda passage: abs(passage.gap), default=None)

    def __str__(self) -> str:
        finite = self.losses[np.isfinite(self.losses)]
        rows = [
            f"The objective on {self.losses.size} points, {self.objective:.4g} at the weights, from {finite.min():.4g} "
            f"to {finite.max():.4g}; {self.mode}"
        ]
        if self.shares is not None:
            first, second = self.shares
            rows.append(f"  the axes explain {first:.1%} and {second:.1%} of the variance about the last weights")
        if (far := self.furthest) is not None:
            rows.append(
                f"  on the path and in the plane they are furthest apart at epoch {far.epoch}: {far.objective:.4g} and "
                f"{far.projected:.4g}, {far.away:.3g} off the plane"
            )
        return "\n".join(rows)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the directions are left out."""
        return {
            "names": list(self.names),
            "x": plain(self.x),
            "y": plain(self.y),
            "losses": plain(self.losses),
            "objective": plain(self.objective),
            "shares": None if self.shares is None else plain(self.shares),
            "path": [
                {name: value if name == "epoch" else plain(value) for name, value in vars(passage).items()}
                for passage in self.path
            ],
            "mode": self.mode,
        }


@no_type_check
def plane(
    model: nn.Module,
    objective: Any,
    batches: Any,
    *,
    path: Any = None,
    reach: float | None = None,
    points: int = 25,
    statistics: str = "batch",
    penalty: Any = None,
    weight_decay: Decay = 0.0,
    training: bool = False,
    seed: int = 0,
) -> Plane:
    """The objective on a grid of `points` by `points` through the weights; the model is left as it was found.

    Without `path` the directions are random and filter-normalized, drawn from `seed`; the grid goes to `reach` times
    them, 1 where it is None. `path` is a list of state dicts, first to last, or `{epoch: state dict}`: then the plane
    is that of its principal directions through its last weights, which stand in for the model's own, and the grid a
    square around it; `reach` replaces half of its side. Each point of the path has the objective there beside that in
    the plane. A path that is a straight line has a random second direction, at right angles.

    `statistics`: far from the weights the running statistics of batch norm are those of another network, so it takes
    those of each of `batches`, as they come; "running" takes the buffers, which are the last weights', and those of
    each point of the path for the objective there. Dropout is off but with `training=True`, which must not draw lots.

    The cost is points² passes over `batches`. Raises `RecipeError` for a path that is empty, of one point, of equal
    points or of another model, for points and a reach that are not positive, and as `critical_point` does; `DataError`
    for weights that are not finite.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> x = torch.eye(2)
    >>> states = [{"weight": torch.tensor([[3.0, t]])} for t in (4.0, 2.0, 0.0)]
    >>> found = plane(layer, lambda output, y: output.square().sum(), (x, x), path=states, points=3)
    >>> [(passage.epoch, round(passage.objective)) for passage in found.path], found.shares
    ([(0, 25), (1, 13), (2, 9)], (1.0, 0.0))
    """
    check_reach("plane", reach, points)
    parameters = trainable(as_module(model))
    if sum(parameter.numel() for parameter in parameters.values()) < 2:
        raise RecipeError("The model has a single number to train, which spans no plane. Go along it: measure.along.")
    stops = None if path is None else read_path(path, model)
    read = read_batches(batches)
    restraints = {"penalty": penalty, "weight_decay": weight_decay, "training": training}
    if stops is None:
        first, second = random_directions(model, seed)
        with far_surface(model, objective, read, statistics, **restraints) as at:
            drawn = torch.stack([flat(each, parameters).to(at.dtype) for each in (first, second)])
            _check_apart(drawn)
            side = np.linspace(*((-1.0, 1.0) if reach is None else (-reach, reach)), points)
            names = ("random direction 1", "random direction 2")
            axis, grid = tuple(side.tolist()), _grid(at, drawn, side, side)
            return Plane(names, axis, axis, grid, at.value(), None, (), at.mode, drawn.cpu())
    with standing(model, stops[-1][1]), far_surface(model, objective, read, statistics, **restraints) as at:
        return _of_path(at, model, stops, reach, points, seed)


def principal(points: Float[Tensor, "point n"], seed: int = 0) -> tuple[Float[Tensor, "2 n"], tuple[float, float]]:
    """The two principal directions of points about the last of them, of length 1, with their shares of the variance.

    A straight line has a second one of no share, random at right angles. The first point has positive coordinates.

    >>> directions, shares = principal(torch.tensor([[0.0, 3.0], [0.0, 1.0], [0.0, 0.0]]))
    >>> directions[0].abs().tolist(), shares
    ([0.0, 1.0], (1.0, 0.0))
    """
    away = (points - points[-1]).double()
    values, vectors = torch.linalg.eigh(away @ away.T)
    total = float(values.sum())
    first = vectors[:, -1] @ away
    first = first / first.norm()
    share = float(values[-2]) / total
    if share > LINE:
        second = vectors[:, -2] @ away
    else:
        share = 0.0
        second = torch.randn(len(first), generator=generator(seed, "landscape", 1), dtype=torch.float64).to(first)
    second = second - (second @ first) * first
    directions = torch.stack([first, second / second.norm()])
    signs = torch.where(directions @ away[0] < 0, -1.0, 1.0).to(directions)
    return (signs[:, None] * directions).to(points.dtype), (float(values[-1]) / total, share)


def _of_path(at: Surface, model: nn.Module, stops: Stops, reach: float | None, points: int, seed: int) -> Plane:
    thetas = torch.stack([vector(state, at.parameters) for _, state in stops])
    if len(stops) < 2 or not bool((thetas != thetas[-1]).any()):
        said = "one point" if len(stops) < 2 else f"{len(stops)} points that are all the same"
        raise RecipeError(
            f"The path has {said}, which spans no plane. Give the weights of several epochs, each copied: "
            "copy.deepcopy(model.state_dict())."
        )
    directions, shares = principal(thetas, seed)
    coordinates = ((thetas - thetas[-1]).double() @ directions.double().T).cpu()
    middle, spread = (coordinates.amax(0) + coordinates.amin(0)) / 2, coordinates.amax(0) - coordinates.amin(0)
    half = MARGIN * float(spread.max()) / 2 if reach is None else reach
    x, y = (np.linspace(float(place) - half, float(place) + half, points) for place in middle)
    passages = []
    for (epoch, state), theta, place in zip(stops, thetas, coordinates, strict=True):
        with standing(model, state):
            there = at.value()
        nearest = place.to(directions) @ directions
        away = float((theta - thetas[-1] - nearest).double().norm())
        projected = at.value_at(thetas[-1] + nearest)
        passages.append(Passage(int(epoch), float(place[0]), float(place[1]), away, there, projected))
    second = "principal direction 2" if shares[1] else "random direction"
    grid = _grid(at, directions, x, y)
    return Plane(("principal direction 1", second), tuple(x.tolist()), tuple(y.tolist()), grid, at.value(),
                 shares, tuple(passages), at.mode, directions.cpu())  # fmt: skip


def _grid(at: Surface, directions: Tensor, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The objective point by point.

    Many points in one stacked pass are faster only where a pass is so small that the whole grid takes a tenth of a
    second (measured: 100 examples, 9,000 weights); with 1,079 examples they are slower.
    """
    theta, found = at.theta, np.empty((len(y), len(x)))
    for row, b in enumerate(y):
        start = theta + float(b) * directions[1]
        for column, a in enumerate(x):
            found[row, column] = at.value_at(start + float(a) * directions[0])
        passed("rows of the plane", row + 1, len(y))
    return found


def _check_apart(directions: Tensor) -> None:
    first, second = directions.double()
    product = float(first.norm() * second.norm())
    if product == 0 or abs(float(first @ second)) > (1 - 1e-6) * product:
        said = (
            "The weights are all zero, so that filter-normalized directions have no length"
            if product == 0
            else ("Filter-normalized directions of this model are all parallel")
        )
        raise RecipeError(f"{said}, and span no plane. Give a path instead: path=[state dict, ...].")
