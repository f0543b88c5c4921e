"""The three panels of the study spatial-transformer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thalweg.study.picture import BAND, COLORS, panels
from thalweg.study.turned_digits import Images, draw_accuracies


def draw_study(
    angles: Sequence[float | int],
    curves: dict[str, Float[np.ndarray, "seed angle"]],
    given: Float[np.ndarray, " given"],
    applied: Mapping[str, Sequence[Any]],
    before: Images,
    after: Images,
) -> Figure:
    """Accuracy by angle, the angle applied by the angle given, and a digit before and after the transformer."""
    figure, axes = panels(3)
    draw_accuracies(angles, curves, COLORS, axes[0])
    axes[0].set(xlabel="angle of the test digits in degrees, either way", ylabel="accuracy")
    axes[0].set_title("lines: mean of the seeds; bands: all of them", fontsize=10)
    axes[0].legend(frameon=False, fontsize=8, loc="lower left")
    means = {name: np.array([each.degrees.mean(1) for each in own]) for name, own in applied.items()}
    draw_applied(given, means, axes[1])
    draw_digits(before, after, axes[2])
    return figure


def draw_applied(
    given: Float[np.ndarray, " given"], applied: Mapping[str, Float[np.ndarray, "seed given"]], ax: Axes
) -> Axes:
    """What each transformer turns a digit by, mean over digits: all seeds as a band, and where it would undo all."""
    for color, (name, values) in zip(COLORS[1:], applied.items(), strict=False):
        ax.fill_between(given, values.min(0), values.max(0), color=color, alpha=BAND, linewidth=0)
        ax.plot(given, values.mean(0), "o-", color=color, markersize=4, label=name)
    ax.plot(given, -given, "--", color="0.6", linewidth=1, label="undone", zorder=0)
    ax.set(xlabel="degrees that digits were turned by", ylabel="degrees that the transformer turns by")
    ax.set_title("from each digit's own mean", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax


def draw_digits(before: Images, after: Images, ax: Axes) -> Axes:
    """A digit at several angles, and below each what is handed on."""
    rows = [np.concatenate([np.pad(image[0], 1) for image in images.numpy()], axis=1) for images in (before, after)]
    height = len(rows[0])
    ax.imshow(np.concatenate(rows), cmap="gray_r", interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([height / 2 - 0.5, 1.5 * height - 0.5], ["given", "handed on"], fontsize=8)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_title("a digit before and after the rotation", fontsize=10)
    return ax
