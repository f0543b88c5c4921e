"""Values of thalweg.measure as figures read them: the value itself, or the plain values that its `to_json` gives."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from thalweg.core.errors import DataError
from thalweg.report.drawing import PALETTE
from thalweg.report.wording import number

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

LARGEST = 1e100
COLORS = ("train", "validation", "test", "good")


def plain_of(value: Any) -> Mapping[str, Any]:
    """What a file holds of a value, whether the value or the file's content is given."""
    found = value.to_json() if hasattr(value, "to_json") else value
    if not isinstance(found, Mapping):
        raise DataError(f"A {type(value).__name__} cannot be drawn. Give a value of thalweg.measure, or its to_json().")
    return found


def listed(value: Any, key: str) -> list[Mapping[str, Any]]:
    """The parts under a name; `DataError` where there is none."""
    found = plain_of(value).get(key)
    if not isinstance(found, list) or not found or not all(isinstance(item, Mapping) for item in found):
        raise DataError(f"There are no {key} to draw. Give a value of thalweg.measure, or its to_json().")
    return found


def row_of(holder: Mapping[str, Any], key: str) -> "np.ndarray":
    """Numbers as an array, NaN for what is not finite."""
    import numpy as np

    given = holder.get(key)
    values = given.tolist() if isinstance(given, np.ndarray) else given
    found = np.array([drawable(value) for value in values] if isinstance(values, list | tuple) else [])
    if not found.size or not np.isfinite(found).any():
        raise DataError(
            f"There are no numbers under {key!r} to draw. Give a value of thalweg.measure, or its to_json()."
        )
    return found


def drawable(value: Any) -> float:
    """The number, NaN for what is none, and for one so large that arithmetic with it would overflow.

    >>> drawable(3), drawable(1e200)
    (3.0, nan)
    """
    found = number(value)
    return found if abs(found) < LARGEST else math.nan


def cycled(count: int) -> list[str]:
    """So many colours, over again where they run out."""
    return [PALETTE[COLORS[place % len(COLORS)]] for place in range(count)]


def bare(ax: "Axes") -> "Axes":
    """The axes without a frame above and to the right."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax
