"""A training over the error surface in pictures: gradient norm, minima ratio and smoothness, epoch by epoch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from thalweg.core.errors import DataError
from thalweg.report.drawing import PALETTE, axes, plain_ticks
from thalweg.report.landscape import shades
from thalweg.report.measured import bare, cycled, drawable, listed, plain_of, row_of
from thalweg.report.wording import label, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUANTITIES: Mapping[str, str] = {
    "losses": "loss along the step",
    "changes": "change of the gradient",
    "ratios": "change over the way gone",
}
"""What `smoothness_bands` draws, with the label of its axis."""


def ratio_against_gradient(course: Any, ax: "Axes | None" = None) -> "Axes":
    """Gradient norm against minima ratio, a dot for each epoch, the later, the darker; the line joins them in order.

    `course` is `thalweg.measure.critical_points(...)`. At the bottom right are minima, at the bottom left saddles.

    >>> points = [{"epoch": e, "gradient_norm": 1 / e, "minima_ratio": 1 - 1 / e} for e in (1, 2, 4)]
    >>> ratio_against_gradient({"points": points}).get_ylabel()
    'gradient norm'
    """
    ax = axes(ax)
    epochs, norms, ratios = _course(course)
    ax.plot(ratios, norms, color=PALETTE["rule"], linewidth=1, zorder=1)
    colors = shades()(1 - (0.15 + 0.85 * _ranks(epochs)))
    ax.scatter(ratios, norms, c=colors, s=42, edgecolors=PALETTE["soft"], linewidths=0.6, zorder=2)
    for place in sorted({0, len(epochs) - 1}):
        ax.annotate(
            f"epoch {epochs[place]:g}", (ratios[place], norms[place]), (7, 5), textcoords="offset points", fontsize=9
        )
    _logarithmic(ax, norms)
    ax.set_xlim(-0.05, 1.15)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
    ax.set(xlabel="minima ratio", ylabel="gradient norm")
    return bare(ax)


def course_by_epoch(course: Any, ax: "Axes | None" = None) -> "Axes":
    """Gradient norm (left axis) and minima ratio (right axis) of each epoch that was looked at.

    >>> points = [{"epoch": e, "gradient_norm": 1 / e, "minima_ratio": 1 - 1 / e} for e in (1, 2, 4)]
    >>> course_by_epoch({"points": points}).get_xlabel()
    'epoch'
    """
    from matplotlib.ticker import MaxNLocator

    ax = axes(ax)
    epochs, norms, ratios = _course(course)
    ax.plot(epochs, norms, "o-", color=PALETTE["train"], markersize=4)
    _logarithmic(ax, norms)
    ax.set_xlabel("epoch")
    ax.set_ylabel("gradient norm", color=PALETTE["train"])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    other = ax.twinx()
    other.plot(epochs, ratios, "s--", color=PALETTE["validation"], markersize=4)
    other.set_ylim(-0.03, 1.03)
    other.set_ylabel("minima ratio", color=PALETTE["validation"])
    other.spines["top"].set_visible(False)
    ax.spines["top"].set_visible(False)
    return ax


def smoothness_bands(arms: Any, quantity: str = "losses", ax: "Axes | None" = None) -> "Axes":
    """A band for each network: the least to the greatest of a quantity over the steps, by epoch; narrow is smooth.

    `arms` is `{name: {epoch: thalweg.measure.smoothness(...)}}`, or lists of plain values with an "epoch". `quantity`
    is "losses", "changes" (of the gradient) or "ratios", whose upper edge is the effective smoothness.

    >>> step = {"losses": [1.0, 2.0], "changes": [0.1, 0.3], "ratios": [1.0, 1.5]}
    >>> smoothness_bands({"without": [{"epoch": 1, **step}, {"epoch": 2, **step}]}, "changes").get_ylabel()
    'change of the gradient'
    """
    from matplotlib.ticker import MaxNLocator

    if quantity not in QUANTITIES:
        raise DataError(f"smoothness_bands: quantity is {quantity!r}, but it is one of {', '.join(QUANTITIES)}.")
    ax = axes(ax)
    seen: list[float] = []
    for color, (name, measured) in zip(cycled(len(arms)), dict(arms).items(), strict=True):
        epochs, lows, highs = _bands(measured, quantity)
        ax.fill_between(epochs, lows, highs, color=color, alpha=0.3, linewidth=0)
        ax.plot(epochs, highs, color=color, linewidth=1.4, label=label(name, 30))
        ax.plot(epochs, lows, color=color, linewidth=0.7)
        seen += [*lows, *highs]
    _logarithmic(ax, seen)
    ax.set(xlabel="epoch", ylabel=QUANTITIES[quantity])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False, fontsize=9)
    return bare(ax)


def _course(course: Any) -> tuple[list[float], list[float], list[float]]:
    points = sorted(listed(course, "points"), key=lambda point: number(point.get("epoch")))
    epochs, norms, ratios = (
        [drawable(point.get(key)) for point in points] for key in ("epoch", "gradient_norm", "minima_ratio")
    )
    return epochs, norms, ratios


def _bands(measured: Any, quantity: str) -> tuple[list[float], list[float], list[float]]:
    if isinstance(measured, Mapping):
        measured = [{"epoch": epoch, **plain_of(value)} for epoch, value in measured.items()]
    rows = [(number(item.get("epoch")), row_of(item, quantity)) for item in map(plain_of, measured)]
    rows.sort(key=lambda row: row[0])
    return [e for e, _ in rows], [float(v.min()) for _, v in rows], [float(v.max()) for _, v in rows]


def _ranks(epochs: list[float]) -> Any:
    import numpy as np

    return np.linspace(0, 1, len(epochs))


def _logarithmic(ax: "Axes", values: list[float]) -> None:
    """A logarithmic axis upwards where the values are positive and a factor of four apart."""
    finite = [value for value in values if value == value]
    if finite and min(finite) > 0 and max(finite) > 4 * min(finite):
        ax.set_yscale("log")
        ax.set_ylim(min(finite) / 1.4, max(finite) * 1.4)
        plain_ticks(ax.yaxis)
