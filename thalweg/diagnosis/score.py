"""A number with the interval that it lies in."""

from dataclasses import dataclass
from math import isinf


@dataclass(frozen=True)
class Score:
    """A number with the interval it lies in; NaN ends where none is known. An infinite loss is that of no finite run.

    >>> str(Score(0.5, 0.4, 0.6)), str(Score(float("inf")))
    ('0.5 [0.4, 0.6]', 'not finite')
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")

    def __str__(self) -> str:
        if isinf(self.value):
            return "not finite"
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]" if self.low == self.low else f"{self.value:.3g}"
