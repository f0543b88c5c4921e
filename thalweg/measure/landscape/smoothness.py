r"""How smooth the surface is along a step: what batch normalization is said to improve.

From $\theta$ with the gradient g the loss is followed to $\theta - \eta g$ for several $\eta$. The range of the losses,
the change of the gradient $\lVert g(\theta - \eta g) - g \rVert$, and the effective smoothness

$$ \beta = \max_\eta \frac{\lVert g(\theta - \eta g) - g \rVert}{\lVert \eta g \rVert} $$

say how far g can be trusted (Santurkar et al., "How Does Batch Normalization Help Optimization?", 2018, figure 4). On a
quadratic, $\beta = \lVert H g \rVert / \lVert g \rVert$ at every step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.measure.curvature.opening import Decay
from thalweg.measure.landscape.plain import plain
from thalweg.measure.landscape.statistics import far_surface


@dataclass(frozen=True)
class Smoothness:
    """The objective and the change of the gradient at each step, in multiples of the gradient.

    >>> found = Smoothness((0.5, 1.0), 4.0, 2.0, (3.0, 1.0), (1.0, 3.0), "evaluation mode")
    >>> found.low, found.high, found.spread, found.change, found.effective
    (1.0, 3.0, 2.0, 3.0, 1.5)
    """

    steps: tuple[float, ...]
    objective: float
    gradient_norm: float
    losses: tuple[float, ...]
    changes: tuple[float, ...]
    mode: str

    @property
    def low(self) -> float:
        """The smallest objective along the step."""
        return min(self.losses)

    @property
    def high(self) -> float:
        """The largest."""
        return max(self.losses)

    @property
    def spread(self) -> float:
        """The range of the objective along the step."""
        return self.high - self.low

    @property
    def change(self) -> float:
        """The largest change of the gradient."""
        return max(self.changes)

    @property
    def ratios(self) -> tuple[float, ...]:
        """The change of the gradient over the way gone, at each step; NaN where the gradient is 0."""
        ways = [step * self.gradient_norm for step in self.steps]
        return tuple(change / way if way else math.nan for change, way in zip(self.changes, ways, strict=True))

    @property
    def effective(self) -> float:
        """The effective smoothness, the largest of them: beta."""
        return max(self.ratios)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "steps": plain(self.steps),
            "objective": plain(self.objective),
            "gradient_norm": plain(self.gradient_norm),
            "losses": plain(self.losses),
            "changes": plain(self.changes),
            "ratios": plain(self.ratios),
            "mode": self.mode,
        }


@no_type_check
def smoothness(
    model: nn.Module,
    objective: Any,
    batch: Any,
    *,
    steps: Sequence[float],
    statistics: str = "batch",
    penalty: Any = None,
    weight_decay: Decay = 0.0,
    training: bool = False,
) -> Smoothness:
    r"""The objective and its gradient at $\theta - \eta g$ for $\eta$ in `steps`; the model is left as it was found.

    Give the batch whose gradient a step of training follows, and steps around its learning rate: half of it to four
    times it, as the authors do for small networks. Batch norm takes the statistics of the batch, as in training;
    `statistics="running"` takes the buffers. The objective is in its own unit, changes in that unit per unit of a
    parameter. Raises `RecipeError` for steps that are not positive, and as `critical_point` does.

    >>> import torch
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> x = torch.tensor([[1.0], [2.0]])
    >>> found = smoothness(layer, nn.MSELoss(), (x, 2 * x), steps=(0.05, 0.1))
    >>> round(found.effective, 3)  # the only eigenvalue, 2 x'x / n
    5.0
    """
    given = tuple(map(float, steps)) if _are_numbers(steps) else ()
    if not given or not all(0 < step < math.inf for step in given):
        raise RecipeError(
            f"smoothness: steps is {steps!r}, but they are multiples of the gradient, positive and finite. Give for "
            "instance steps=(0.05, 0.1, 0.2, 0.4) around a learning rate of 0.1."
        )
    restraints = {"penalty": penalty, "weight_decay": weight_decay, "training": training}
    with far_surface(model, objective, batch, statistics, **restraints) as at:
        theta = at.theta
        gradient = at.gradient_at(theta)
        losses, changes = [], []
        for step in given:
            there = theta - step * gradient
            losses.append(at.value_at(there))
            changes.append(float((at.gradient_at(there) - gradient).norm()))
        return Smoothness(given, at.value(), float(gradient.norm()), tuple(losses), tuple(changes), at.mode)


def _are_numbers(steps: Any) -> bool:
    return isinstance(steps, Sequence) and all(isinstance(step, int | float) for step in steps)
