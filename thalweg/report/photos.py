"""Photos: small pictures that a run folder keeps of images which were predicted, drawn as they look."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.report.drawing import axes
from thalweg.report.evidence import damaged, mapping, read_object
from thalweg.report.images import ACROSS, gallery_height
from thalweg.report.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PIXELS = 128
"""A side beyond which a picture is none that was kept here."""


def read_photos(file: Path, places: list[int]) -> list[Any]:
    """The pictures of these rows as arrays `(height, width, channel)`; empty where not all of them are kept.

    Raises `RunError` where the file is damaged.
    """
    import numpy as np

    found = read_object(file)
    if not found:
        return []
    shape: tuple[Any, ...] = tuple(found.get(name) for name in ("height", "width", "channels"))
    sides = all(type(size) is int and 0 < size <= MOST_PIXELS for size in shape[:2])
    if not sides or shape[2] not in (1, 3):
        raise damaged(file, f"it says pictures of {shape}")
    kept, photos = mapping(found.get("images")), []
    for place in places:
        if str(place) not in kept:
            return []
        try:
            photo = np.frombuffer(base64.b64decode(str(kept[str(place)]), validate=True), np.uint8).reshape(shape)
        except ValueError as error:
            raise damaged(file, f"picture {place}: {error}") from error
        photos.append(photo)
    return photos


def photo_gallery(photos: list[Any], titles: list[str], ax: "Axes | None" = None) -> "Axes":
    """Pictures `(height, width, channel)` of bytes side by side, each with its title of a line or two.

    >>> import numpy as np
    >>> photo_gallery([np.zeros((4, 6, 1), np.uint8)], ["cat, taken for dog"]).texts[0].get_text()
    'cat, taken for dog'
    """
    ax = axes(ax, gallery_height(len(photos)))
    for place, photo in enumerate(photos):
        left, top = place % ACROSS * 1.0, place // ACROSS * 1.25
        scale = 0.9 / max(photo.shape[:2])
        height, width = photo.shape[0] * scale, photo.shape[1] * scale
        extent = (left + 0.5 - width / 2, left + 0.5 + width / 2, top + 0.45 + height / 2, top + 0.45 - height / 2)
        shown = photo if photo.shape[2] == 3 else photo[:, :, 0]
        ax.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="none", extent=extent)
        below: dict[str, Any] = {"ha": "center", "va": "center", "parse_math": False, "fontsize": 8}
        for line, text in enumerate(titles[place].split("\n")):
            ax.text(left + 0.5, top + 1.0 + 0.14 * line, label(text, 18), **below)
    rows = -(-len(photos) // ACROSS)
    ax.set(xlim=(0, ACROSS), ylim=(rows * 1.25, -0.05), aspect="equal")
    ax.set_axis_off()
    return ax
