r"""Intervals of what was measured on a split: resampling its units, the clusters that examples come in.

A weighted mean over units u with sums $S_u = \sum_i w_i \ell_i$ and $W_u = \sum_i w_i$ is $\sum S_u / \sum W_u$. Units
are drawn with replacement, as often as there are, and the percentiles of the means of many such draws bound the
interval (Efron, 1979). Units of unequal weight count as $(\sum W_u)^2 / \sum W_u^2$ equal ones (Kish, 1965), and where
these are few, Student's quantile is taken. A share of correct examples has Wilson's interval (1927) instead, which does
not shrink to a point when all are correct.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from statistics import NormalDist
from typing import Any

import numpy as np

DRAWS = 1000
METRIC_DRAWS, FEWEST_METRIC_DRAWS, METRIC_READS = 200, 50, 4_000_000
"""Draws for a metric of a whole set; fewer, down to 50, where they would read more than so many numbers in all."""
FEW_UNITS, MANY_UNITS = 30, 10_000
"""Below, resampling covers too little, and Student's quantile of the ratio's error is taken; above, they agree."""


def mean_interval(
    values: np.ndarray,
    weights: np.ndarray | None = None,
    units: np.ndarray | None = None,
    level: float = 0.95,
    share: bool = False,
) -> tuple[float, float, float]:
    """The weighted mean of `values` with its interval; both ends are NaN where there is a single unit.

    `share` says that values of 0 and 1 are a share of successes, and have Wilson's interval, or one by units that
    stays within 0 and 1.

    >>> mean, low, high = mean_interval(np.array([0.0, 1.0, 1.0, 1.0]), share=True)
    >>> mean, round(low, 3), round(high, 3)
    (0.75, 0.301, 0.954)
    """
    weights = np.ones_like(values, dtype=float) if weights is None else weights.astype(float)
    values = np.where(weights != 0, values, 0.0).astype(float)
    plain = units is None and len(np.unique(weights[weights != 0])) <= 1
    if share and plain and np.isin(values, (0.0, 1.0)).all():
        return wilson(int(values.sum()), int((weights != 0).sum()), level)
    sums, totals = _by_unit(values * weights, units), _by_unit(weights, units)
    sums, totals = sums[totals != 0], totals[totals != 0]
    mean = float(sums.sum() / totals.sum())
    if len(sums) < 2 or not np.isfinite(mean):
        return mean, float("nan"), float("nan")
    effective = round(float(totals.sum() ** 2 / np.sum(totals**2)), 6)
    if effective < FEW_UNITS or len(sums) > MANY_UNITS:
        degrees = max(effective - 1, 1.0)
        error = np.sqrt(np.sum((sums - mean * totals) ** 2) * effective / degrees) / totals.sum()
        half = _quantile(0.5 + level / 2, degrees) * float(error)
        low, high = mean - half, mean + half
        bounded = share and values.min() >= 0 and values.max() <= 1
        return (mean, max(0.0, low), min(1.0, high)) if bounded else (mean, low, high)
    counts = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=DRAWS)
    low, high = _percentiles((counts @ sums) / (counts @ totals), level)
    return mean, low, high


def _quantile(p: float, degrees: float) -> float:
    """Student's quantile; the normal one where there are many degrees of freedom."""
    if degrees > MANY_UNITS:
        return NormalDist().inv_cdf(p)
    from scipy.special import stdtrit

    return float(stdtrit(degrees, p))


def wilson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float, float]:
    """A share with its Wilson score interval (Wilson 1927).

    >>> [round(end, 3) for end in wilson(20, 20)]
    [1.0, 0.839, 1.0]
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return share, max(0.0, min(share, float(centre - half))), min(1.0, max(share, float(centre + half)))


def metric_interval(
    metric: Callable[[np.ndarray], float], count: int, units: np.ndarray | None = None, level: float = 0.95
) -> tuple[float, float]:
    """The interval of a metric of a whole set: `metric(rows)` again on resampled units.

    >>> values = np.arange(20.0)
    >>> low, high = metric_interval(lambda rows: float(np.median(values[rows])), 20)
    >>> low < 9.5 < high
    True
    """
    return draws_interval([metric(rows) for rows in resamples(count, units)], level)


def ratio_interval(sums: np.ndarray, totals: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    r"""$\sum_i s_i / \sum_i n_i$ with its interval, by resampling the i; NaN where the totals sum to 0.

    >>> value, low, high = ratio_interval(np.array([1, 0, 2, 1]), np.array([4, 4, 4, 4]))
    >>> value, low < 0.25 < high
    (0.25, True)
    >>> ratio_interval(np.zeros(3), np.zeros(3))
    (nan, nan, nan)
    """
    sums, totals = np.asarray(sums, dtype=float), np.asarray(totals, dtype=float)

    def ratio(rows: Any) -> float:
        total = float(totals[rows].sum())
        return float(sums[rows].sum()) / total if total else float("nan")

    return (ratio(slice(None)), *metric_interval(ratio, len(sums), level=level))


def resamples(count: int, units: np.ndarray | None = None, size: int | None = None) -> Iterator[np.ndarray]:
    """The rows of each draw of units; fewer draws where a set is large, by `size`, the numbers that a draw reads."""
    random = np.random.default_rng(0)
    members = _members(count, units)
    for _ in range(max(FEWEST_METRIC_DRAWS, min(METRIC_DRAWS, METRIC_READS // max(size or count, 1)))):
        chosen = random.integers(len(members), size=len(members))
        yield np.concatenate([members[i] for i in chosen]) if units is not None else chosen


def resampled_counts(count: int, units: np.ndarray | None = None, size: int | None = None) -> Iterator[np.ndarray]:
    """How often each row is in each of these draws, `(draw, row)`, as many draws at a time as the memory likes.

    >>> [counts.sum(1).tolist() for counts in resampled_counts(3)] == [[3] * 200]
    True
    """
    draws = resamples(count, units, size)
    at_once = max(1, METRIC_READS // max(count, 1))
    while rows := list(islice(draws, at_once)):
        yield np.stack([np.bincount(drawn, minlength=count) for drawn in rows])


def draws_interval(draws: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The percentiles of a metric's draws; NaN ends where most draws have no value."""
    finite = np.array([draw for draw in draws if np.isfinite(draw)])
    return _percentiles(finite, level) if len(finite) > len(draws) // 2 else (float("nan"), float("nan"))


def _members(count: int, units: np.ndarray | None) -> Any:
    if units is None:
        return range(count)
    _, inverse = np.unique(units, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    return np.split(order, np.cumsum(np.bincount(inverse))[:-1])


def _by_unit(values: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    if units is None:
        return values
    _, inverse = np.unique(units, return_inverse=True)
    return np.bincount(inverse, weights=values)


def _percentiles(draws: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)
