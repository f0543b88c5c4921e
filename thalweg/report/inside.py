"""What a network of images looks at: its filters, its maps, saliency, occlusion, and the images that filters like best.

Each figure takes arrays and draws on the axes that it is given, or on its own.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from thalweg.core.errors import DataError
from thalweg.report.drawing import PALETTE, WIDTH, axes
from thalweg.report.wording import label

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

GAP, LINE = 0.08, 0.26
"""Between tiles, and the height of a line of text, as shares of a tile."""
LIT = "#e0a526"


def filters_grid(filters: Any, ax: "Axes | None" = None, *, across: int = 8) -> "Axes":
    """Filters `(filter, channel, height, width)` side by side: three channels in colour, others as their mean.

    Without colour, blue is below 0 and orange above, on one scale for all filters.

    >>> import numpy as np
    >>> len(filters_grid(np.zeros((10, 1, 3, 3))).images)
    10
    """
    import numpy as np

    values = _numbers(filters, 4, "filters", "filter, channel, height, width")
    largest = float(np.abs(values).max()) if values.size else 0.0
    if values.shape[1] == 3:
        tiles = [(filter_.transpose(1, 2, 0) / (largest or 1.0) + 1) / 2 for filter_ in values]
    else:
        means = values.mean(1)
        tiles = [_signed(mean, float(np.abs(means).max())) for mean in means]
    return _tiles(tiles, [], ax, across)


def feature_map_grid(maps: Any, ax: "Axes | None" = None, *, across: int = 8) -> "Axes":
    """The maps of one image `(channel, height, width)` side by side, each on its own scale: the darker, the larger.

    >>> import numpy as np
    >>> len(feature_map_grid(np.ones((3, 4, 4))).images)
    3
    """
    return _tiles([_inked(channel) for channel in _numbers(maps, 3, "maps", "channel, height, width")], [], ax, across)


def saliency_overlay(image: Any, saliency: Any, ax: "Axes | None" = None) -> "Axes":
    """An image `(channel, height, width)`, pale, and over it the pixels that the answer is most sensitive to, lit.

    >>> import numpy as np
    >>> len(saliency_overlay(np.ones((1, 4, 4)), np.ones((4, 4))).images)
    1
    """
    return _tiles([lit(image, saliency)], [], ax, 1)


def occlusion_map(image: Any, occlusion: Any, ax: "Axes | None" = None) -> "Axes":
    """An image, pale, and over it what covering costs: orange where the answer needs what is there, else blue.

    >>> import numpy as np
    >>> len(occlusion_map(np.ones((1, 4, 4)), np.ones((4, 4))).images)
    1
    """
    return _tiles([_covered(image, occlusion)], [], ax, 1)


def maximizing_grid(images: Any, names: Sequence[str] = (), ax: "Axes | None" = None, *, across: int = 6) -> "Axes":
    """Images `(filter, channel, height, width)` that filters like best, side by side, with the filters' names.

    >>> import numpy as np
    >>> maximizing_grid(np.ones((2, 3, 8, 8)), ["filter 0", "filter 5"]).texts[1].get_text()
    'filter 5'
    """
    return _tiles(
        [shown(image) for image in _numbers(images, 4, "images", "filter, channel, height, width")],
        list(names),
        ax,
        across,
    )


def looks_grid(rows: Sequence[tuple[str, Any, Any, Any]], ax: "Axes | None" = None) -> "Axes":
    """A column for each example: the image under its title, its saliency, and what covering costs, where that is there.

    >>> import numpy as np
    >>> len(looks_grid([("7", np.ones((1, 4, 4)), np.ones((4, 4)), None)]).images)
    2
    """
    tiles: list[Any] = []
    titles: list[str] = []
    for make in (
        lambda image, steep, falls: shown(image),
        lambda image, steep, falls: lit(image, steep),
        lambda image, steep, falls: None if falls is None else _covered(image, falls),
    ):
        line = [make(image, steep, falls) for _, image, steep, falls in rows]
        if any(tile is not None for tile in line):
            tiles += line
            titles += [title for title, *_ in rows] if not titles else [""] * len(rows)
    return _tiles(tiles, titles, ax, len(rows))


def tiles_height(count: int, across: int, named: bool, ratio: float = 1.0) -> int:
    """Units of height of so many tiles, `ratio` being a tile's height over its width."""
    columns = min(count, across) or 1
    tile = WIDTH / (columns * (1 + GAP))
    return math.ceil(tile * (ratio + GAP + (LINE if named else 0.0)) * math.ceil(count / columns)) + 8


