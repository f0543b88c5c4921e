"""Charts of numbers with their intervals: where the loss is lost, the arms of an experiment, the pairs of a proof."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thalweg.report.drawing import PALETTE, axes, plain_ticks
from thalweg.report.wording import label, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 30
"""Units of height of a row."""


@dataclass(frozen=True)
class Row:
    """A line of a dot-and-whisker chart: its name, its value, the interval; without a value the interval is a band."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    color: str = "train"

    @classmethod
    def of(cls, name: Any, score: dict[str, Any], color: str = "train") -> "Row":
        """A row of what the files hold under "value", "low" and "high"."""
        value, low, high = (number(score.get(key)) for key in ("value", "low", "high"))
        return cls(label(name), value, low, high, color)


def height(rows: int) -> int:
    """Units of height of a chart with so many rows."""
    return ROW * rows + 52


def dots_and_whiskers(rows: list[Row], quantity: str = "loss", ax: "Axes | None" = None) -> "Axes":
    """A row for each number: the dot is the value, the line its interval; the first row is on top.

    >>> dots_and_whiskers([Row("control", 0.5, 0.4, 0.6), Row("wider", 0.2)], "train loss").get_xlabel()
    'train loss'
    """
    ax = axes(ax, height(len(rows)))
    for place, row in enumerate(rows):
        color = PALETTE[row.color]
        banded = row.value != row.value
        if row.low == row.low and row.high == row.high:
            ax.plot(
                [row.low, row.high], [place] * 2, color=color, linewidth=7 if banded else 2, alpha=0.5 if banded else 1
            )
        ax.plot([row.value], [place], "o", color=color, markersize=7)
    ax.set_yticks(range(len(rows)), [row.name for row in rows], parse_math=False)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    _scale(ax, [value for row in rows for value in (row.value, row.low, row.high) if value == value])
    return _bare(ax, quantity)


def paired_dots(pairs: list[tuple[str, float, float]], quantity: str = "loss", ax: "Axes | None" = None) -> "Axes":
    """A row for each seed: from the open dot (without the remedy) to the full one (with it).

    >>> paired_dots([("seed 0", 0.5, 0.3), ("seed 1", 0.6, 0.2)]).get_xlabel()
    'loss'
    """
    ax = axes(ax, height(len(pairs)))
    for place, (_, without, changed) in enumerate(pairs):
        ax.plot([without, changed], [place] * 2, color=PALETTE["train"], linewidth=2, alpha=0.5, zorder=1)
        ax.plot([without], [place], "o", markerfacecolor=PALETTE["paper"], color=PALETTE["train"], markersize=7)
        ax.plot([changed], [place], "o", color=PALETTE["train"], markersize=7)
    ax.set_yticks(range(len(pairs)), [label(name) for name, _, _ in pairs], parse_math=False)
    ax.set_ylim(len(pairs) - 0.4, -0.6)
    _scale(ax, [value for _, *values in pairs for value in values if value == value])
    return _bare(ax, quantity)


def _scale(ax: "Axes", values: list[float]) -> None:
    """Logarithmic where the values are positive and far apart."""
    if values and min(values) > 0 and max(values) > 8 * min(values):
        ax.set_xscale("log")
        ax.set_xlim(min(values) / 1.3, max(values) * 1.3)
        plain_ticks(ax.xaxis)
    else:
        ax.locator_params(axis="x", nbins=5)


def _bare(ax: "Axes", quantity: str) -> "Axes":
    ax.set_xlabel(label(quantity, 40), parse_math=False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0, labelcolor=PALETTE["ink"])
    ax.grid(axis="x", color=PALETTE["rule"], linewidth=0.8)
    ax.set_axisbelow(True)
    return ax
