r"""Lanczos: a symmetric operator on the space of $v, Hv, H^2 v, \ldots$, in which it is tridiagonal.

$$ H q_j = \beta_{j-1} q_{j-1} + \alpha_j q_j + \beta_j q_{j+1} $$

With $T s = \theta s$ the vector $y = Q s$ is nearly an eigenvector, and its residual is known without a product,
$\lVert H y - \theta y \rVert = \beta_m |s_m|$ (Paige 1972; Parlett, "The Symmetric Eigenvalue Problem", chapter 13).
Every q is made orthogonal to all before it, twice: without that, eigenvalues that have been found come back as ghosts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thalweg.core.device import available

FEWEST_STEPS = 3
MOST_STEPS = 200
"""Lanczos ends here, converged or not; the residuals say how near it came."""
TOLERANCE = 1e-3
"""Of a Ritz value: its residual may be so much of it."""
FLOOR = 1e-5
"""Of the largest Ritz value: so small a residual is small enough, or an end at 0 would never be reached."""

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Krylov:
    """The tridiagonal matrix with its basis; `last` is the beta that leads out of the space.

    >>> space = lanczos(lambda v: torch.tensor([3.0, -1.0]) * v, torch.ones(2))
    >>> space.values.round(5).tolist(), space.converged
    ([-1.0, 3.0], True)
    """

    diagonal: np.ndarray
    beside: np.ndarray
    last: float
    basis: Float[Tensor, "steps n"]
    converged: bool

    @property
    def steps(self) -> int:
        """The number of products."""
        return len(self.diagonal)

    @property
    def values(self) -> np.ndarray:
        """The Ritz values, smallest first."""
        return self.whole[0]

    @property
    def residuals(self) -> np.ndarray:
        """The residual of each Ritz value: an eigenvalue lies no further from it."""
        return self.last * np.abs(self.whole[1][-1])

    @cached_property
    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues and eigenvectors of the tridiagonal matrix."""
        return self.ritz()

    def ritz(self, steps: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues and eigenvectors of the tridiagonal matrix, or of its first `steps` rows."""
        return _eigen(self.diagonal[:steps], self.beside[: None if steps is None else steps - 1])

    def nodes(self, steps: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        r"""Nodes and weights of the Gauss quadrature: $v^\top f(H) v \approx \sum_k w_k f(\theta_k)$ for $|v| = 1$."""
        values, vectors = self.ritz(steps)
        return values, vectors[0] ** 2

    def vector(self, number: int) -> Float[Tensor, " n"]:
        """The Ritz vector of Ritz value `number`, of length 1."""
        weights = torch.as_tensor(self.whole[1][:, number].copy(), dtype=self.basis.dtype, device=self.basis.device)
        vector = weights @ self.basis
        return vector / vector.norm()


def lanczos(
    product: Product, start: Float[Tensor, " n"], *, most: int = MOST_STEPS, tolerance: float | None = TOLERANCE
) -> Krylov:
    r"""Steps from `start` until the residuals of the smallest and of the largest Ritz value are small enough.

    Small enough is $\beta |s_m| \le$ `tolerance` $|\theta|$, or 1e-5 of the largest $|\theta|$ where a value is
    nearer to 0 than that. None goes on for `most` steps. Where the space is exhausted (an operator with few
    different eigenvalues), it goes on from a new direction.

    >>> scale = torch.arange(1.0, 102.0)
    >>> space = lanczos(lambda v: scale * v, torch.ones(101))
    >>> bool(abs(space.values[-1] - 101) < 0.1), space.steps < 60
    (True, True)
    """
    n = len(start)
    most = max(1, min(most, n, int(available() / 4 / (n * start.element_size()))))
    basis = torch.empty(most, n, dtype=start.dtype, device=start.device)
    diagonal, beside = np.zeros(most), np.zeros(most)
    q, scale, converged, fresh = start / start.norm(), 0.0, False, torch.Generator(start.device).manual_seed(0)
    for step in range(most):
        basis[step] = q
        w = product(q)
        diagonal[step] = float(torch.dot(q.double(), w.double()))
        known = basis[: step + 1]
        for _ in range(2):
            w = w - (known @ w) @ known
        beta = float(w.norm())
        scale = max(scale, abs(diagonal[step]), beta)
        exhausted = beta <= 10 * torch.finfo(start.dtype).eps * scale
        beside[step] = 0.0 if exhausted else beta
        if step == most - 1 or (tolerance is not None and _due(step)):
            ends = _ends_hold(diagonal[: step + 1], beside[: step + 1], tolerance)
            converged = step + 1 == n or (ends and not exhausted)
            if tolerance is not None and converged:
                break
        if step == most - 1:
            break
        q = _new_direction(known, fresh) if exhausted else w / beta
    steps = step + 1
    return Krylov(diagonal[:steps], beside[: steps - 1], float(beside[steps - 1]), basis[:steps], converged)


def random_start(n: int, like: Tensor, stream: torch.Generator) -> Float[Tensor, " n"]:
    """A direction drawn evenly from all: of length 1, in the format and on the device of `like`."""
    v = torch.randn(n, generator=stream, dtype=torch.float64)
    return (v / v.norm()).to(like.device, like.dtype)


def _due(step: int) -> bool:
    """At which steps the residuals are looked at: often while that costs little."""
    return step >= FEWEST_STEPS and (step < 60 or step % 4 == 0)


def _ends_hold(diagonal: np.ndarray, beside: np.ndarray, tolerance: float | None) -> bool:
    values, vectors = _eigen(diagonal, beside[:-1])
    floor = FLOOR * np.abs(values).max()
    residuals = beside[-1] * np.abs(vectors[-1])
    wanted = TOLERANCE if tolerance is None else tolerance
    return all(residuals[end] <= max(wanted * abs(values[end]), floor) for end in (0, -1))


def _eigen(diagonal: np.ndarray, beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.linalg import eigh_tridiagonal

    values, vectors = eigh_tridiagonal(diagonal, beside, lapack_driver="stev")
    return values, vectors


def _new_direction(known: Tensor, stream: torch.Generator) -> Tensor:
    w = torch.randn(known.shape[1], generator=stream, dtype=known.dtype, device=known.device)
    for _ in range(3):
        w = w / w.norm()
        w = w - (known @ w) @ known
    return w / w.norm()
