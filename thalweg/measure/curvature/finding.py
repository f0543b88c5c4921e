r"""Critical points near a checkpoint: minimize $\frac{1}{2} |g|^2$, whose gradient is $Hg$, and end with Newton steps.

A Newton step solves $H \delta = -g$ where H is not zero: by its eigenvectors with $|\lambda|$ above a cut-off, or by
MINRES for a large model, whose solution of least length has no part in the null space (Frye et al., "Critical
Point-Finding Methods Reveal Gradient-Flat Regions of Deep Network Losses", 2020). Unlike the loss, $|g|^2$ also leads
to saddles; and it may stop where $Hg = 0$ though $g$ is not, which is said.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, minres
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.passing import passed
from thalweg.measure.curvature.escaping import write
from thalweg.measure.curvature.opening import Decay
from thalweg.measure.curvature.settings import trainable
from thalweg.measure.curvature.spectrum import MOST_DENSE, dense, exact_surface
from thalweg.measure.curvature.surface import Surface
from thalweg.measure.looking import as_module

NEWTON, HALVINGS = 20, 12
CUT = 1e-7
"""Of the largest eigenvalue: a Newton step goes along no direction of less curvature."""
FLAT = 1e-3
"""Of |Hg| / (|lambda|max |g|): below it a point with g != 0 is gradient-flat."""


@dataclass(frozen=True)
class Approach:
    r"""How near the search came: $|g|$ before and after, the products it took, and whether it ended at g = 0.

    `flat` says that it stopped where Hg is nearly 0 though g is not, at no critical point.

    >>> print(Approach(0.5, 1e-9, 40, True, False))
    A critical point: the gradient's length fell from 0.5 to 1e-09 in 40 products.
    """

    before: float
    after: float
    products: int
    converged: bool
    flat: bool

    def __str__(self) -> str:
        what = "A critical point" if self.converged else "A gradient-flat point" if self.flat else "Not yet one"
        lengths = f"{self.before:.3g} to {self.after:.3g}"
        return f"{what}: the gradient's length fell from {lengths} in {self.products} products."

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


@no_type_check
def find_critical_point(
    model: nn.Module,
    objective: Any,
    batches: Any,
    *,
    penalty: Any = None,
    weight_decay: Decay = 0.0,
    training: bool = False,
    steps: int = 200,
) -> Approach:
    """Move the model's weights to a critical point near them, of whatever kind; `critical_point` then says which.

    `steps` is the most that the minimization of |g|^2 takes before the Newton steps. Only the weights change; give a
    `copy.deepcopy(model)` to keep them. Raises `RecipeError` as `critical_point` does, and for a negative `steps`.

    >>> import thalweg
    >>> class Place(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.theta = nn.Parameter(torch.tensor([0.3, 0.4], dtype=torch.float64))
    >>> @thalweg.objective
    ... def saddle(model, batch):
    ...     x, y = model.theta
    ...     return (x**2 - y**2 + x**4).reshape(1)
    >>> place = Place()
    >>> find_critical_point(place, saddle, torch.zeros(1, 1)).converged
    True
    >>> print(thalweg.critical_point(place, saddle, torch.zeros(1, 1)).kind)
    SADDLE
    """
    if not isinstance(steps, int) or steps < 0:
        raise RecipeError(
            f"find_critical_point: steps is {steps!r}, but it is a whole number of at least 0. Give for instance 200."
        )
    parameters = trainable(as_module(model))
    eps = max(torch.finfo(parameter.dtype).eps for parameter in parameters.values())
    restraints = {"penalty": penalty, "weight_decay": weight_decay, "training": training}
    with exact_surface(model, objective, batches, **restraints) as at:
        before = float(at.gradient().norm())
        if steps and before > 0:
            _descend(at, steps)
        scale = _newton(at)
        gradient = at.gradient()
        after, turned = float(gradient.norm()), float(at.product(gradient).norm())
        converged = after <= 10 * eps * scale * max(float(at.theta.norm()), 1.0)
        flat = not converged and turned <= FLAT * scale * after
        found, products = at.theta, at.products
    write(parameters, found)
    return Approach(before, after, products, converged, flat)


def _descend(at: Surface, steps: int) -> None:
    """Minimize half the squared gradient by L-BFGS, and go to where it is least."""
    like = at.theta

    def value_and_slope(theta: np.ndarray) -> tuple[float, np.ndarray]:
        at.move(torch.as_tensor(theta).to(like))
        gradient = at.gradient()
        passed("products towards a critical point", at.products, 2 * steps)
        return float(gradient.double().square().sum()) / 2, at.product(gradient).double().cpu().numpy()

    options = {"maxiter": steps, "maxfun": 2 * steps, "ftol": 0.0, "gtol": 0.0}
    start = like.double().cpu().numpy()
    found = minimize(value_and_slope, start, jac=True, method="L-BFGS-B", options=options)
    at.move(torch.as_tensor(found.x).to(like))


def _newton(at: Surface) -> float:
    """Newton steps, each halved until the gradient is shorter; the largest curvature met."""
    solve: Callable[[Surface, Tensor], tuple[Tensor, float]] = _by_eigenvectors if at.size <= MOST_DENSE else _by_minres
    gradient, scale = at.gradient(), 0.0
    for _ in range(NEWTON):
        delta, scale = solve(at, gradient)
        theta, norm = at.theta, float(gradient.norm())
        if norm <= 10 * torch.finfo(at.dtype).eps * scale * max(float(theta.norm()), 1.0):
            break
        shorter = None
        for halving in range(HALVINGS):
            candidate = theta + delta / 2**halving
            trial = at.gradient_at(candidate)
            if float(trial.norm()) < norm:
                shorter = candidate, trial
                break
        if shorter is None:
            break
        at.move(shorter[0])
        gradient = shorter[1]
    return scale


def _by_eigenvectors(at: Surface, gradient: Tensor) -> tuple[Tensor, float]:
    values, vectors = torch.linalg.eigh(dense(at))
    scale = float(values.abs().max())
    steep = values.abs() > CUT * scale
    along = vectors[:, steep]
    return -along @ ((along.T @ gradient) / values[steep]), scale


def _by_minres(at: Surface, gradient: Tensor) -> tuple[Tensor, float]:
    scale = 0.0

    def product(v: np.ndarray) -> np.ndarray:
        nonlocal scale
        vector = torch.as_tensor(v.reshape(-1)).to(gradient)
        image = at.product(vector)
        scale = max(scale, float(image.norm()) / max(float(vector.norm()), 1e-300))
        return image.double().cpu().numpy()

    operator = LinearOperator((at.size, at.size), matvec=product, dtype=np.float64)
    solution, _ = minres(operator, -gradient.double().cpu().numpy(), rtol=1e-3, maxiter=100)
    return torch.as_tensor(solution).to(gradient), scale
