r"""Decays: with which probability a decoder is given the gold token, at a step of training.

The three of Bengio, Vinyals, Jaitly & Shazeer, "Scheduled Sampling for Sequence Prediction with Recurrent Neural
Networks" (2015, section 2.4), for step $i$:

$$ \max(\epsilon, 1 - c i), \qquad k^i, \qquad \frac{k}{k + e^{i / k}} $$

Their $c$ and $k$ depend on how long one trains. Here the probability $\epsilon$ at the end of $n$ steps is said, and
they follow from it: $c = (1 - \epsilon) / n$, $k = \epsilon^{1 / n}$, the last $k$ by $k / (k + e^{n / k}) = \epsilon$.
"""

import math
from collections.abc import Callable

HALVINGS = 60


def linear(step: int, steps: int, least: float) -> float:
    """It falls by as much at each step.

    >>> [linear(step, 4, 0.2) for step in (0, 2, 4)]
    [1.0, 0.6, 0.2]
    """
    return max(least, 1 - (1 - least) * step / steps)


def exponential(step: int, steps: int, least: float) -> float:
    """It falls by the same factor at each step.

    >>> [exponential(step, 4, 0.25) for step in (0, 2, 4)]
    [1.0, 0.5, 0.25]
    """
    return float(least ** (step / steps))


def inverse_sigmoid(step: int, steps: int, least: float) -> float:
    """It stays near 1, falls, and levels off; it begins at k / (k + 1).

    >>> [round(inverse_sigmoid(step, 1000, 0.1), 2) for step in (0, 250, 500, 750, 1000)]
    [0.99, 0.96, 0.8, 0.4, 0.1]
    """
    k = sigmoid_pace(steps, least)
    return k / (k + math.exp(step / k))


def sigmoid_pace(steps: int, least: float) -> float:
    r"""The k of the inverse sigmoid with which the last step is at `least`: $n / k = \log k + \log(1 / \epsilon - 1)$.

    >>> k = sigmoid_pace(1000, 0.1)
    >>> round(k / (k + math.exp(1000 / k)), 12)
    0.1
    """
    odds = math.log(1 / least - 1)
    low, high = 0.0, 1.0
    while steps / high > math.log(high) + odds:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if steps / middle > math.log(middle) + odds else (low, middle)
    return high


DECAYS: dict[str, Callable[[int, int, float], float]] = {
    "linear": linear,
    "exponential": exponential,
    "inverse-sigmoid": inverse_sigmoid,
}
"""By their names: `(step, steps, least) -> probability`, of which only the linear one can end at 0."""
