"""The error surface in pictures: lines and planes through the weights, and the spectrum of the curvature.

Each figure takes a value of thalweg.measure, or the plain values that its `to_json` gives, and draws on the axes that
it is given, or on its own.
"""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from thalweg.core.errors import DataError
from thalweg.report.drawing import PALETTE, axes, plain_ticks
from thalweg.report.measured import bare, cycled, drawable, listed, plain_of, row_of
from thalweg.report.wording import label, number

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

WIDE = 12.0
"""A ratio of losses from which on levels are evenly spaced in the logarithm."""
LEVELS = 14
APART = 4.0
"""A ratio of two lines' lengths from which on each is drawn in shares of its own."""


def loss_along(lines: Any, ax: "Axes | None" = None) -> "Axes":
    """The loss along lines through the weights, and dashed the quadratic that gradient and curvature predict.

    `lines` is `thalweg.measure.along(...)`. Lines of very different lengths are drawn in shares of their own length.

    >>> line = {"name": "largest", "curvature": 2.0, "steps": [-1, 0, 1], "losses": [1, 0, 1], "predicted": [1, 0, 1]}
    >>> loss_along({"lines": [line]}).get_xlabel()
    'step along the direction'
    """
    import numpy as np

    ax = axes(ax)
    found = listed(lines, "lines")
    reaches = [float(np.max(np.abs(row_of(line, "steps")))) for line in found]
    shared = max(reaches) <= APART * min(reaches)
    for color, line, reach in zip(cycled(len(found)), found, reaches, strict=True):
        steps = row_of(line, "steps") / (1.0 if shared else reach or 1.0)
        said = f"{label(line.get('name', ''), 30)} {number(line.get('curvature')):.3g}"
        ax.plot(steps, row_of(line, "losses"), color=color, label=said if shared else f"{said}, to ±{reach:.2g}")
        ax.plot(steps, row_of(line, "predicted"), color=color, linestyle=(0, (4, 3)), linewidth=1.2)
    losses = np.concatenate([row_of(line, "losses") for line in found])
    low, high = float(np.nanmin(losses)), float(np.nanmax(losses))
    room = (high - low) or abs(high) or 1.0
    ax.set_ylim(low - 0.15 * room, high + 0.35 * room)  # the dashes may leave it
    ax.set_xlabel("step along the direction" if shared else "step, in shares of each line's length")
    ax.set_ylabel("loss")
    ax.legend(frameon=False, loc="upper center", fontsize=9)
    return bare(ax)


def loss_plane(plane: Any, ax: "Axes | None" = None) -> "Axes":
    """The loss on a plane through the weights as filled contours, with the path over it; the darker, the lower.

    `plane` is `thalweg.measure.plane(...)`. Levels are evenly spaced in the logarithm where losses span a factor of 12.
    An open dot is the start of the path, a star its end; a cross stands for the weights where there is no path. What is
    not finite stays blank.

    >>> grid = {"x": [0, 1], "y": [0, 1], "losses": [[1, 2], [3, 4]], "names": ["a", "b"], "shares": [0.9, 0.05]}
    >>> loss_plane(grid).get_xlabel()
    'a (90% of the variance)'
    """
    import numpy as np
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FuncFormatter, NullFormatter

    found = plain_of(plane)
    x, y = row_of(found, "x"), row_of(found, "y")
    losses = np.ma.masked_invalid(_grid(found, len(x), len(y)))
    ax = axes(ax, 340)
    levels, logarithmic = _levels(losses.compressed())
    scale = LogNorm(levels[0], levels[-1]) if logarithmic else None
    filled = ax.contourf(x, y, losses, levels=levels, cmap=shades(), norm=scale)
    ax.contour(x, y, losses, levels=levels, colors=PALETTE["paper"], linewidths=0.4)
    bar = ax.figure.colorbar(filled, ax=ax, shrink=0.85, pad=0.03, label="loss")
    ticks = levels[::3].tolist()
    figures = next((n for n in range(2, 7) if len({f"{tick:.{n}g}" for tick in ticks}) == len(ticks)), 7)
    bar.set_ticks(ticks)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{figures}g}"))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    _draw_path(ax, [point for point in found.get("path") or [] if isinstance(point, Mapping)])
    shares, names = found.get("shares"), [*(found.get("names") or ()), "", ""]
    for which, place in ((ax.set_xlabel, 0), (ax.set_ylabel, 1)):
        share = number(shares[place]) if isinstance(shares, list | tuple) and len(shares) == 2 else math.nan
        explained = f" ({share:.0%} of the variance)" if share > 0 else ""
        which(f"{label(names[place], 30)}{explained}", parse_math=False)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), aspect="equal")
    ax.locator_params(nbins=5)
    return bare(ax)


