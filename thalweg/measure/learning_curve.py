r"""Learning curves: how a loss falls with the number of training examples, and how many more would bring how much.

$$ L(n) = a + b\, n^{-c}, \qquad b \ge 0, \quad 0 < c \le 2 $$

with $a$ what no amount of data takes away (Cortes et al., "Learning curves: asymptotic values and rate of convergence",
1993; Hestness et al., "Deep Learning Scaling is Predictable, Empirically", 2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError

SLOWEST, FASTEST, TRIED = 0.02, 2.0, 400
"""The exponents that are tried, and how many of them."""
FEWEST = 3
"""A curve of three numbers asks for as many sizes."""


@dataclass(frozen=True)
class Curve:
    r"""A fitted curve: `floor` $a$, `scale` $b$, `exponent` $c$; `error` is the root mean square of what it misses.

    >>> curve = Curve(floor=0.1, scale=2.0, exponent=0.5, error=0.0, largest=400)
    >>> round(curve.predicts(1600), 6), curve.needed(0.12), curve.needed(0.1)
    (0.15, 10000, None)
    """

    floor: float
    scale: float
    exponent: float
    error: float
    largest: int
    """The largest number of examples that it was fitted to: what lies far beyond is guessed."""

    def predicts(self, n: int | float) -> float:
        """The loss with n training examples."""
        return float(self.floor + self.scale * float(n) ** -self.exponent)

    def needed(self, loss: int | float) -> int | None:
        """How many training examples bring this loss; None where no number of them does."""
        if loss <= self.floor or self.scale <= 0:
            return None if loss <= self.floor else 1
        with np.errstate(over="ignore"):
            count = np.exp(np.log(self.scale / (loss - self.floor)) / self.exponent)
        return int(np.ceil(count * (1 - 1e-9))) if np.isfinite(count) else None

    @property
    def sentence(self) -> str:
        """What twice and four times the data would bring, in a line."""
        now, twice, four = (self.predicts(times * self.largest) for times in (1, 2, 4))
        return (
            f"with {self.largest:,} training examples the loss is {now:.3g}; twice as many would bring it to "
            f"{twice:.3g}, four times as many to {four:.3g}, and no number below {self.floor:.3g}"
        )


@no_type_check
def learning_curve(sizes: Sequence[float], losses: Sequence[float]) -> Curve:
    r"""Fit $a + b\, n^{-c}$ to the losses of trainings on n examples each, by least squares.

    A size may come several times (seeds). For each of many exponents $a$ and $b$ are a linear problem, with $b \ge 0$,
    and $a \ge 0$ where no loss is below 0; the exponent with the smallest error is taken, the steepest of equal ones.
    Where the loss does not fall the curve is flat: `scale` is 0.

    >>> curve = learning_curve([50, 100, 200, 400], [0.1 + 2 * n**-0.5 for n in (50, 100, 200, 400)])
    >>> round(curve.floor, 3), round(curve.scale, 2), round(curve.exponent, 2), curve.needed(0.15)
    (0.1, 2.0, 0.5, 1600)

    Raises `DataError` for sizes and losses that are not as many, not finite, or sizes below 1 or fewer than three.
    """
    n, loss = _checked(sizes, losses)
    best = (0.0, 0.0, SLOWEST, float("inf"))
    bounded = bool((loss >= 0).all())
    exponents = np.geomspace(SLOWEST, FASTEST, TRIED)
    for _ in range(3):  # once over all, then around the best
        for exponent in exponents:
            floor, scale, error = _linear(n.astype(float) ** -exponent, loss, bounded)
            if error <= best[3]:
                best = floor, scale, float(exponent), error
        ratio = exponents[1] / exponents[0]
        low, high = max(SLOWEST, best[2] / ratio), min(FASTEST, best[2] * ratio)
        exponents = np.geomspace(low, high, 50)
    floor, scale, exponent, error = best
    return Curve(floor, scale, exponent, float(np.sqrt(error / len(n))), int(n.max()))


def _checked(sizes: Any, losses: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        n, loss = (np.asarray(values, dtype=float).ravel() for values in (sizes, losses))
    except (TypeError, ValueError) as error:
        raise DataError(f"A learning curve is fitted to numbers, but they are {sizes!r} and {losses!r}.") from error
    if len(n) != len(loss):
        raise DataError(f"There are {len(n)} sizes and {len(loss)} losses, but each training has one of both.")
    if not (np.isfinite(n).all() and np.isfinite(loss).all()) or (n < 1).any():
        raise DataError(
            "A learning curve is fitted to finite losses of trainings on 1 example or more, but some are not: "
            f"{list(zip(n.tolist(), loss.tolist(), strict=True))}. Leave diverged trainings out."
        )
    if len(np.unique(n)) < FEWEST:
        raise DataError(
            f"The trainings are of {len(np.unique(n))} sizes, but a curve with a floor, a scale and an exponent asks "
            f"for {FEWEST}. Train on n/4, n/2 and n examples."
        )
    return n, loss


def _linear(feature: np.ndarray, loss: np.ndarray, bounded: bool) -> tuple[float, float, float]:
    """The floor and the scale of least squares for an exponent, and the sum of squares that is left."""
    centred = feature - feature.mean()
    scale = max(0.0, float(centred @ (loss - loss.mean()) / (centred @ centred)))
    floor = float(loss.mean() - scale * feature.mean())
    if bounded and floor < 0:
        floor, scale = 0.0, float(feature @ loss / (feature @ feature))
    return floor, scale, float(np.square(floor + scale * feature - loss).sum())
