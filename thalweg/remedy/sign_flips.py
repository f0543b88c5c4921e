r"""The sign-flip test of paired differences, exact, and when no more pairs can save it.

If a remedy does nothing, each difference is as likely to be d as -d. With the other differences d_i of n pairs

    p = #{S : sum over S of d_i <= 0} / 2^n

over the sets S of pairs whose signs are flipped: so often random signs make the mean at least as large (Fisher 1935).
"""

from collections.abc import Sequence

import numpy as np

LEVEL = 0.05


def paired_differences(before: Sequence[float], after: Sequence[float]) -> np.ndarray:
    """How much lower the loss is after, pair by pair: infinite where only the run before has none, 0 where neither has.

    >>> paired_differences([1.0, float("inf"), float("inf")], [0.5, 0.5, float("inf")])
    array([0.5, inf, 0. ])
    """
    pairs = zip(before, after, strict=True)
    return np.array([0.0 if first == second else first - second for first, second in pairs])


def sign_flip(differences: np.ndarray) -> float:
    """The one-sided exact sign-flip p-value of a positive mean; an infinite difference counts more than all others.

    >>> sign_flip(np.array([1.0, 2.0, 3.0])), sign_flip(np.array([np.inf, -1.0, 3.0]))
    (0.125, 0.25)
    """
    finite = differences[np.isfinite(differences)]
    largest = 1.0 + len(differences) * np.abs(finite).max(initial=0.0)
    differences = np.clip(differences, -largest, largest)
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums, sums + difference])
    return float(np.mean(sums <= 1e-12 * np.abs(differences).sum()))


def best_possible(differences: np.ndarray, pairs: int) -> float:
    """The smallest p-value that can still come of so many pairs, whatever the pairs to come are.

    Sets of flipped pairs without any of those to come count now as they will then; one with such a pair need not count,
    where that pair is won by enough. So the bound is p / 2^(pairs to come), and it is reached.

    >>> best_possible(np.array([1.0, -0.1, 1.0]), 5)  # two sets of 32 that cannot go away: none, and the pair lost
    0.0625
    """
    return sign_flip(differences) / 2 ** (pairs - len(differences))


def pairs_for(candidates: int) -> int:
    """How many pairs can show, by their signs, that one of several candidates helps: n >= log2(m / level).

    >>> pairs_for(1), pairs_for(2), pairs_for(3), pairs_for(4)
    (5, 6, 6, 7)
    """
    return int(np.ceil(np.log2(max(candidates, 1) / LEVEL)))
