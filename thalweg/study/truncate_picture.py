"""The picture of the study truncate: accuracy by distance beside what layers x window reach, and cost by window."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from thalweg.study.picture import COLORS, whole_numbers


def draw_distances(
    reaches: dict[str, int], scores: dict[str, Float[np.ndarray, "seed distance"]], chance: float, ax: Axes
) -> Axes:
    """The accuracy by how far back is asked; a step at the end of what a network can see is what was predicted."""
    for color, (name, values) in zip(COLORS, scores.items(), strict=False):
        places = np.arange(1, values.shape[1] + 1)
        dashed = "--" if list(reaches.values()).index(reaches[name]) != list(reaches).index(name) else "-"
        label = f"{name}, sees {'all' if name == 'full' else reaches[name]}"
        ax.plot(places, values.mean(0), f"o{dashed}", color=color, markersize=4, label=label)
        ax.fill_between(places, values.min(0), values.max(0), color=color, alpha=0.12, linewidth=0)
    ax.axhline(chance, color="0.6", linewidth=1, zorder=0)
    ax.set(xlabel="positions back that are asked for", ylabel="accuracy", ylim=(0.0, 1.05))
    ax.set_title("layers x window; grey: a guess", fontsize=10)
    whole_numbers(ax)
    ax.legend(frameon=False, fontsize=8, loc="lower left")
    return ax


def draw_costs(length: int, costs: dict[int | None, Any], work: Axes, kept: Axes) -> None:
    """Multiply-adds and time, and what is held for the backward pass, by window; the last is full attention."""
    names = ["full" if window is None else str(window) for window in costs]
    place = np.arange(len(names))
    counted = np.array([cost.multiply_adds for cost in costs.values()], dtype=float)
    seconds = np.array([cost.seconds for cost in costs.values()])
    work.bar(place - 0.2, counted / counted[-1], 0.38, color=COLORS[0], label="multiply-adds")
    work.bar(place + 0.2, seconds / seconds[-1], 0.38, color=COLORS[1], label="processor time")
    work.set(ylabel="share of full attention", ylim=(0, 1.35))
    work.set_title(f"a step on {length} positions", fontsize=10)
    work.legend(frameon=False, fontsize=8, loc="upper left")
    kept.bar(place, [cost.kept / 2**20 for cost in costs.values()], 0.6, color=COLORS[2])
    kept.set(ylabel="held for the backward pass [MiB]")
    for ax in (work, kept):
        ax.set_xticks(place, names)
        ax.set(xlabel="window")
