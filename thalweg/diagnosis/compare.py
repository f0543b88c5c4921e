"""Comparisons of losses: on the same examples, and between two sets of examples."""

import numpy as np

from thalweg.diagnosis.finding import Score
from thalweg.training.evaluate import ExampleLosses

DRAWS = 1000


def lower_by(before: list[ExampleLosses], after: list[ExampleLosses], level: float = 0.95) -> Score:
    """How much lower the loss is after than before, on the same examples: the mean over runs for each example first.

    >>> one = np.ones(9)
    >>> def losses(values): return ExampleLosses(values, one, None)
    >>> lower_by([losses(2 * one)], [losses(one)]).value
    1.0
    """
    first, second = (np.mean([losses.values for losses in runs], axis=0) for runs in (before, after))
    difference = ExampleLosses(first - second, before[0].weights, before[0].units)
    return Score(*difference.mean(level))


def higher_on(first: ExampleLosses, second: ExampleLosses, level: float = 0.95) -> Score:
    """How much higher the mean loss is on the first set of examples than on the second, which share none.

    Both means are resampled by their units, independently.

    >>> random = np.random.default_rng(0)
    >>> first, second = (ExampleLosses(random.normal(mean, 1, 200), np.ones(200), None) for mean in (2.0, 0.0))
    >>> higher_on(first, second).low > 1
    True
    """
    random = np.random.default_rng(0)
    draws = _resampled(first, random) - _resampled(second, random)
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return Score(first.mean()[0] - second.mean()[0], float(low), float(high))


def _resampled(losses: ExampleLosses, random: np.random.Generator) -> np.ndarray:
    own = losses.units if losses.units is not None else np.arange(len(losses.values))
    units = np.unique(own, return_inverse=True)[1]
    sums = np.bincount(units, weights=losses.values * losses.weights)
    totals = np.bincount(units, weights=losses.weights)
    counts = random.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=DRAWS)
    return (counts @ sums) / np.maximum(counts @ totals, 1e-12)


def student(values: np.ndarray, level: float = 0.95) -> Score:
    """The mean of values, one for each run or pair, with Student's interval; NaN where there are too few.

    >>> str(student(np.array([1.0, 2.0, 3.0])))
    '2 [-0.484, 4.48]'
    """
    from scipy.special import stdtrit

    if len(values) < 2:
        return Score(float(values.mean()) if len(values) else float("nan"))
    n, mean = len(values), float(values.mean())
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * float(values.std(ddof=1)) / np.sqrt(n)
    return Score(mean, mean - half, mean + half)
