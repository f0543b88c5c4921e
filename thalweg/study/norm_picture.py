"""The panels of the study norm: loss curves, swings of a batch's statistics, and what leaks."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from thalweg.study.picture import BAND, COLORS, whole_numbers

NOTHING = 1e-9
"""No change at all is drawn here, on a logarithmic axis."""


def draw_curves(curves: dict[str, Float[np.ndarray, "seed epoch"]], ax: Axes) -> Axes:
    """The loss above the least by epoch: the mean of the seeds, and all of them as a band."""
    for color, (name, values) in zip(COLORS, curves.items(), strict=False):
        epochs = np.arange(1, values.shape[1] + 1)
        ax.fill_between(epochs, values.min(0), values.max(0), color=color, alpha=BAND, linewidth=0)
        ax.plot(epochs, values.mean(0), color=color, label=f"{name} norm")
    ax.set(xlabel="epochs", ylabel="loss above the least, nats a word")
    ax.set_title("sentences not trained on", fontsize=10)
    ax.set_ylim(bottom=0)
    whole_numbers(ax)
    ax.legend(frameon=False, fontsize=8)
    return ax


def draw_swings(swings: dict[str, Float[np.ndarray, "seed 2"]], ax: Axes) -> Axes:
    """How far a batch's mean and variance swing in each network, a dot a seed."""
    for place, values in enumerate(swings.values()):
        for side, (what, color) in enumerate(zip(("mean", "variance"), COLORS, strict=False)):
            at = place + 0.2 * (2 * side - 1)
            ax.plot([at] * len(values), values[:, side], "o", color=color, markersize=5, alpha=0.6,
                    label=f"of the {what}" if place == 0 else None)  # fmt: skip
    ax.set_xticks(range(len(swings)), [name.replace(", ", ",\n") for name in swings], fontsize=8)
    ax.set(ylabel="swing from batch to batch")
    ax.set_ylim(bottom=0)
    ax.set_title("statistics of batches of as many examples", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax


def draw_leaks(
    leaks: dict[str, Float[np.ndarray, " seed"]], padded: dict[str, Float[np.ndarray, " seed"]], ax: Axes
) -> Axes:
    """What a later word changes in a causal network, and more padding in any, a dot a seed."""
    for place, name in enumerate(leaks):
        for side, (what, values, color) in enumerate(
            (("a later word, causal", leaks[name], COLORS[1]), ("more padding", padded[name], COLORS[0]))
        ):
            at = place + 0.2 * (2 * side - 1)
            shown = np.maximum(values, NOTHING)
            ax.plot([at] * len(values), shown, "o", color=color, markersize=5, alpha=0.6,
                    label=what if place == 0 else None)  # fmt: skip
    ax.set(yscale="log", ylim=(NOTHING / 3, 10), ylabel="outputs changed, share of their size")
    ax.set_xticks(range(len(leaks)), [f"{name}\nnorm" for name in leaks], fontsize=8)
    ax.set_title(f"in training; no change stands at {NOTHING:g}", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return ax
