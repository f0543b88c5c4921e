"""The spectrum of the Hessian: all of it for small models, both ends and the density for others."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.nest import Nest, count_examples, to_device
from thalweg.core.objective import Moment
from thalweg.core.passing import passed
from thalweg.core.randomness import generator
from thalweg.core.step import Step
from thalweg.core.threads import counting
from thalweg.measure.curvature.density import Density
from thalweg.measure.curvature.evaluation import read_batches
from thalweg.measure.curvature.lanczos import FLOOR, TOLERANCE, Krylov, lanczos, random_start
from thalweg.measure.curvature.opening import Decay, surface
from thalweg.measure.curvature.settings import trainable
from thalweg.measure.curvature.surface import Surface
from thalweg.measure.curvature.trace import Trace, hutch
from thalweg.measure.looking import as_module, looking

MOST_DENSE, MOST_EXACT = 1500, 5000
"""So many parameters have all eigenvalues computed; by `exact=True` so many more."""
MOST_MULTIPLIED = 8e9
"""Unless asked, all eigenvalues are left out where that many passes multiply more: convolutions in float64 are slow."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues, smallest first, with a vector each, and how far from an eigenvalue those of both ends may be.

    >>> all_of(torch.tensor([[2.0, 0.0], [0.0, -1.0]], dtype=torch.float64)).values
    array([-1.,  2.])
    """

    values: np.ndarray
    vectors: Float[Tensor, "count n"]
    residual: float
    density: Density
    exact: bool
    converged: bool

    @property
    def scale(self) -> float:
        """The largest magnitude, the norm of the Hessian."""
        return float(np.abs(self.values).max())


def dense(at: Surface) -> Float[Tensor, "n n"]:
    """The Hessian row by row, made symmetric."""
    identity = torch.eye(at.size, dtype=at.dtype, device=at.device)
    rows = []
    for number, row in enumerate(identity):
        rows.append(at.product(row))
        if number % 100 == 0:
            passed("rows of the Hessian", number, at.size)
    found = torch.stack(rows)
    return (found + found.T) / 2


def all_of(matrix: Float[Tensor, "n n"]) -> Spectrum:
    """The spectrum of a matrix that is there; its residual is what rounding leaves."""
    values, vectors = torch.linalg.eigh(matrix)
    known = values.double().cpu().numpy()
    rounding = len(known) * torch.finfo(matrix.dtype).eps * float(np.abs(known).max())
    return Spectrum(known, vectors.T, rounding, Density.of_eigenvalues(known), True, True)


def ends_of(spaces: list[Krylov]) -> Spectrum:
    """The spectrum as runs of Lanczos know it: the values of each run that hold, and the outermost ones of all."""
    lowest = min(spaces, key=lambda space: float(space.values[0]))
    highest = max(spaces, key=lambda space: float(space.values[-1]))
    scale = float(max(abs(lowest.values[0]), abs(highest.values[-1])))
    held = lowest.residuals <= np.maximum(TOLERANCE * np.abs(lowest.values), FLOOR * scale)
    numbers = [number for number in range(lowest.steps - 1) if held[number] or number == 0]
    values = [float(lowest.values[number]) for number in numbers] + [float(highest.values[-1])]
    vectors = [lowest.vector(number) for number in numbers] + [highest.vector(highest.steps - 1)]
    residual = float(max(lowest.residuals[0], highest.residuals[-1]))
    converged = lowest.converged and highest.converged
    if lowest.steps == 1:
        values, vectors = values[-1:], vectors[-1:]
    return Spectrum(np.array(values), torch.stack(vectors), residual, Density.of_spaces(spaces), False, converged)


@contextmanager
def exact_surface(model: nn.Module, objective: Any, batches: Any, **restraints: Any) -> Iterator[Surface]:
    """The surface in float64, or in the model's own format where it makes float32 numbers of its own."""
    trainable(as_module(model))
    read = read_batches(batches)
    with ExitStack() as stack:
        try:
            at = stack.enter_context(surface(model, objective, read, dtype=torch.float64, **restraints))
        except RecipeError:
            at = stack.enter_context(surface(model, objective, read, **restraints))
        yield at


def multiplications(model: nn.Module, objective: Any, batches: list[Nest]) -> int:
    """What one pass over the evaluation set multiplies; 0 where that cannot be counted."""
    device = next(iter(trainable(as_module(model)).values())).device
    with looking(model), torch.no_grad(), counting(model) as work:
        try:
            Step(model, objective)(to_device(batches[0], device), Moment())
        except Exception:  # whatever it is, opening the surface says it better
            return 0
    return work.total * sum(map(count_examples, batches)) // max(count_examples(batches[0]), 1)


@contextmanager
def fitting(
    model: nn.Module, objective: Any, batches: Any, exact: bool | None, **restraints: Any
) -> Iterator[tuple[Surface, bool]]:
    """The surface, in float64 where all eigenvalues are to be computed, and whether they are: as asked, else for small
    models. A filter is used at every place of an image, so that few weights may multiply much.

    Raises `RecipeError` where `exact` is asked of a model too large for it.
    """
    size = sum(parameter.numel() for parameter in trainable(as_module(model)).values())
    if exact and size > MOST_EXACT:
        raise RecipeError(
            f"exact=True asks for all eigenvalues of a model of {size:,} parameters, but that is for {MOST_EXACT:,} at "
            "most. Leave it out: Lanczos finds both ends."
        )
    read = read_batches(batches)
    if exact is None:
        exact = size <= MOST_DENSE and size * multiplications(model, objective, read) <= MOST_MULTIPLIED
    with (exact_surface if exact else surface)(model, objective, read, **restraints) as at:
        yield at, exact


