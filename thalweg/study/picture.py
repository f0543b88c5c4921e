"""How the studies draw: one size of panel, one set of colours, and the bytes of an SVG that come out the same again."""

import io
import re
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

PANEL = (4.0, 3.2)
COLORS = ("#1f6f8b", "#d1603d", "#6a994e", "#8d5a97", "#c99700", "#4d4d4d", "#b0306a")
BAND = 0.18
"""The opacity of an interval's band."""


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in a row.

    >>> figure, axes = panels(2)
    >>> len(axes)
    2
    """
    figure = Figure(figsize=(PANEL[0] * count, PANEL[1]), layout="constrained")
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def seed_bar(ax: Axes, at: float, values: Float[np.ndarray, " seed"], width: float, **style: Any) -> None:
    """A bar as high as the mean, and a dot for each seed, which the title says."""
    ax.bar(at, values.mean(), width, **style)
    ax.plot([at] * len(values), values, "o", color="0.2", markersize=3, alpha=0.6)
    ax.set_title("a dot a seed", fontsize=10)


def whole_numbers(ax: Axes) -> None:
    """Ticks of the x axis at whole numbers only."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def svg(figure: Figure) -> bytes:
    """The picture as SVG with text as text, to a tenth of a point, without a date: the same figure, the same bytes.

    >>> svg(panels(1)[0])[:5]
    b'<?xml'
    """
    whole = _saved(figure, "svg", metadata={"Date": None})
    return re.sub(rb"\n\s+", rb"\n", re.sub(rb"(\d\d\.\d)\d{2,}", rb"\1", whole))


def png(figure: Figure) -> bytes:
    """The picture as PNG.

    >>> png(panels(1)[0])[1:4]
    b'PNG'
    """
    return _saved(figure, "png", dpi=110)


def _saved(figure: Figure, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "thalweg", "svg.fonttype": "none"}):
        figure.savefig(buffer, format=form, **options)
    return buffer.getvalue()
