"""What experiments may cost: multiples of one training, or time."""

import math
import re
from dataclasses import dataclass
from typing import Any

from thalweg.core.errors import RecipeError

USUAL, DEAR, LONG = 20.0, 6.0, 30.0
"""What a diagnosis may cost where no budget is given, in trainings; and where one takes more than so many seconds."""
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Cost:
    """What was spent: runs trained, wall time, and multiples of one training of the recipe.

    Of the time `aside` went to what trains no network, reference learners and checks.
    """

    runs: int = 0
    seconds: float = 0.0
    times: float = 0.0
    aside: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        sums = (self.runs + other.runs, self.seconds + other.seconds, self.times + other.times)
        return Cost(*sums, self.aside + other.aside)


@dataclass(frozen=True)
class Budget:
    """What may be spent, in multiples of one training and in seconds; both hold.

    >>> str(Budget.of("10m")), str(Budget(20.0, 90.0))
    ('600 s', '20 times the training and 90 s')

    >>> Budget.of(20), Budget.of("10m"), Budget.of("20")
    (Budget(times=20.0, seconds=inf), Budget(times=inf, seconds=600.0), Budget(times=20.0, seconds=inf))
    """

    times: float = math.inf
    seconds: float = math.inf

    @classmethod
    def of(cls, given: "float | str | Budget") -> "Budget":
        """The budget that a number (of trainings) or a text with a unit (`"90s"`, `"10m"`, `"1.5h"`) stands for.

        Raises `RecipeError` for what is neither, and for nothing to spend.
        """
        if isinstance(given, Budget):
            return given
        parts = re.fullmatch(r"\s*(\d+\.?\d*(?:e\d+)?|\.\d+|inf)\s*([smhx]?)\s*", str(given))
        if parts is None or not float(parts[1]) > 0:
            raise refused(given)
        amount, unit = float(parts[1]), parts[2]
        return cls(seconds=amount * SECONDS[unit]) if unit in SECONDS else cls(times=amount)

    def less(self, cost: Cost) -> "Budget":
        """What is left of it."""
        return Budget(self.times - cost.times, self.seconds - cost.seconds)

    def holds(self, times: float, seconds: float | None) -> bool:
        """Whether so much more may be spent; time that cannot be told is not asked for."""
        return times <= self.times and (seconds is None or seconds <= self.seconds)

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return not (self.times > 0 and self.seconds > 0)

    def __str__(self) -> str:
        both = [f"{self.times:g} times the training"] if self.times < math.inf or self.seconds == math.inf else []
        return " and ".join([*both, *([f"{self.seconds:g} s"] if self.seconds < math.inf else [])])


def refused(given: Any) -> RecipeError:
    """The error for a budget that is none."""
    give = 'give how many trainings they may cost, as 20, or how long they may take, as "90s", "10m" or "1h".'
    if re.fullmatch(r"\s*-?(\d+\.?\d*|\.\d+)\s*[smhx]?\s*", str(given)):
        return RecipeError(f"budget={given!r}, but experiments cost something: {give}")
    return RecipeError(f"budget={given!r} is neither a number of trainings nor a time with a unit: {give}")
