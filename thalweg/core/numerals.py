"""Numbers as text: the digits that an interval bears, and quantities beside one another."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Triple = tuple[float, float, float]
"""A value and the ends of its 95 % interval, NaN where there is none."""
LARGE = 100
"""From here on, the decimals of a score are one instead of three."""


def number(value: Any) -> float:
    """The value as a float; NaN for what is no number, and for null.

    >>> number(0.5), number(None), number("half"), number(10**400)
    (0.5, nan, nan, nan)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        found = float(value)
    except OverflowError:
        return math.nan
    return found if math.isfinite(found) else math.nan


def digits(value: float, low: float = math.nan, high: float = math.nan) -> int:
    """Decimals that an interval bears: two figures of its width; three figures of the value where there is none.

    >>> digits(42.82, 36.93, 48.91), digits(0.972, 0.949, 0.985), digits(155.48)
    (0, 3, 0)
    """
    width = high - low
    if width > 0:
        return min(6, max(0, 1 - math.floor(math.log10(width))))
    if width == 0 or value == 0 or value != value:
        return 3
    return min(6, max(0, 2 - math.floor(math.log10(abs(value)))))


def quantity(value: Any, decimals: int | None = None, sign: bool = False) -> str:
    """A number as text, a dash where there is none.

    >>> quantity(0.12345), quantity(-1234.5), quantity(None), quantity(0.5, sign=True), quantity(3e-9)
    ('0.123', '−1,234', '–', '+0.500', '3e-09')
    """
    found = number(value)
    if found != found:
        return "–"
    places = digits(found) if decimals is None else decimals
    if abs(found) >= 1e7 or 0 < abs(found) < 1e-5:
        text = f"{found:+.3g}" if sign else f"{found:.3g}"
    else:
        text = f"{found:+,.{places}f}" if sign else f"{found:,.{places}f}"
    if not text.strip("-+0.,"):  # a small number that these decimals do not show has no sign
        return text.lstrip("-+")
    return text.replace("-", "−", 1) if found < 0 else text


def interval(score: dict[str, Any], sign: bool = False, decimals: int | None = None) -> str:
    """A value with its interval, or without where it has none.

    >>> interval({"value": 0.97222, "low": 0.94949, "high": 0.98480}), interval({"value": 2.5, "low": None})
    ('0.972 [0.949, 0.985]', '2.50')
    """
    value, low, high = (number(score.get(key)) for key in ("value", "low", "high"))
    places = digits(value, low, high) if decimals is None else decimals
    if low != low or high != high:
        return quantity(value, decimals, sign)
    shown = quantity(value, places, sign) if value == value else "?"
    return f"{shown} [{quantity(low, places, sign)}, {quantity(high, places, sign)}]"


def row_digits(scores: list[dict[str, Any]]) -> int:
    """Decimals for one quantity in several places: as the widest interval bears, and two figures of the smallest value.

    >>> row_digits([{"value": 0.0054, "low": 0.0045, "high": 0.0064}, {"value": 0.128, "low": 0.05, "high": 0.22}])
    4
    """
    triples = [tuple(number(score.get(key)) for key in ("value", "low", "high")) for score in scores]
    known = [triple for triple in triples if triple[0] == triple[0]]
    if not known:
        return 3
    bears = [digits(*triple) for triple in known if triple[2] > triple[1]] or [digits(*triple) for triple in known]
    smallest = min((abs(value) for value, _, _ in known if value), default=1.0)
    return min(6, max(min(4, *bears), 1 - math.floor(math.log10(smallest))))


def score_texts(scores: list[Triple]) -> list[str]:
    """Scores of one name with their intervals, alike in decimals: 3 (1 where they are large), more for small ones.

    >>> score_texts([(0.97222, 0.95, 0.984), (0.5, float("nan"), float("nan"))])
    ['0.972 [0.950, 0.984]', '0.500']
    >>> score_texts([(0.00123, 0.00119, 0.00131)]), score_texts([(2.5e-6, 2.1e-6, 3.2e-6)])
    (['0.0012 [0.0012, 0.0013]'], ['2.5e-06 [2.1e-06, 3.2e-06]'])
    """
    known = [dict(zip(("value", "low", "high"), score, strict=True)) for score in scores]
    large = any(abs(end) >= LARGE for score in scores for end in score)
    decimals = 1 if large else max(3, row_digits(known))
    return [interval(score, decimals=decimals) for score in known]


def score_lines(scores: Mapping[str, Mapping[str, Triple]]) -> list[str]:
    """A line for each quantity, a column for each set of scores, under their names.

    >>> scores = {"before": {"loss": (0.5, 0.4, 0.6)}, "after": {"loss": (0.25, 0.2, 0.3)}}
    >>> for line in score_lines(scores):
    ...     print(line)
          before                after
    loss  0.500 [0.400, 0.600]  0.250 [0.200, 0.300]
    """
    names = list(next(iter(scores.values()), {}))
    rows = [score_texts([each[name] for each in scores.values()]) for name in names]
    columns: Sequence[Sequence[str]] = [
        ["", *names], *([title, *cells] for title, cells in zip(scores, zip(*rows, strict=True), strict=True))
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in columns]
    lines = zip(*columns, strict=True)
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
