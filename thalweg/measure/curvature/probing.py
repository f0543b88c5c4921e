r"""Probing flat directions: where second derivatives are zero, the loss itself says whether it rises or falls.

For a direction d of the null space the loss is followed along $\theta + s d$ after the other directions have given way,

$$ \varphi(s) = L\big(\theta + s d - H^{+} \nabla L(\theta + s d)\big), $$

so that a curved valley is seen as flat and a way down around a bend is found (Lyapunov-Schmidt reduction). The first s
at which the change is more than rounding decides, and twice that s must agree.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thalweg.measure.curvature.spectrum import Spectrum
from thalweg.measure.curvature.surface import Surface

STEPS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Of the length of theta, at least 1."""
SETTLING = 12
"""So many Newton steps at most: with one Hessian each takes away all but a share s of what is left."""
BASIS, MIXED, SOUGHT, ROUNDS = 8, 12, 4, 8
"""How many vectors of the null space are tried, how many mixtures, how many ways down are sought, in so many rounds."""


@dataclass(frozen=True, eq=False)
class Probes:
    """How many half-lines of the null space go up, go down and stay flat; the steepest way down, where there is one.

    >>> Probes(up=3, down=0, flat=1, direction=None).up
    3
    """

    up: int
    down: int
    flat: int
    direction: Float[Tensor, " n"] | None


@dataclass(frozen=True, eq=False)
class Valley:
    """The loss over the null space, the other directions having given way."""

    at: Surface
    theta: Tensor
    null: Tensor
    others: Tensor
    curvatures: Tensor
    tolerance: float

    @property
    def radius(self) -> float:
        """The length that steps are measured in."""
        return max(1.0, float(self.theta.norm()))

    def settled(self, theta: Tensor) -> Tensor:
        """The point after Newton steps in the other directions, until they change nothing any more."""
        eps = torch.finfo(self.at.dtype).eps
        for _ in range(SETTLING if len(self.others) else 0):
            step = (self.others @ self.at.gradient_at(theta)) / self.curvatures
            theta = theta - step @ self.others
            if not float(step.norm()) > 10 * eps * self.radius:
                break
        return theta

    def change(self, direction: Tensor, step: float, foot: float, slope: float) -> int:
        """1 where the loss has risen beyond its slope and what the tolerance allows, -1 where it has fallen, else 0."""
        value = self.at.value_at(self.settled(self.theta + step * direction))
        moved = value - foot - step * slope
        eps = torch.finfo(self.at.dtype).eps
        allowed = 100 * eps * max(abs(foot), abs(value)) + step**2 * self.tolerance / 2
        return int(moved > allowed) - int(moved < -allowed)

    def follow(self, direction: Tensor, foot: float, slope: float) -> int:
        """The sign of the first change that holds at twice the step, 0 where there is none."""
        for step in STEPS:
            first = self.change(direction, step * self.radius, foot, slope)
            if first and first == self.change(direction, 2 * step * self.radius, foot, slope):
                return first
        return 0

    def lowered(self, direction: Tensor) -> Tensor:
        """The direction turned, round by round, to where the gradient at its end points down."""
        step = STEPS[-2] * self.radius
        for _ in range(ROUNDS):
            slope = self.null.T @ (self.null @ self.at.gradient_at(self.settled(self.theta + step * direction)))
            turned = direction * slope.norm() - slope
            if not float(turned.norm()) > 0:
                break
            direction = turned / turned.norm()
        return direction


def probe(at: Surface, spectrum: Spectrum, tau: float, gradient: Tensor, stream: torch.Generator) -> Probes:
    """Both ways along vectors of the null space and mixtures of them; where none goes down, some are sought."""
    zeros = np.abs(spectrum.values) <= tau
    flat = torch.as_tensor(zeros, device=at.device)
    null, others = spectrum.vectors[flat].to(at.dtype), spectrum.vectors[~flat].to(at.dtype)
    curvatures = torch.as_tensor(spectrum.values[~zeros], dtype=at.dtype, device=at.device)
    valley = Valley(at, at.theta, null, others if spectrum.exact else others[:0], curvatures, tau)
    foot = at.value_at(valley.settled(valley.theta))
    mixtures = torch.randn(MIXED, len(null), generator=stream, dtype=torch.float64).to(null)
    mixed = mixtures @ null if len(null) > 1 else null[:0]
    counts, ways = {1: 0, -1: 0, 0: 0}, []

    def follow(direction: Tensor) -> None:
        direction = direction / direction.norm()
        sign = valley.follow(direction, foot, float(torch.dot(gradient, direction)))
        counts[sign] += 1
        if sign < 0:
            ways.append(direction)

    for direction in (*null[:BASIS], *mixed):
        follow(direction)
        follow(-direction)
    if not ways and len(null) > 1:
        for direction in mixed[:SOUGHT]:
            follow(valley.lowered(direction / direction.norm()))
    return Probes(counts[1], counts[-1], counts[0], ways[0] if ways else None)
