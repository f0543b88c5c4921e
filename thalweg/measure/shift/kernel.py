r"""The maximum mean discrepancy: how far two samples lie apart in all that a Gaussian kernel sees.

$$ \mathrm{MMD}^2 = E[k(x, x')] + E[k(y, y')] - 2 E[k(x, y)], \qquad k(x, y) = e^{-\|x - y\|^2 / 2 \sigma^2} . $$

It is zero for equal distributions alone. The estimate leaves out each row's kernel with itself, so that it is unbiased
and may be below 0 (Gretton et al., "A Kernel Two-Sample Test", 2012, equation 3).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.measure.shift.samples import labelings, permutation_p, standardized, two_samples

PERMUTATIONS = 199
MOST = 500
"""Rows of each sample; there is a kernel for each two of them."""


@dataclass(frozen=True)
class Discrepancy:
    """The unbiased estimate of the squared discrepancy, the kernel's width, and the permutation p-value."""

    squared: float
    width: float
    p: float


@no_type_check
def mmd(first: Any, second: Any, *, permutations: int = PERMUTATIONS, seed: int = 0) -> Discrepancy:
    r"""The squared maximum mean discrepancy of samples `(rows, columns)`, and whether it is beyond chance.

    Columns are brought to one scale; $\sigma$ is the median distance of two rows. The p-value is the share of random
    labelings, the sample's own among them, with an estimate as large: all of them read one matrix of kernels. Of more
    than 500 rows a side every n-th is taken. Raises `DataError` for samples that do not agree, `RecipeError` for
    fewer than 19 permutations, which cannot reach .05.

    >>> random = np.random.default_rng(0)
    >>> same, wider = random.normal(0, 1, (2, 80, 3)), random.normal(0, 3, (80, 3))
    >>> mmd(*same).p > 0.05, mmd(same[0], wider).p
    (True, 0.005)
    """
    if permutations < 19:
        raise RecipeError(f"mmd: permutations={permutations!r} cannot reach p = .05. Give 19 or more, such as 199.")
    one, other = two_samples(first, second, "mmd", MOST)
    n, m = len(one), len(other)
    squares = _squared_distances(standardized(one, other))
    apart = squares[np.triu_indices(n + m, 1)]
    middle = float(np.median(apart)) or float(apart.mean()) or 1.0
    kernel = np.exp(-squares / (2 * middle))
    np.fill_diagonal(kernel, 0.0)
    labels = labelings(n, m, permutations, seed)
    products, sums = labels @ kernel, kernel.sum(0)
    within = np.einsum("pi,pi->p", products, labels)
    across = products.sum(1) - within
    rest = sums.sum() - within - 2 * across
    estimates = within / (n * (n - 1)) + rest / (m * (m - 1)) - 2 * across / (n * m)
    return Discrepancy(float(estimates[0]), middle**0.5, permutation_p(estimates))


def _squared_distances(x: np.ndarray) -> np.ndarray:
    norms = np.square(x).sum(1)
    return np.asarray(np.maximum(norms[:, None] + norms - 2 * x @ x.T, 0.0))
