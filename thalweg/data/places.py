"""Where in a table: the lines of a file, or the rows of a frame, that a message is about."""

import numpy as np
import pandas as pd
from jaxtyping import Bool

LINE = "line"
"""The name of the index of a table that was read from text: it holds the line of the file each row begins on."""


def where(index: pd.Index, mask: Bool[np.ndarray, " row"], limit: int = 5) -> str:
    """The marked rows in words, by their line in the file where it is known.

    >>> where(pd.Index([2, 3, 5], name="line"), np.array([True, False, True]))
    'lines 2 and 5'
    >>> where(pd.RangeIndex(9), np.arange(9) > 2, limit=2)
    'rows 3, 4 and 4 more'
    """
    word = "line" if index.name == LINE else "row"
    marked = [str(place) for place in index[mask]]
    if len(marked) == 1:
        return f"{word} {marked[0]}"
    listed = marked[:limit]
    if len(marked) > limit:
        return f"{word}s {', '.join(listed)} and {len(marked) - limit:,} more"
    return f"{word}s {', '.join(listed[:-1])} and {listed[-1]}"


def each_place(index: pd.Index) -> list[str]:
    """Every row in words, by its line in the file where it is known.

    >>> each_place(pd.Index([2, 3], name="line")), each_place(pd.RangeIndex(1))
    (['line 2', 'line 3'], ['row 0'])
    """
    word = "line" if index.name == LINE else "row"
    return [f"{word} {place}" for place in index]


def listed(names: list[str], limit: int = 8) -> str:
    """Names in quotes, the first few of many.

    >>> listed(["a", "b", "c"], limit=2)
    "'a', 'b' and 1 more"
    """
    shown = ", ".join(f"'{name}'" for name in names[:limit])
    return f"{shown} and {len(names) - limit:,} more" if len(names) > limit else shown
