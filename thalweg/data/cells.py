"""Cells: a column of a table as texts or numbers, and what is missing in it.

A table that was read from text stays text until a column is asked for its numbers, so that nothing is changed on the
way: `007` stays `007`, and `NA` is Namibia in a column of countries.
"""

from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from thalweg.data.notation import PLAIN, Notation, has_codes, is_missing_word

Cells = Any
"""A NumPy array of numbers, or a list with a text (stripped, not empty) or None for each row."""

PLAIN_LETTERS = b"0123456789.+-eE\n"


class Numbers(NamedTuple):
    """A column as numbers: `value` is NaN where the cell is `missing`, or is `text` that writes no number."""

    value: Float[np.ndarray, " row"]
    missing: Bool[np.ndarray, " row"]
    text: Bool[np.ndarray, " row"]


def as_cells(column: "pd.Series[Any]") -> Cells:
    """A column of any type as an array of numbers, or as a list of texts with None for what is missing.

    >>> as_cells(pd.Series([" a", "", None])), as_cells(pd.Series([1, 2]))
    (['a', None, None], array([1, 2]))
    """
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        return column.to_numpy()
    values = column.to_numpy(dtype=object)
    return [(cell.strip() or None) if type(cell) is str else _text(cell) for cell in values]


def as_numbers(cells: Cells, notation: Notation = PLAIN) -> Numbers:
    """The numbers that a column writes.

    >>> as_numbers(["1", "NA", None, "x"])
    Numbers(value=array([ 1., nan, nan, nan]), missing=array([False,  True,  True, False]), text=...)
    """
    if isinstance(cells, np.ndarray):
        value = cells.astype(np.float64)
        return Numbers(value, np.isnan(value), np.zeros(len(value), dtype=bool))
    written = [cell for cell in cells if cell is not None]
    missing = np.array([cell is None for cell in cells], dtype=bool)
    value = np.full(len(cells), np.nan)
    plain = _plain(written) if notation == PLAIN else None
    if plain is not None:
        value[~missing] = plain
        return Numbers(value, missing, np.zeros(len(cells), dtype=bool))
    number = {cell: notation.number(cell) for cell in set(written)}
    missing |= np.array([cell is not None and number[cell] is None and is_missing_word(cell) for cell in cells], bool)
    value[:] = [np.nan if cell is None or number[cell] is None else number[cell] for cell in cells]
    return Numbers(value, missing, np.isnan(value) & ~missing)


def as_texts(cells: Cells) -> list[str | None]:
    """A column as texts, None where missing; numbers as they are written in a file.

    >>> as_texts(np.array([1.0, 2.5, np.nan]))
    ['1', '2.5', None]
    """
    if not isinstance(cells, np.ndarray):
        return cast(list[str | None], cells)
    values = cells.tolist()
    return [None if v != v else str(int(v)) if float(v).is_integer() else str(v) for v in values]


def missing_cells(cells: Cells) -> Bool[np.ndarray, " row"]:
    """Which cells are empty.

    >>> missing_cells(["a", None]).tolist(), missing_cells(np.array([1.0, np.nan])).tolist()
    ([False, True], [False, True])
    """
    if isinstance(cells, np.ndarray):
        return np.isnan(cells.astype(np.float64))
    return np.array([cell is None for cell in cells], dtype=bool)


def distinct(cells: Cells) -> list[Any]:
    """The different values of a column, without missing ones: numbers, or texts in the order of first appearance.

    >>> distinct(["b", None, "a", "b"]), distinct(np.array([2, 1, 2]))
    (['b', 'a'], [1, 2])
    """
    if isinstance(cells, np.ndarray):
        return np.unique(cells[~missing_cells(cells)]).tolist()
    return list(dict.fromkeys(cell for cell in cells if cell is not None))


def are_codes(cells: Cells, numbers: Numbers) -> bool:
    """Whether all numbers are whole and some are written with leading zeros, as codes are, and quantities never.

    >>> are_codes(["01067", "80331"], as_numbers(["01067", "80331"]))
    True
    """
    if isinstance(cells, np.ndarray):
        return False
    number = numbers.value[~np.isnan(numbers.value)]
    if not (number == np.floor(number)).all():
        return False
    return has_codes("\n".join(cell for cell in cells if cell is not None))


def _plain(written: list[str]) -> Float[np.ndarray, " row"] | None:
    """All the texts as plain numbers, fast; None where some is none."""
    if "\n".join(written).encode().translate(None, PLAIN_LETTERS):
        return None
    try:
        return np.array([float(text) for text in written], dtype=np.float64)
    except ValueError:
        return None


def _text(cell: Any) -> str | None:
    missing = cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and cell != cell)
    return None if missing else str(cell).strip() or None
