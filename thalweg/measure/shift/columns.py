r"""Kolmogorov and Smirnov's test, column by column: which of many numbers are distributed otherwise.

The distance of two samples in a column is the largest difference of their empirical distribution functions,

$$ D = \sup_x |F_1(x) - F_2(x)| . $$

With many columns one of them is far by chance: p-values are multiplied by their number (Bonferroni). On the softmax
outputs of a network this found shifts best of all in Rabanser, Günnemann & Lipton, "Failing Loudly", 2019 (BBSDs).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.core.door import no_type_check
from thalweg.measure.shift.samples import two_samples

LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class KolmogorovSmirnov:
    """The distance of two samples in each column, between 0 and 1, and its p-value, times the number of columns."""

    distance: np.ndarray
    p: np.ndarray

    @property
    def moved(self) -> np.ndarray:
        """The columns that are distributed otherwise at the level of .05, those farthest apart first."""
        order = np.argsort(-self.distance, kind="stable")
        return np.asarray(order[self.p[order] < LEVEL])

    @property
    def least(self) -> float:
        """The least p-value: that of no column having moved."""
        return float(self.p.min())


@no_type_check
def kolmogorov_smirnov(first: Any, second: Any) -> KolmogorovSmirnov:
    r"""Kolmogorov and Smirnov's two-sample test of each column of samples `(rows, columns)`, by Bonferroni.

    The p-value is that of the one-sample distance at $n_1 n_2 / (n_1 + n_2)$ rows, as SciPy's asymptotic one: a little
    too large for few rows, and for numbers of which many are equal. Raises `DataError` for samples that do not agree.

    >>> random = np.random.default_rng(0)
    >>> found = kolmogorov_smirnov(random.normal(0, 1, (99, 2)), random.normal([0, 2], 1, (99, 2)))
    >>> found.moved.tolist(), bool(found.least < 1e-6)
    ([1], True)
    """
    from scipy.stats import kstwo

    one, other = two_samples(first, second, "kolmogorov_smirnov", most=None)
    n, m = len(one), len(other)
    whole = np.concatenate([one, other])
    order = np.argsort(whole, axis=0, kind="stable")
    ordered = np.take_along_axis(whole, order, axis=0)
    apart = np.cumsum(np.where(order < n, 1 / n, -1 / m), axis=0)
    last = np.ones_like(ordered, dtype=bool)  # of equal numbers the last one stands behind all of them
    last[:-1] = ordered[1:] != ordered[:-1]
    distance = np.where(last, np.abs(apart), 0.0).max(0)
    p = kstwo.sf(distance, np.round(n * m / (n + m)))
    return KolmogorovSmirnov(distance, np.minimum(np.clip(p, 0.0, 1.0) * len(distance), 1.0))