def spectrum(point: Any, density: Any = None, ax: "Axes | None" = None) -> "Axes":
    """The eigenvalues as a histogram of their shares, on an axis that is logarithmic outside of ±tau, which is shaded.

    `point` is `thalweg.measure.critical_point(...)`. Where it does not know all eigenvalues, those it knows are ticks
    below, and `density`, of `thalweg.measure.spectral_density(...)` or `{"nodes": [...], "weights": [...]}`, gives the
    bars.

    >>> spectrum({"eigenvalues": [-1.0, 0.0, 3.0], "tau": 0.01, "exact": True}).get_xlabel()
    'eigenvalue'
    """
    import numpy as np

    found = plain_of(point)
    values = row_of(found, "eigenvalues")
    values = values[np.isfinite(values)]
    tau = max(1e-30, 1e-6 * float(np.abs(values).max()), drawable(found.get("tau")))  # NaN last: it is passed over
    nodes, weights = (values, np.full(len(values), 1 / len(values))) if found.get("exact") else (values[:0], values[:0])
    if density is not None and not found.get("exact"):
        given = density if isinstance(density, Mapping) else {"nodes": density.nodes, "weights": density.weights}
        nodes, weights = row_of(given, "nodes"), row_of(given, "weights")
    ax = axes(ax)
    ax.set_xscale("symlog", linthresh=tau, linscale=0.6)
    edges = _edges(np.concatenate([values, nodes]), tau)
    ax.axvspan(-tau, tau, color=PALETTE["rule"], alpha=0.6, linewidth=0)
    if len(nodes):
        heights, _ = np.histogram(nodes, edges, weights=weights)
        colors = [PALETTE["validation" if right <= -tau else "soft" if left < tau else "train"]
                  for left, right in pairwise(edges)]  # fmt: skip
        ax.bar(edges[:-1], heights, np.diff(edges), align="edge", color=colors, linewidth=0)
        ax.set_yscale("log")
        ax.set_ylim(min(float(heights[heights > 0].min()) / 2, 0.5 / max(1.0, drawable(found.get("parameters")))), 1.5)
        plain_ticks(ax.yaxis)
        ax.set_ylabel("share of the eigenvalues")
    else:
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
    if not found.get("exact"):
        ax.scatter(
            values,
            np.full(len(values), 0.02),
            marker="|",
            s=60,
            color=PALETTE["ink"],
            transform=ax.get_xaxis_transform(),
        )
    _signed_ticks(ax, tau, float(edges[0]), float(edges[-1]))
    ax.set_xlabel("eigenvalue")
    return bare(ax)


def _grid(found: Mapping[str, Any], columns: int, rows: int) -> "np.ndarray":
    import numpy as np

    losses = found.get("losses")
    listed = losses if isinstance(losses, list) and all(isinstance(row, list) for row in losses) else []
    if len(listed) != rows or any(len(row) != columns for row in listed) or min(rows, columns) < 2:
        raise DataError(
            f"The losses of a plane are {rows} rows of {columns}, as long as y and x, at least 2 each. Give "
            "measure.plane(...), or its to_json()."
        )
    grid = np.array([[drawable(value) for value in row] for row in listed])
    if not np.isfinite(grid).any():
        raise DataError("No loss of the plane is finite. Take a smaller reach.")
    return grid


def _levels(losses: "np.ndarray") -> "tuple[np.ndarray, bool]":
    """Levels over all losses, and whether they are logarithmic."""
    import numpy as np

    low, high = float(losses.min()), float(losses.max())
    if low > 0 and high > WIDE * low:
        return np.geomspace(low * (1 - 1e-9), high * (1 + 1e-9), LEVELS), True
    room = 1e-9 * max(abs(low), abs(high), 1e-30) if high > low else max(abs(low), 1.0) / 100
    return np.linspace(low - room, high + room, LEVELS), False


def shades() -> Any:
    """The colours of a depth, the darker, the lower."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("depth", ["#0d3b4c", "#2b86a3", "#a9d3d6", "#f3e7c9", "#e0a526"])


def _draw_path(ax: "Axes", path: list[Mapping[str, Any]]) -> None:
    places = [(drawable(point.get("x")), drawable(point.get("y"))) for point in path]
    if not places:
        ax.plot([0], [0], "+", color=PALETTE["validation"], markersize=11, markeredgewidth=2)
        return
    edge: dict[str, Any] = {"markeredgecolor": "#ffffff", "markeredgewidth": 0.8}
    across, up = zip(*places, strict=True)
    ax.plot(across, up, "-", color="#ffffff", linewidth=2.6)
    ax.plot(across, up, "o-", color=PALETTE["validation"], linewidth=1.3, markersize=4.5, **edge)
    ax.plot(*places[0], "o", color="#ffffff", markeredgecolor=PALETTE["validation"], markersize=8, markeredgewidth=2)
    ax.plot(*places[-1], "*", color=PALETTE["validation"], markersize=15, **edge)


def _edges(values: "np.ndarray", tau: float) -> "np.ndarray":
    """One bin within ±tau, and four to the decade beyond it on either side."""
    import numpy as np

    def beyond(far: float) -> "np.ndarray":
        count = max(1, math.ceil(4 * math.log10(far / tau))) if far > tau else 0
        return tau * 10 ** (np.arange(1, count + 1) / 4)

    return np.concatenate([-beyond(-float(values.min()))[::-1], [-tau, tau], beyond(float(values.max()))])


def _signed_ticks(ax: "Axes", tau: float, low: float, high: float) -> None:
    """0 and a few powers of ten on either side."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    def powers(far: float) -> list[float]:
        found = [10.0**power for power in range(math.ceil(math.log10(tau)), math.floor(math.log10(far)) + 1)]
        return found[:: -max(1, math.ceil(len(found) / 3))] if far > tau else []

    ax.xaxis.set_major_locator(FixedLocator([*(-value for value in powers(-low)), 0.0, *powers(high)]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