@no_type_check
def hessian(
    model: nn.Module,
    objective: Any,
    batches: Any,
    *,
    penalty: Any = None,
    weight_decay: Decay = 0.0,
    training: bool = False,
) -> Float[Tensor, "n n"]:
    r"""The matrix $H_{kl} = \partial^2 L / \partial\theta_k \partial\theta_l$ in float64, parameter by parameter.

    In the loss's unit per product of two parameters' units; n is at most 5,000. `batches` is `(x, y)`, a list of such,
    a `DataLoader` or a `Source`; batches count by their examples. Raises `RecipeError` for a model that is too large or
    cannot be differentiated twice.

    >>> x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    >>> hessian(nn.Linear(1, 1, bias=False), nn.MSELoss(), (x, y))  # 2 X'X / n
    tensor([[5.]], dtype=torch.float64)
    """
    restraints = {"penalty": penalty, "weight_decay": weight_decay, "training": training}
    with fitting(model, objective, batches, True, **restraints) as (at, _):
        return dense(at).double()


@dataclass(frozen=True, eq=False)
class Extremes:
    """The smallest and the largest eigenvalue with their vectors, how far off they may be, and the products it took.

    >>> Extremes(-1.0, 2.0, torch.ones(1), torch.ones(1), 0.0, True, 3).largest
    2.0
    """

    smallest: float
    largest: float
    smallest_vector: Float[Tensor, " n"]
    largest_vector: Float[Tensor, " n"]
    residual: float
    converged: bool
    products: int


@no_type_check
def extreme_eigenvalues(
    model: nn.Module,
    objective: Any,
    batches: Any,
    *,
    penalty: Any = None,
    weight_decay: Decay = 0.0,
    training: bool = False,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> Extremes:
    r"""The smallest and the largest eigenvalue of the Hessian, by sign and not by magnitude, by Lanczos.

    Stops where both residuals are $\le$ `tolerance` $|\lambda|$, or 1e-5 of the larger; the error of an
    eigenvalue is of the order of the residual's square. Raises `RecipeError` as `hessian` does.

    >>> x, y = torch.eye(3), torch.zeros(3, 1)
    >>> found = extreme_eigenvalues(nn.Linear(3, 1, bias=False), nn.MSELoss(), (x, y))
    >>> round(found.smallest, 5), round(found.largest, 5)  # 2 I / 3
    (0.66667, 0.66667)
    """
    restraints = {"penalty": penalty, "weight_decay": weight_decay, "training": training}
    with surface(model, objective, batches, **restraints) as at:
        stream = generator(seed, "curvature", "start")
        space = lanczos(at.product, random_start(at.size, at.theta, stream), tolerance=tolerance)
        values, residuals, last = space.values, space.residuals, space.steps - 1
        residual = float(max(residuals[0], residuals[-1]))
        ends = float(values[0]), float(values[-1])
        return Extremes(*ends, space.vector(0), space.vector(last), residual, space.converged, at.products)


@no_type_check
def hessian_trace(
    model: nn.Module,
    objective: Any,
    batches: Any,
    *,
    penalty: Any = None,
    weight_decay: Decay = 0.0,
    training: bool = False,
    products: int = 60,
    seed: int = 0,
) -> Trace:
    """The sum of the Hessian's eigenvalues by Hutch++, from so many products with it; its standard error beside it.

    Raises `RecipeError` as `hessian` does, and for fewer than 6 products.

    >>> x, y = torch.eye(3), torch.zeros(3, 1)
    >>> round(hessian_trace(nn.Linear(3, 1, bias=False), nn.MSELoss(), (x, y)).value, 4)  # of 2 I / 3
    2.0
    """
    restraints = {"penalty": penalty, "weight_decay": weight_decay, "training": training}
    with surface(model, objective, batches, **restraints) as at:
        return hutch(at.product, at.theta, products, generator(seed, "curvature", "trace"))


@no_type_check
def spectral_density(
    model: nn.Module,
    objective: Any,
    batches: Any,
    *,
    penalty: Any = None,
    weight_decay: Decay = 0.0,
    training: bool = False,
    probes: int = 4,
    steps: int = 64,
    seed: int = 0,
) -> Density:
    """The density of the Hessian's eigenvalues, from `probes` random directions of `steps` products each.

    `.step_error` compares with half of the steps, `.probe_error` says what the directions leave open. Raises
    `RecipeError` as `hessian` does, and for fewer than one probe or two steps.

    >>> x, y = torch.eye(3), torch.zeros(3, 1)
    >>> density = spectral_density(nn.Linear(3, 1, bias=False), nn.MSELoss(), (x, y), penalty=None)
    >>> round(density.mean, 5), density.share(low=0.0)
    (0.66667, 1.0)
    """
    if not (isinstance(probes, int) and isinstance(steps, int) and probes >= 1 and steps >= 2):
        raise RecipeError(
            f"spectral_density: probes={probes!r}, steps={steps!r}, but it takes at least one direction and two steps. "
            "Give for instance probes=4, steps=64."
        )
    restraints = {"penalty": penalty, "weight_decay": weight_decay, "training": training}
    with surface(model, objective, batches, **restraints) as at:
        stream = generator(seed, "curvature", "density")
        spaces = []
        for number in range(probes):
            start = random_start(at.size, at.theta, stream)
            spaces.append(lanczos(at.product, start, most=steps, tolerance=None))
            passed("directions of the spectral density", number + 1, probes)
        return Density.of_spaces(spaces)
