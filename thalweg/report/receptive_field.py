"""A receptive field drawn on an image: the box of all that a unit can see, and in it the heat of what it looks at."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from thalweg.core.errors import DataError
from thalweg.report.drawing import PALETTE, WIDTH, axes
from thalweg.report.inside import lit, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def field_on_image(image: Any, box: Sequence[slice], heat: Any = None, ax: "Axes | None" = None) -> "Axes":
    """An image `(channel, height, width)` with the box of a theoretical field, and the heat of an effective one.

    `box` is rows and columns as `ReceptiveField.box` gives them; `heat` is `(height, width)`, as `EffectiveField.heat`.

    >>> import numpy as np
    >>> ax = field_on_image(np.ones((1, 8, 8)), (slice(2, 5), slice(0, 8)), np.eye(8))
    >>> ax.patches[0].get_height(), ax.patches[0].get_width()
    (3, 8)

    Raises `DataError` for a heat of another size than the image, and for what is no image.
    """
    import numpy as np
    from matplotlib.patches import Rectangle

    pixels = np.asarray(image, dtype=float)
    if pixels.ndim != 3 or not pixels.size or len(box) != 2:
        raise DataError(
            f"An image of shape {pixels.shape} with {len(box)} sides of a box cannot be drawn. Give an image of "
            "(channels, height, width) and the rows and columns of its box."
        )
    if heat is not None and np.shape(heat) != pixels.shape[1:]:
        raise DataError(
            f"The heat has the shape {np.shape(heat)}, but the image {pixels.shape[1:]}. Give the heat that was "
            "measured on images of this size."
        )
    height, width = pixels.shape[1:]
    ax = axes(ax, round(WIDTH * height / width))
    edges = (-0.5, width - 0.5, height - 0.5, -0.5)
    ax.imshow(shown(pixels) if heat is None else lit(pixels, heat), interpolation="none", extent=edges)
    rows, columns = box
    corner = (columns.start - 0.5, rows.start - 0.5)
    sides = (columns.stop - columns.start, rows.stop - rows.start)
    frame = Rectangle(corner, *sides, fill=False, edgecolor=PALETTE["validation"], linewidth=2, clip_on=False)
    ax.add_patch(frame)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="equal")
    ax.set_axis_off()
    return ax
