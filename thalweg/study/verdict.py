r"""What a study gives: a claim, the numbers that decide about it, and whether it held.

A check is a quantity with a 95 % interval over seeds, and the bounds that were stated before the runs. It passes only
where the *whole interval* lies inside the bounds; a claim has held where all of its checks pass. So noise, too few
seeds, a number that is not finite, or an effect that is not there all come out as `held: false`.
"""

from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from thalweg.core.files import plain, write_bytes, write_json

LEVEL = 0.95


@dataclass(frozen=True)
class Check:
    """A quantity, its interval over n seeds (or starts), and the bounds that the whole interval must keep.

    >>> check = Check("loss ratio", 3.0, 2.0, 4.0, n=5, above=1.0)
    >>> check.passed, check.rule
    (True, 'above 1')
    >>> Check("loss ratio", 3.0, 0.5, 5.5, n=5, above=1.0).passed
    False
    """

    quantity: str
    value: float
    low: float
    high: float
    n: int
    above: float = -inf
    below: float = inf

    @property
    def passed(self) -> bool:
        """Whether the interval lies inside the bounds; NaN never does."""
        return bool(self.low > self.above and self.high < self.below)

    @property
    def rule(self) -> str:
        """The bounds in words."""
        if self.above > -inf and self.below < inf:
            return f"between {self.above:g} and {self.below:g}"
        return f"above {self.above:g}" if self.above > -inf else f"below {self.below:g}"

    def to_json(self) -> dict[str, Any]:
        """The check with its interval, as study.json keeps it."""
        return {
            "quantity": self.quantity,
            "value": self.value,
            "interval": [self.low, self.high],
            "n": self.n,
            "rule": f"the whole interval {self.rule}",
            "passed": self.passed,
        }


@dataclass(frozen=True, eq=False)
class Study:
    """A controlled experiment on a claim: what was asked, how, the table, the checks that decide, and the picture.

    `clock` names the columns and checks that are read off the clock; all else is the same for the same seed.

    >>> study = Study(
    ...     name="demo", claim="Two is more than one.", question="Is it?", method="Count.", seeds=(0, 1),
    ...     columns=("n",), rows=((2,),), checks=(Check("n", 2.0, 2.0, 2.0, 2, above=1.0),), settings={}, figure=None,
    ... )
    >>> study.held
    True
    """

    name: str
    claim: str
    question: str
    method: str
    seeds: tuple[int, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    checks: tuple[Check, ...]
    settings: dict[str, Any]
    figure: Any = field(repr=False)
    clock: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def held(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """All but the picture; `quantity` and `interval` are those of the first check."""
        first = self.checks[0]
        document = {
            "study": self.name,
            "claim": self.claim,
            "question": self.question,
            "method": self.method,
            "held": self.held,
            "quantity": first.quantity,
            "value": first.value,
            "interval": [first.low, first.high],
            "level": LEVEL,
            "checks": [check.to_json() for check in self.checks],
            "seeds": self.seeds,
            "settings": self.settings,
            "table": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
            "clock": self.clock,
            "seconds": self.seconds,
        }
        result: dict[str, Any] = plain(document)
        return result

    def save(self, out: Path) -> Path:
        """Write `<out>/<name>/study.json` and `figure.svg`, and give that folder."""
        from thalweg.study.picture import svg

        folder = out / self.name
        write_bytes(folder / "figure.svg", svg(self.figure))
        write_json(folder / "study.json", self.to_json())
        return folder
