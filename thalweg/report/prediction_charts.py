"""Charts of predictions: classes taken for one another, confidence against hits, residuals."""

import math
from typing import TYPE_CHECKING

from thalweg.report.drawing import PALETTE, axes
from thalweg.report.outcomes import Residual
from thalweg.report.wording import both_ends, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NUMBERED, MOST_NAMED, MOST_POINTS = 12, 30, 1500
"""Classes up to which cells carry their count, and names are written; points of a residual plot."""


def confusion_matrix(matrix: list[list[int]], names: list[str], ax: "Axes | None" = None) -> "Axes":
    """True classes down, predicted ones across; the darker, the larger the share of the true class.

    >>> confusion_matrix([[5, 1], [0, 4]], ["no", "yes"]).get_ylabel()
    'true class'
    """
    import numpy as np
    from matplotlib.colors import to_rgb

    ax = axes(ax, 400)
    table = np.array(matrix, dtype=float)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    cells = np.zeros((*table.shape, 4))
    cells[..., :3] = to_rgb(PALETTE["validation"])
    np.einsum("iij->ij", cells)[:, :3] = to_rgb(PALETTE["train"])
    cells[..., 3] = 0.75 * np.sqrt(share)
    ax.imshow(cells, interpolation="none")
    size = len(names)
    if size <= MOST_NUMBERED:
        for (i, j), count in np.ndenumerate(table):
            if count:
                ax.text(j, i, f"{count:.0f}", ha="center", va="center", fontsize=11 if size <= 8 else 10)
    shown = range(0, size, max(1, math.ceil(size / MOST_NAMED)))
    short = [both_ends(names[i], 13 if size <= MOST_NUMBERED else 11) for i in shown]
    turned = size > 6 or any(len(name) > 5 for name in short)
    upright = 90 if turned and any(len(name) > 2 for name in short) else 0
    small = 10.5 if size <= MOST_NUMBERED else 8
    ax.set_xticks(list(shown), short, parse_math=False, fontsize=small, color=PALETTE["ink"], rotation=upright)
    ax.set_yticks(list(shown), short, parse_math=False, fontsize=small, color=PALETTE["ink"])
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class", labelpad=8)
    ax.tick_params(length=0)
    ax.spines[:].set_color(PALETTE["rule"])
    return ax


def reliability_diagram(bins: list[tuple[float, float, int]], ax: "Axes | None" = None) -> "Axes":
    """Share of hits against confidence, a dot for each bin, larger where it holds more rows; honest is the diagonal.

    >>> reliability_diagram([(0.6, 0.5, 10), (0.95, 0.9, 90)]).get_xlabel()
    'confidence'
    """
    ax = axes(ax, 380)
    total = sum(count for _, _, count in bins) or 1
    ax.plot([0, 1], [0, 1], color=PALETTE["soft"], linewidth=1, linestyle="--")
    for confidence, hits, count in bins:
        ax.plot([confidence] * 2, [confidence, hits], color=PALETTE["validation"], linewidth=1.5, alpha=0.6)
        size = 4 + 12 * math.sqrt(count / total)
        ax.plot([confidence], [hits], "o", color=PALETTE["train"], markersize=size, clip_on=False, zorder=3)
    ax.set(xlim=(0, 1.03), ylim=(0, 1.05), xlabel="confidence", ylabel="share of hits", aspect="equal")
    ax.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def residual_plot(residuals: list[Residual], name: str = "", ax: "Axes | None" = None) -> "Axes":
    """Truth minus prediction against the prediction: a shape in the cloud is something the model has not learned.

    >>> residual_plot([Residual(0, 3.0, 2.5)], "price").get_xlabel()
    'predicted price'
    """
    ax = axes(ax, 300)
    shown = thinned(residuals)
    ax.axhline(0, color=PALETTE["soft"], linewidth=1, linestyle="--")
    x, y = [residual.predicted for residual in shown], [residual.size for residual in shown]
    size = 5 if len(shown) < 300 else 3
    ax.plot(x, y, "o", color=PALETTE["train"], alpha=0.55, markersize=size, markeredgewidth=0)
    ax.set_xlabel(label(f"predicted {name}".strip(), 40), parse_math=False)
    ax.set_ylabel("truth − prediction")
    ax.locator_params(nbins=6)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def thinned(residuals: list[Residual]) -> list[Residual]:
    """At most `MOST_POINTS` of them: the largest, and every so many of the rest."""
    if len(residuals) <= MOST_POINTS:
        return residuals
    ordered = sorted(residuals, key=lambda residual: -abs(residual.size))
    rest = ordered[MOST_POINTS // 10 :]
    return ordered[: MOST_POINTS // 10] + rest[:: math.ceil(len(rest) / (MOST_POINTS - MOST_POINTS // 10))]
