"""Examples as the checks of data read them."""

from typing import Any

from thalweg.core.convert import as_source
from thalweg.diagnosis.checks.data_rows import Rows, read_rows


def rows_of(x: Any, y: Any, split: str = "train") -> Rows:
    """The examples of a split as rows."""
    rows = read_rows(as_source((x, y), split), split)
    assert rows is not None
    return rows
