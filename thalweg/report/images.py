"""Examples that are images: columns such as pixel_0_0 ... pixel_7_7 are drawn instead of listed."""

import math
import re
from typing import TYPE_CHECKING

from thalweg.report.drawing import PALETTE, WIDTH, axes
from thalweg.report.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS, LEAST, MOST = 5, 4, 64
"""Images in a row; sides between which columns are taken for an image."""


def image_columns(names: list[str]) -> list[list[int]]:
    """The places of the columns of an image by line and pixel; empty where the columns make none.

    >>> image_columns([f"pixel_{i}_{j}" for i in range(4) for j in range(5)] + ["digit"])[1]
    [5, 6, 7, 8, 9]
    >>> image_columns(["age", "bmi"])
    []
    """
    found: dict[tuple[int, int], int] = {}
    stems = set()
    for place, name in enumerate(names):
        if match := re.fullmatch(r"(.*)_(\d{1,3})_(\d{1,3})", name):
            stems.add(match[1])
            found[int(match[2]), int(match[3])] = place
    rows, columns = (max((key[axis] for key in found), default=-1) + 1 for axis in (0, 1))
    full = len(stems) == 1 and len(found) == rows * columns and LEAST <= rows <= MOST and LEAST <= columns <= MOST
    return [[found[i, j] for j in range(columns)] for i in range(rows)] if full else []


def gallery_height(count: int) -> int:
    """Units of height of so many images."""
    return math.ceil(count / ACROSS) * (WIDTH // ACROSS + 22)


def gallery(images: list[list[list[float]]], titles: list[str], ax: "Axes | None" = None) -> "Axes":
    """Images side by side, each with its title; ink where the value is large.

    >>> gallery([[[0.0, 1.0], [1.0, 0.0]]], ["7, taken for 1"]).texts[0].get_text()
    '7, taken for 1'
    """
    import numpy as np
    from matplotlib.colors import to_rgb

    ax = axes(ax, gallery_height(len(images)))
    for place, image in enumerate(images):
        across, down = place % ACROSS, place // ACROSS
        values = np.nan_to_num(np.array(image, dtype=float))
        span = float(np.ptp(values)) or 1.0
        inked = np.zeros((*values.shape, 4))
        inked[..., :3] = to_rgb(PALETTE["ink"])
        inked[..., 3] = (values - values.min()) / span
        left, top = across * 1.0, down * 1.25
        ax.imshow(inked, interpolation="none", extent=(left + 0.05, left + 0.95, top + 0.9, top))
        ax.text(
            left + 0.5, top + 1.08, label(titles[place], 16), ha="center", va="center", parse_math=False, fontsize=10
        )
    ax.set(xlim=(0, ACROSS), ylim=(math.ceil(len(images) / ACROSS) * 1.25, -0.05), aspect="equal")
    ax.set_axis_off()
    return ax
