"""What is going on in a diagnosis or a proof, for whoever waits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Stage:
    """What begins now, about how long it takes, and how long all that may follow takes at most; None where unknown.

    >>> print(Stage("learning rate x 10", seconds=3.2, left=40.0))
    learning rate x 10 (about 3 s; at most 40 s to go)
    """

    name: str
    seconds: float | None = None
    left: float | None = None

    def __str__(self) -> str:
        parts = [] if self.seconds is None or self.seconds < 1 else [f"about {duration(self.seconds)}"]
        parts += [] if self.left is None or self.left < 1 else [f"at most {duration(self.left)} to go"]
        return self.name + (f" ({'; '.join(parts)})" if parts else "")


Progress = Callable[[Stage], None]


class Planned(NamedTuple):
    """An arm that may be trained: the question it answers, its price in multiples of one training, and its time."""

    question: str
    arm: str
    times: float
    seconds: float | None


def duration(seconds: float) -> str:
    """A time as a person says it.

    >>> duration(3.2), duration(100.0), duration(4000.0)
    ('3 s', '1 min 40 s', '1 h 6 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
