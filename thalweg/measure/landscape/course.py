"""The course of a training over the error surface: what kind of point the weights were at, epoch by epoch."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.passing import passed
from thalweg.measure.curvature.evaluation import read_batches
from thalweg.measure.curvature.opening import Decay
from thalweg.measure.curvature.point import CriticalPoint
from thalweg.measure.curvature.settings import trainable
from thalweg.measure.curvature.verdict import critical_point
from thalweg.measure.landscape.path import read_path, standing
from thalweg.measure.landscape.plain import plain
from thalweg.measure.looking import as_module

SPACINGS = ("log", "even")
MOST_EXACT = 300
"""So many parameters have all eigenvalues computed at each point: no more products than Lanczos takes."""


@dataclass(frozen=True)
class Course:
    """Critical points by epoch; `known` is how many weights the path had, of which these were looked at.

    >>> layer = nn.Linear(1, 1)
    >>> import torch
    >>> course = critical_points(layer, nn.MSELoss(), (torch.ones(4, 1), torch.ones(4, 1)), [layer.state_dict()] * 3)
    >>> course.epochs, course.known
    ((0, 1, 2), 3)
    """

    epochs: tuple[int, ...]
    points: tuple[CriticalPoint, ...]
    known: int
    spacing: str

    def __str__(self) -> str:
        rows = [self.said, f"{'epoch':>7} {'objective':>10} {'|g|':>9} {'minima ratio':>12} {'smallest':>10} kind"]
        for epoch, point in zip(self.epochs, self.points, strict=True):
            ratio = "none" if point.minima_ratio is None else f"{point.minima_ratio:.3f}"
            rows.append(
                f"{epoch:>7} {point.objective:>10.4g} {point.gradient_norm:>9.3g} {ratio:>12} {point.smallest:>10.3g} "
                f"{point.kind}"
            )
        return "\n".join(rows)

    @property
    def said(self) -> str:
        """Which weights were looked at, in words."""
        if len(self.epochs) == self.known:
            return f"All {self.known} weights of the path."
        how = "evenly spaced in the logarithm of their number" if self.spacing == "log" else "evenly spaced"
        return f"{len(self.epochs)} of {self.known} weights of the path, {how}."

    def to_json(self) -> dict[str, Any]:
        """Plain values: a point for each epoch, with what is drawn of it; eigenvalues and notes are left out."""
        names = ("objective", "loss", "gradient_norm", "tolerance", "minima_ratio", "tau", "positive", "zero",
                 "negative", "smallest", "largest", "trace", "trace_error")  # fmt: skip
        return {
            "known": self.known,
            "said": self.said,
            "points": [
                {"epoch": epoch, "kind": str(point.kind)} | {name: plain(getattr(point, name)) for name in names}
                for epoch, point in zip(self.epochs, self.points, strict=True)
            ],
        }


@no_type_check
def critical_points(
    model: nn.Module,
    objective: Any,
    batches: Any,
    path: Any,
    *,
    most: int = 12,
    spacing: str = "log",
    penalty: Any = None,
    weight_decay: Decay = 0.0,
    training: bool = False,
    exact: bool | None = None,
    seed: int = 0,
) -> Course:
    """What `critical_point` says of each of a sequence of weights: gradient norm, minima ratio, kind, by epoch.

    `path` is a list of state dicts, first to last, or `{epoch: state dict}`; the buffers in them count too. One point
    costs a few hundred gradients, so no more than `most` are looked at, the first and the last among them: evenly
    spaced in the logarithm of their number, since early epochs differ most, or `spacing="even"`. `exact` is that of
    `critical_point`, but None computes all eigenvalues up to 300 parameters only. The model is left as it was found.
    Raises `RecipeError` for a path that is empty or of another model, and as `critical_point` does.

    >>> import torch
    >>> x = torch.tensor([[1.0], [2.0]])
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> states = {epoch: {"weight": torch.tensor([[2.0 - 1 / epoch**3]])} for epoch in (1, 2, 10)}
    >>> course = critical_points(layer, nn.MSELoss(), (x, 2 * x), states)
    >>> course.epochs, [round(point.gradient_norm, 2) for point in course.points]
    ((1, 2, 10), [5.0, 0.62, 0.01])
    """
    if not isinstance(most, int) or most < 1:
        raise RecipeError(
            f"critical_points: most is {most!r}, but it is a number of points. Give for instance most=12."
        )
    if spacing not in SPACINGS:
        raise RecipeError(f'critical_points: spacing is {spacing!r}, but it is "log" or "even".')
    stops = read_path(path, as_module(model))
    read = read_batches(batches)
    taken = chosen(len(stops), most, spacing)
    size = sum(parameter.numel() for parameter in trainable(model).values())
    exact = size <= MOST_EXACT if exact is None else exact
    restraints = {"penalty": penalty, "weight_decay": weight_decay, "training": training}
    points = []
    for count, number in enumerate(taken):
        with standing(model, stops[number][1]):
            points.append(critical_point(model, objective, read, exact=exact, seed=seed, **restraints))
        passed("points of the course", count + 1, len(taken))
    return Course(tuple(stops[number][0] for number in taken), tuple(points), len(stops), spacing)


def chosen(count: int, most: int, spacing: str) -> list[int]:
    """The numbers of up to `most` of `count` things, the first and the last among them; of one, the last.

    >>> chosen(100, 7, "log"), chosen(100, 4, "even"), chosen(3, 7, "log"), chosen(9, 1, "log")
    ([0, 1, 4, 9, 21, 45, 99], [0, 33, 66, 99], [0, 1, 2], [8])
    """
    if count <= most:
        return list(range(count))
    if most == 1:
        return [count - 1]
    found = [0]
    for step in range(1, most):
        share = step / (most - 1)
        place = count**share - 1 if spacing == "log" else share * (count - 1)
        found.append(max(found[-1] + 1, round(place)))
    return found
