"""Examples as the checks of data read them."""

from typing import Any

from thalweg.core.convert import as_source
from thalweg.core.source import Source
from thalweg.diagnosis.checks.data_rows import Rows, read_rows


def rows_of(x: Any, y: Any, split: str = "train") -> Rows:
    """The examples of a split as rows."""
    return rows_in(as_source((x, y), split), split)


def rows_in(source: Source, split: str) -> Rows:
    """The same of a source."""
    rows = read_rows(source, split)
    assert rows is not None
    return rows
