"""The interval over seeds that a check is decided by."""

from collections.abc import Sequence
from math import inf

import numpy as np

from thalweg.study.verdict import LEVEL, Check


def over_seeds(
    quantity: str, values: Sequence[float] | np.ndarray, *, above: float = -inf, below: float = inf
) -> Check:
    r"""A check of a mean over n seeds with Student's interval, $\bar x \pm t_{n-1} s / \sqrt n$ (Gosset 1908).

    >>> check = over_seeds("gain", [1.0, 2.0, 3.0], above=0.0)
    >>> round(check.low, 2), round(check.high, 2), check.passed
    (-0.48, 4.48, False)
    """
    from scipy.special import stdtrit

    numbers = np.asarray(values, dtype=float)
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        return Check(quantity, float(numbers.mean()), float("nan"), float("nan"), len(numbers), above, below)
    mean = float(numbers.mean())
    half = float(stdtrit(len(numbers) - 1, 0.5 + LEVEL / 2)) * float(numbers.std(ddof=1)) / len(numbers) ** 0.5
    return Check(quantity, mean, mean - half, mean + half, len(numbers), above, below)