def _tiles(tiles: list[Any], titles: list[str], ax: "Axes | None", across: int) -> "Axes":
    across = min(across, max(1, len(tiles)))
    ratio = tiles[0].shape[0] / tiles[0].shape[1] if tiles else 1.0
    named = any(titles)
    ax = axes(ax, tiles_height(len(tiles), across, named, ratio))
    wide = 1 + GAP
    down = 0.0
    for start in range(0, len(tiles), across):
        if any(titles[start : start + across]):
            for place, title in enumerate(titles[start : start + across]):
                foot = (place * wide + 0.5, down + LINE - 0.05)
                ax.text(*foot, label(title, 16), ha="center", va="bottom", parse_math=False, fontsize=9)
            down += LINE
        for place, tile in enumerate(tiles[start : start + across]):
            if tile is not None:
                left = place * wide
                ax.imshow(tile, interpolation="none", extent=(left, left + 1, down + ratio, down))
        down += ratio + GAP
    ax.set(xlim=(0, across * wide), ylim=(max(down, 0.1), -GAP / 2), aspect="equal")
    ax.set_axis_off()
    return ax


def _numbers(values: Any, dims: int, what: str, axes_: str, like: Any = None) -> "np.ndarray":
    """Values as an array of so many dimensions, of the height and width of an image where one is given."""
    import numpy as np

    found = np.asarray(values, dtype=float)
    sides = found.shape[-2:] if like is None else np.shape(like)[-2:]
    if found.ndim != dims or found.shape[-2:] != sides or (not found.size and dims < 4):
        of = "" if like is None else f", of the image's size {sides}"
        raise DataError(f"Numbers of shape {found.shape} cannot be drawn as {what}. Give them as ({axes_}){of}.")
    return found


def shown(image: Any) -> "np.ndarray":
    """Three channels as colours, others as ink."""
    import numpy as np

    values = np.nan_to_num(_numbers(image, 3, "an image", "channel, height, width"))
    if len(values) != 3:
        return _inked(values.mean(0))
    low, span = values.min(), float(np.ptp(values)) or 1.0
    opaque = np.ones(values.shape[1:])
    return np.dstack([*((values - low) / span), opaque])


def _inked(values: "np.ndarray") -> "np.ndarray":
    import numpy as np
    from matplotlib.colors import to_rgb

    values = np.nan_to_num(values)
    inked = np.zeros((*values.shape, 4))
    inked[..., :3] = to_rgb(PALETTE["ink"])
    inked[..., 3] = (values - values.min()) / (float(np.ptp(values)) or 1.0)
    return inked


def _pale(image: Any) -> "np.ndarray":
    """An image in shades that leave room for colours."""
    found = shown(image)
    found[..., 3] *= 0.3
    return found


def lit(image: Any, heat: Any) -> "np.ndarray":
    """The image, pale, with its pixels lit by the heat."""
    import numpy as np
    from matplotlib.colors import to_rgb

    values = np.abs(np.nan_to_num(_numbers(heat, 2, "a heat", "height, width", like=image)))
    return _over(_pale(image), np.broadcast_to(to_rgb(LIT), (*values.shape, 3)), values / (values.max() or 1.0))


def _covered(image: Any, falls: Any) -> "np.ndarray":
    import numpy as np

    values = np.nan_to_num(_numbers(falls, 2, "an occlusion", "height, width", like=image))
    signed = _signed(values, float(np.abs(values).max()))
    return _over(_pale(image), signed[..., :3], signed[..., 3] * 0.85)


def _signed(values: "np.ndarray", largest: float) -> "np.ndarray":
    """Blue below 0, orange above; the further from it, the denser."""
    import numpy as np
    from matplotlib.colors import to_rgb

    found = np.zeros((*values.shape, 4))
    found[..., :3] = np.where((values < 0)[..., None], to_rgb(PALETTE["train"]), to_rgb(PALETTE["validation"]))
    found[..., 3] = np.abs(values) / (largest or 1.0)
    return found


def _over(ground: "np.ndarray", colors: "np.ndarray", density: "np.ndarray") -> "np.ndarray":
    """Colours of that density laid over a picture that is itself partly clear."""
    import numpy as np

    clear = ground[..., 3] * (1 - density)
    opacity = density + clear
    mixed = colors * density[..., None] + ground[..., :3] * clear[..., None]
    return np.dstack([mixed / np.maximum(opacity, 1e-9)[..., None], opacity])
