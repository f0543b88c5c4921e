"""Sources without targets, to predict from: lines of a file, a column of a table, a key of JSONL, a list of texts."""

from pathlib import Path
from typing import Any

import pandas as pd

from thalweg.core.errors import DataError, did_you_mean
from thalweg.data.cells import as_cells, as_texts
from thalweg.data.conll_lines import read_lines, read_text
from thalweg.data.dependency_brackets import is_conllu, sentences_in
from thalweg.data.opening import decoded, open_bytes
from thalweg.data.pair_columns import unnamed
from thalweg.data.pair_lines import (
    cells_in,
    check_there,
    frame_of_cells,
    frame_of_objects,
    json_objects,
    lines_of,
    numbered,
    texts_in,
)
from thalweg.data.places import listed
from thalweg.data.reading import read_table
from thalweg.data.table import named

NEEDED = "There is nothing to predict from: give a source in each line."


def read_sources(data: Any, column: str) -> pd.DataFrame:
    r"""The lines of a file, each a source, or the column of this name of a table or of JSONL; None where it is empty.

    A table is a frame, or a file called .csv, .tsv, .tab or .parquet; JSONL one called .jsonl or .ndjson; a list holds
    texts, and CoNLL-U the words of its sentences. All else is lines, and tabs are blanks in them.

    >>> import io
    >>> read_sources(io.StringIO("a house\n\n2 tabs\t\tin it\n"), "source")["source"].tolist()
    ['a house', None, '2 tabs\t\tin it']

    Raises `DataError` for files that cannot be read, and for a table without this column.
    """
    if isinstance(data, pd.DataFrame):
        return _of_table(named(data), column, "The frame")
    if isinstance(data, list | tuple):
        return _of_list(list(data), column)
    check_there(data)
    if is_conllu(data):
        return sentences_in(read_lines(*read_text(data)), column)
    name, content = open_bytes(data, NEEDED)
    ending = Path(name.removesuffix(".gz")).suffix.lower()
    if content.startswith(b"PAR1"):
        return _of_table(read_table(data), column, name)
    written = decoded(name, content)
    if ending in (".jsonl", ".ndjson"):
        return _of_table(frame_of_objects(*json_objects(name, written)), column, name)
    if ending in (".csv", ".tsv", ".tab"):
        return _of_cells(name, written, column)
    lines = lines_of(written)
    return pd.DataFrame({column: texts_in(lines)}).set_axis(numbered(len(lines)))


def numbered_sources(texts: list[str], column: str, before: int = 0) -> pd.DataFrame:
    """Lines as a table of sources that knows their numbers, of which so many came `before`.

    >>> numbered_sources(["a", ""], "source", before=4).index.tolist()
    [5, 6]
    """
    return pd.DataFrame({column: texts}, dtype=object).set_axis(numbered(before + len(texts))[before:])


def _of_list(texts: list[Any], column: str) -> pd.DataFrame:
    if wrong := [one for one in texts if not isinstance(one, str)]:
        raise DataError(f"{wrong[0]!r} is no text but {type(wrong[0]).__name__}. Give a list of texts.")
    if not texts:
        raise DataError("The list is empty. Give a text for each prediction.")
    return pd.DataFrame({column: texts_in(texts)})


def _of_cells(name: str, written: str, column: str) -> pd.DataFrame:
    """A table whose first line names the column, or without one: as it stood in such a table of pairs, else first."""
    records = cells_in(name, written)
    first = [cell.strip() for cell in records.rows[0]]
    header = column in first
    names = first if header else unnamed(len(first))
    if column not in names:
        names[0] = column
    return frame_of_cells(name, names, records, skipped=header)


def _of_table(frame: pd.DataFrame, column: str, name: str) -> pd.DataFrame:
    if len(frame.columns) == 1:
        frame = frame.set_axis([column], axis=1)
    if column not in frame.columns:
        near = did_you_mean(column, map(str, frame.columns))
        raise DataError(
            f"{name} lacks '{column}', which the model was trained on; it has "
            f"{listed(list(map(str, frame.columns)))}. Call its sources so.{near if near.startswith(' Did') else ''}"
        )
    return frame.assign(**{column: texts_in(as_texts(as_cells(frame[column])), frame.index)})
