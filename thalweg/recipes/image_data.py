"""Images in a recipe's settings, and which keys of [data] go with images alone or with tables alone."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from thalweg.core.errors import RecipeError
from thalweg.core.source import Splits
from thalweg.data import ImageOptions, holds_images, load_image_splits
from thalweg.recipes.settings import Settings

IMAGE_KEYS = tuple(item.name for item in fields(ImageOptions))
TABLE_KEYS = ("missing", "weights", "features", "layout")
"""The keys of [data] that are for images alone, and for tables alone."""
DEPTHS = ((48, 2), (96, 3), (192, 4))
"""How many blocks a network has where nothing is said, by the longer side of the images; beyond the last, 5."""


def image_splits(settings: Settings, path: Path, arguments: Mapping[str, Any]) -> Splits | None:
    """The splits of images, None where a path holds no images but a table.

    Raises `RecipeError` for keys that the other kind of data has.
    """
    images = holds_images(path, arguments.get("features") is not None, arguments.get("header", True))
    refuse_keys(settings, str(path), images)
    return load_image_splits(path, **arguments) if images else None


def refuse_keys(settings: Settings, source: str, images: bool) -> None:
    """Refuse the keys of [data] that are for images alone where there are none, and the other way round."""
    for key in TABLE_KEYS if images else IMAGE_KEYS:
        if key in settings["data"]:
            what, other = ("images", "tables") if images else ("a table", "images")
            raise RecipeError(
                f"{settings.place('data', key)}{source} holds {what}, and '{key}' is for {other}. Leave it out."
            )


def depth_for(size: tuple[int, ...]) -> int:
    """The blocks of a network for images of this size.

    >>> depth_for((28, 28)), depth_for((64, 48)), depth_for((224, 224))
    (2, 3, 5)
    """
    return next((depth for side, depth in DEPTHS if max(size) <= side), 5)
