"""The panels of the study attention-vs-cnn: some images, and accuracy by the number of training images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from thalweg.study.picture import BAND, COLORS


def draw_images(split: tuple[Tensor, Tensor], ax: Axes, columns: int = 3) -> Axes:
    """Images with their labels above, in rows of so many."""
    x, y = split
    side = x.shape[-1] + 3
    rows = -(-len(x) // columns)
    sheet = np.full((rows * side, columns * side), np.nan)
    for place, image in enumerate(x[:, 0].numpy()):
        row, column = divmod(place, columns)
        sheet[row * side + 3 : (row + 1) * side, column * side : (column + 1) * side - 3] = image
        ax.text(column * side, row * side + 1.2, ("different", "the same")[int(y[place])], fontsize=8, va="center")
    ax.imshow(sheet, cmap="gray", interpolation="nearest")
    ax.set_axis_off()
    ax.set_title("stripes, and two shapes: are they the same?", fontsize=10)
    return ax


def draw_curves(sizes: Sequence[int], scores: dict[str, Float[np.ndarray, "size seed"]], title: str, ax: Axes) -> Axes:
    """Accuracy by the number of training images: the mean of the seeds, and all of them as a band."""
    for color, (name, values) in zip(COLORS, scores.items(), strict=False):
        ax.fill_between(sizes, values.min(1), values.max(1), color=color, alpha=BAND, linewidth=0)
        ax.plot(sizes, values.mean(1), "o-", color=color, markersize=4, label=name)
    ax.set(xscale="log", xlabel="training images", ylabel="accuracy", ylim=(0.4, 1.02))
    ax.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
    ax.minorticks_off()
    ax.set_title(title, fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="center right")
    return ax
