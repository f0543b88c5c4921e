"""What augmentation makes of images: the images as they are, and below each what it became, a few times."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped

from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError
from thalweg.report.drawing import PALETTE, WIDTH, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 10
"""So many examples are shown."""
GAP = 0.08


@no_type_check
def draw_augmentation(images: Any, augmented: Any, ax: "Axes | None" = None) -> "Axes":
    """Ten images `(example, [channel,] height, width)` in a row, and in the rows below what augmentation made of them.

    `augmented` has the same shape, or is a list of such, one for each row. Images of one channel are drawn as ink where
    the value is large, those of three in their colours; black and white are the least and the largest number of each
    image as it was, and what is beyond them is cut off.

    >>> import torch
    >>> ax = draw_augmentation(torch.rand(5, 1, 8, 8), [torch.rand(5, 1, 8, 8)] * 2)
    >>> len(ax.images), [text.get_text() for text in ax.texts]
    (15, ['as it is', 'augmented'])

    Raises `DataError` for no images, for shapes that do not agree, and for other numbers of channels.
    """
    whole = _as_images(images)
    several = isinstance(augmented, list | tuple)
    rows = [whole, *(_as_images(each) for each in (augmented if several else [augmented]))]
    for row in rows[1:]:
        if row.shape != whole.shape:
            raise DataError(
                f"The images are {whole.shape} (example, height, width, channel), what augmentation made of them "
                f"{row.shape}. Give as many, of the same size."
            )
    count, height, width = min(ACROSS, len(whole)), whole.shape[1], whole.shape[2]
    tall = height / width
    ax = axes(ax, int(WIDTH / ACROSS * len(rows) * (tall + GAP)) + 12)
    lows, spans = _ranges(whole[:count])
    for line, row in enumerate(rows):
        top = line * (tall + GAP) + (GAP if line else 0)
        for place in range(count):
            values = np.clip((row[place] - lows[place]) / spans[place], 0, 1)
            extent = (place + GAP / 2, place + 1 - GAP / 2, top + tall - GAP / 2, top + GAP / 2)
            ax.imshow(_coloured(values), interpolation="none", extent=extent)
    for text, middle in (("as it is", tall / 2), ("augmented", (len(rows) + 1) * (tall + GAP) / 2)):
        ax.text(-0.12, middle, text, rotation=90, ha="right", va="center", fontsize=9, color=PALETTE["soft"])
    ax.set(xlim=(-0.6, count), ylim=(len(rows) * (tall + GAP) + GAP, 0), aspect="equal")
    ax.set_axis_off()
    return ax


def _as_images(given: Any) -> Float[np.ndarray, "example height width channel"]:
    plain = given.detach().cpu().float() if hasattr(given, "detach") else given
    images = np.nan_to_num(np.asarray(plain, dtype=float))
    images = images[:, None] if images.ndim == 3 else images
    if images.ndim != 4 or images.size == 0 or images.shape[1] not in (1, 3):
        raise DataError(
            f"What was to be drawn has the shape {np.shape(plain)}, but images are (example, channel, height, width) "
            "of 1 or 3 channels, or (example, height, width)."
        )
    return images.transpose(0, 2, 3, 1)


def _ranges(images: Float[np.ndarray, "example height width channel"]) -> tuple[Any, Any]:
    """The least number of each image, and how far it is to the largest."""
    flat = images.reshape(len(images), -1)
    return flat.min(1), np.where(np.ptp(flat, axis=1) > 0, np.ptp(flat, axis=1), 1.0)


def _coloured(values: Float[np.ndarray, "height width channel"]) -> Shaped[np.ndarray, "height width colours"]:
    """The colours of an image in [0, 1]; one channel is ink on paper, each pixel as dark as it is large."""
    if values.shape[2] == 3:
        return values
    from matplotlib.colors import to_rgb

    inked = np.empty((*values.shape[:2], 4))
    inked[..., :3], inked[..., 3] = to_rgb(PALETTE["ink"]), values[..., 0]
    return inked
