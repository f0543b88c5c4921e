r"""The kind of a point: whether its gradient is zero, and if so, whether there is a way down.

Around $\theta'$ the loss is $L(\theta') + (\theta - \theta')^\top g + \frac{1}{2} (\theta - \theta')^\top H (\theta -
\theta')$. Where $g = 0$ the eigenvalues of H decide, as far as they are not zero; beyond that the loss is probed.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.randomness import generator
from thalweg.measure.curvature.evaluation import Part
from thalweg.measure.curvature.kinds import Certainty, Kind
from thalweg.measure.curvature.lanczos import Krylov, lanczos, random_start
from thalweg.measure.curvature.opening import Decay
from thalweg.measure.curvature.point import CriticalPoint
from thalweg.measure.curvature.probing import Probes, probe
from thalweg.measure.curvature.settings import trainable
from thalweg.measure.curvature.spectrum import Spectrum, all_of, dense, ends_of, fitting
from thalweg.measure.curvature.spread import Curvature, curvature_along, gradient_noise, held_out
from thalweg.measure.curvature.surface import Surface
from thalweg.measure.looking import as_module

PERTURBED, NEAR = 20, 1e-2
"""So many random perturbations, of so much of the length of theta (at least 1)."""
BY_CHANCE = 2.0
"""A squared gradient of up to so many times tr(Cov)/N is no more than chance."""


@no_type_check
def critical_point(
    model: nn.Module,
    objective: Any,
    batches: Any,
    *,
    penalty: Any = None,
    weight_decay: Decay = 0.0,
    training: bool = False,
    exact: bool | None = None,
    tolerance: float | None = None,
    seed: int = 0,
) -> CriticalPoint:
    r"""What kind of point on the error surface the model's weights are; the model is left as it was found.

    Of the objective that was trained: the loss in evaluation mode (`training=True`: in training mode) over `batches`,
    weighted by example, plus `penalty(model)`, plus $\frac{1}{2} \lambda |\theta|^2$ for a decoupled `weight_decay`
    (one number, or one for each parameter by name). `batches` is `(x, y)`, a list of such, a `DataLoader` or a
    `Source`; an objective is a loss `(output, target)`, or one marked by `@thalweg.objective`.

    - The gradient is zero where $|g|^2 \le 2\, \mathrm{tr}(\mathrm{Cov})/N$, what it would be by chance, or where it is
      no more than the rounding of the weights; `tolerance` (of $|g|$) replaces both.
    - Up to 1,500 parameters (fewer of convolutions), or 5,000 with `exact=True`, all eigenvalues are computed in
      float64. Beyond that, or with `exact=False`, Lanczos finds both ends, from two random starts before anything is
      called a minimum.
    - A negative eigenvalue makes a saddle only where the direction found on half of the data has a curvature below -2
      standard errors on the other half.
    - Flat directions are followed on the loss itself, the other directions giving way.

    Eigenvalues are in the loss's unit per squared unit of a parameter. Raises `RecipeError` for what cannot be
    differentiated twice or differs from pass to pass, `DataError` for values that are not finite.

    >>> net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 1, bias=False))
    >>> for parameter in net.parameters():
    ...     _ = nn.init.zeros_(parameter)
    >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> point = critical_point(net, nn.MSELoss(), (x, x[:, :1]))
    >>> print(point.kind, [round(value, 3) for value in point.eigenvalues if value])
    SADDLE [-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]
    """
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise RecipeError(
            f"critical_point: tolerance is {tolerance!r}, but it is a gradient's length, at least 0 and finite. Give "
            "for instance tolerance=1e-4, or leave it out."
        )
    eps = max(torch.finfo(parameter.dtype).eps for parameter in trainable(as_module(model)).values())
    restraints = {"penalty": penalty, "weight_decay": weight_decay, "training": training}
    with fitting(model, objective, batches, exact, **restraints) as (at, exact):
        return Judged(at, seed, exact, eps, tolerance).point()


@dataclass(eq=False)
class Judged:
    """A point while it is judged, from the gradient to the verdict."""

    at: Surface
    seed: int
    exact: bool
    eps: float
    tolerance: float | None
    notes: list[str] = field(default_factory=list)
    spaces: list[Krylov] = field(default_factory=list)

    def point(self) -> CriticalPoint:
        """All numbers, then the kind."""
        at = self.at
        loss, gradient, theta = at.loss(), at.gradient(), at.theta
        objective = loss + at.extra()
        pieces = at.pieces()
        if pieces is None:
            self.notes.append("Too few examples, or no mean over examples: what more data would show is not judged.")
        noise = None if pieces is None else math.sqrt(gradient_noise(at, pieces))
        spectrum = self.spectrum()
        norm, scale = float(gradient.double().norm()), spectrum.scale
        rounding = 10 * self.eps * scale * max(float(theta.norm()), 1.0)
        by_chance = 0.0 if noise is None else math.sqrt(BY_CHANCE) * noise
        allowed = max(rounding, by_chance) if self.tolerance is None else self.tolerance
        ratio = float(at.product(gradient).double().norm()) / (scale * norm) if norm > 0 and scale > 0 else None
        lowest = spectrum.vectors[0].to(at.dtype)
        spread = Curvature(0.0, 0.0) if pieces is None else curvature_along(at, pieces, lowest)
        tau = max(spectrum.residual, math.sqrt(torch.finfo(at.dtype).eps) * scale, 2 * spread.error)
        raised = self.raised(theta, objective)
        kind, certainty, held, descent = self.kind(norm <= allowed, norm <= rounding, spectrum, tau, gradient, pieces)
        if kind is not Kind.NOT_STATIONARY and norm > rounding and self.tolerance is None:
            self.notes.append(
                "The gradient is not zero on these data, but no longer than by chance: with more data it could be told."
            )
        if kind is Kind.DEGENERATE and descent is not None:
            self.notes.append("The lowest eigenvalue is negative: there is a way down.")
        if kind is Kind.NOT_STATIONARY and ratio is not None and ratio < 1e-3:
            self.notes.append("Gradient-flat: Hg is nearly 0 though g is not, so minimizing |g|^2 would stop here.")
        if not spectrum.converged:
            self.notes.append("Lanczos ended before its residuals were small: tau is as large as they are.")
        spectrum, density = self._latest(spectrum), self._latest(spectrum).density
        positive, negative = density.share(low=tau), density.share(high=math.nextafter(-tau, -math.inf))
        return CriticalPoint(
            kind, certainty, loss, objective, norm, noise, allowed, ratio, tuple(map(float, spectrum.values)),
            spectrum.residual, tau, positive / (positive + negative) if positive + negative > 0 else None, positive,
            max(0.0, 1 - positive - negative), negative, density.share(low=0.0), raised, density.mean * at.size,
            density.mean_error(at.size) * at.size, None if held is None else (held.value, held.error), at.size,
            sum(part.weight for part in at.parts),
            spectrum.exact, at.products, at.mode, tuple(self.notes), descent,
        )  # fmt: skip

    def spectrum(self) -> Spectrum:
        """All eigenvalues, or those of one run of Lanczos."""
        if self.exact:
            return all_of(dense(self.at))
        return self.start_again()

    def start_again(self) -> Spectrum:
        """One more run of Lanczos, from another random direction."""
        stream = generator(self.seed, "curvature", "start", len(self.spaces))
        self.spaces.append(lanczos(self.at.product, random_start(self.at.size, self.at.theta, stream)))
        return ends_of(self.spaces)

    def _latest(self, spectrum: Spectrum) -> Spectrum:
        return ends_of(self.spaces) if len(self.spaces) > 1 else spectrum

    def raised(self, theta: Tensor, objective: float) -> float:
        """The share of random perturbations that raise the objective."""
        stream = generator(self.seed, "curvature", "perturbations")
        length = NEAR * max(float(theta.norm()), 1.0)
        steps = [length * random_start(self.at.size, theta, stream) for _ in range(PERTURBED)]
        return float(np.mean([self.at.value_at(theta + step) > objective for step in steps]))

    def kind(
        self, stationary: bool, zero: bool, spectrum: Spectrum, tau: float, gradient: Tensor, pieces: list[Part] | None
    ) -> tuple[Kind, Certainty, Curvature | None, Tensor | None]:
        """The kind, how sure it is, the held-out curvature, and a way down."""
        if not stationary:
            way = -gradient / gradient.norm()
            return Kind.NOT_STATIONARY, Certainty.MEASURED, None, way
        down, up = spectrum.values[0] < -tau, spectrum.values[-1] > tau
        if not spectrum.exact and not (down and up):
            spectrum = self.start_again()
            down, up = spectrum.values[0] < -tau, spectrum.values[-1] > tau
        sure, held = Certainty.EXACT if spectrum.exact else Certainty.LIKELY, None
        lowest = spectrum.vectors[0].to(gradient.dtype)
        if down:
            held = self.held(pieces)
            if held is not None and not held.below_zero:
                self.notes.append(
                    "The lowest direction of half of the data is not a way down on the other half: it may be luck."
                )
                return Kind.DEGENERATE, Certainty.UNSURE, held, None
            sure = sure if held is None else Certainty.HELD_OUT
        descent = _downhill(lowest, gradient) if down else None
        if down and up:
            return Kind.SADDLE, sure, held, descent
        if not (np.abs(spectrum.values) <= tau).any():
            return (Kind.LOCAL_MINIMUM if up else Kind.LOCAL_MAXIMUM), sure, held, descent
        if not zero:
            self.notes.append(
                "Flat directions decide it, but with a gradient that is not quite 0 they cannot be followed."
            )
            return Kind.DEGENERATE, Certainty.UNSURE, held, descent
        probes = probe(self.at, spectrum, tau, gradient, generator(self.seed, "curvature", "probes"))
        return self.probed(probes, bool(up), bool(down)), Certainty.PROBED, held, descent if down else probes.direction

    def held(self, pieces: list[Part] | None) -> Curvature | None:
        """The lowest direction of half of the data on the other half; None where the data are one piece."""
        if pieces is None:
            return None
        return held_out(self.at, pieces, generator(self.seed, "curvature", "half"))

    def probed(self, probes: Probes, up: bool, down: bool) -> Kind:
        """The kind by what second derivatives and probes show together."""
        self.notes.append(
            f"Flat directions, followed both ways: {probes.up} up, {probes.down} down, {probes.flat} flat."
        )
        up, down = up or probes.up > 0, down or probes.down > 0
        if up and down:
            return Kind.SADDLE
        if probes.flat or not (up or down):
            return Kind.DEGENERATE
        return Kind.LOCAL_MINIMUM if up else Kind.LOCAL_MAXIMUM


def _downhill(direction: Tensor, gradient: Tensor) -> Tensor:
    """The direction with the sign by which the gradient helps down."""
    return -direction if float(torch.dot(direction, gradient)) > 0 else direction
