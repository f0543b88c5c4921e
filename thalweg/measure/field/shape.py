"""The shape of one image, checked."""

from typing import Any

from thalweg.core.errors import RecipeError

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def as_input_shape(shape: Any) -> tuple[int, ...]:
    """(channels, height, width), or with one or three axes; `RecipeError` for anything else.

    >>> as_input_shape([3, 32, 32])
    (3, 32, 32)
    """
    sides = tuple(shape) if isinstance(shape, list | tuple) else ()
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides)
    if not whole or not 2 <= len(sides) <= 4:
        raise RecipeError(
            f"input_shape={shape!r}, but it is the shape of one image without the batch: (channels, height, width), "
            "all whole numbers from 1 on. Give for instance (3, 32, 32)."
        )
    return sides
