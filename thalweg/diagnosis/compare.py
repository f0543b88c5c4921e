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

    Both means are resampled by their units, independently; where there is a single unit, by its examples.

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
    own, units = np.arange(len(losses.values)), losses.units
    own = own if units is None or len(np.unique(units)) < 2 else units
    units = np.unique(own, return_inverse=True)[1]
    sums = np.bincount(units, weights=losses.values * losses.weights)
    totals = np.bincount(units, weights=losses.weights)
    counts = random.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=DRAWS)
    return (counts @ sums) / np.maximum(counts @ totals, 1e-12)


FEWEST_RUNS = 3
"""Of fewer no interval is given: on one degree of freedom it reaches six times their distance to either side."""


def loss_over_runs(losses: np.ndarray) -> Score:
    r"""The mean loss of runs, with an interval that stays above 0 where all losses do; none for two runs.

    Student's interval of $\log$ of the mean, $\bar x \exp(\pm t s / (\sqrt n \bar x))$ (the delta method): to first
    order it is Student's own. Where a loss is not above 0, as one of densities, it is Student's.

    >>> print(loss_over_runs(np.array([0.1, 0.3])))
    0.2
    >>> print(loss_over_runs(np.array([0.1, 0.2, 0.6])), student(np.array([0.1, 0.2, 0.6])))
    0.3 [0.0335, 2.68] 0.3 [-0.357, 0.957]
    """
    told = student(losses)
    if len(losses) < FEWEST_RUNS:
        return Score(told.value)
    if not (losses > 0).all():
        return told
    factor = float(np.exp((told.high - told.value) / told.value))
    return Score(told.value, told.value / factor, told.value * factor)


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
    return Score(mean, float(mean - half), float(mean + half))
