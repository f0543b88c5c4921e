"""Reading: a file as a frame of texts, one column for each name, every cell as it is written.

Nothing is interpreted here: an empty cell is None, anything else the text that the file holds. Which columns are
numbers is decided later (`inference`), where it can be said. The index holds the line each row begins on.
"""

import csv
import io
import re
from collections import Counter
from itertools import chain
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from thalweg.core.errors import DataError
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.notation import PLAIN, is_missing_word
from thalweg.data.opening import as_text, open_bytes
from thalweg.data.places import LINE, listed, where

DELIMITERS = ("\t", ";", "|", ",")
NAMED = {"\t": "a tab", ";": "';'", "|": "'|'", ",": "','"}
SAMPLE = 65_536
BINARY = (".parquet", ".xlsx", ".xls")
"""Endings of files that are no text."""


class Records(NamedTuple):
    """The rows of a file as lists of texts, with the line each begins on."""

    rows: list[list[str]]
    lines: list[int]
    delimiter: str


def read_table(path: Any, *, header: bool = True, header_mend: str | None = None) -> pd.DataFrame:
    r"""A table from CSV, TSV (`,` `;` `|` or tab, found out; also `.gz`) or Parquet; "-" is the standard input.

    Every cell stays the text it is, an empty one is None; Parquet keeps its types. `header=False` names the columns
    c0, c1, and so on. `header_mend` ends the error about a first line that is not what `header` says, where the reader
    cannot choose --no-header.

    >>> read_table(io.StringIO("id,size\n007,1.50\n008,\n")).loc[2].tolist()
    ['007', '1.50']

    Raises `DataError` for whatever is no table, saying what, where, and how to mend it.
    """
    name, data = open_bytes(path)
    if data.startswith(b"PAR1"):
        return _parquet(name, data)
    text = as_text(name, data)
    if (ending := PurePath(name).suffix.lower()) in BINARY:
        raise DataError(
            f"{name} is called {ending}, but holds neither Parquet nor a workbook. If it is text in lines, name it "
            ".csv; else copy or export it again."
        )
    records = read_records(name, text)
    first = [cell.strip() for cell in records.rows[0]]
    body = Records(records.rows[1:], records.lines[1:], records.delimiter) if header else records
    if header and not body.rows:
        raise DataError(
            f"{name} has a header ({listed(first)}) but no rows. A table needs a line for each example below it."
        )
    if header:
        names, body = _fitted(name, first, body)
        _check_widths(name, names, body, "the header")
        _check_names(name, names, body.rows, header_mend)
    else:
        names = [f"c{i}" for i in range(len(first))]
        _check_widths(name, names, body, "the first line")
        _check_no_header(name, first, body.rows, header_mend)
    return _frame(name, names, body)


def read_records(name: str, text: str) -> Records:
    r"""The rows of a text whose cells are separated by the delimiter that is found out.

    >>> read_records("t.csv", 'a;"b; c"\n\nd;e\n')
    Records(rows=[['a', 'b; c'], ['d', 'e']], lines=[1, 3], delimiter=';')

    Raises `DataError` for quotes that do not match, and where all is blank.
    """
    stream = io.StringIO(text, newline=None)
    text = stream.getvalue()
    delimiter, skipped = _delimiter(text), 0
    if given := re.match(r"sep=(.)\n", text):
        delimiter, skipped = given[1], 1
        stream.readline()
    reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True, strict=True)
    rows, lines, begin = [], [], 1
    limit = csv.field_size_limit(len(text) + 1)  # a text of a megabyte is a cell like any other
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(begin + skipped)
            begin = reader.line_num + 1
        if not any(cell.strip() for row in rows for cell in row):
            raise DataError(f"{name} holds no names and no values, only blanks. A table needs a line for each example.")
    except csv.Error as error:
        raise DataError(
            f"{name}, line {begin + skipped}: the quotes do not match ({error}). A cell in quotes ends with a quote "
            'before the next delimiter, and a quote inside it is written twice: "5"" pipe".'
        ) from None
    finally:
        csv.field_size_limit(limit)
    return Records(rows, lines, delimiter)


def _delimiter(text: str) -> str:
    """The delimiter by which most lines of the beginning have as many cells as the first line, and more than one."""
    sample = text[:SAMPLE]
    if len(text) > SAMPLE:
        sample = sample[: sample.rfind("\n") + 1] or sample
    best, best_share = ",", 0.0
    for delimiter in DELIMITERS:
        try:
            rows = [row for row in csv.reader(io.StringIO(sample), delimiter=delimiter, skipinitialspace=True) if row]
        except csv.Error:
            continue
        width = len(rows[0]) if rows else 1
        share = sum(len(row) == width for row in rows) / max(len(rows), 1) if width > 1 else 0.0
        if share > best_share:
            best, best_share = delimiter, share
    return best


def _fitted(name: str, names: list[str], body: Records) -> tuple[list[str], Records]:
    """Without the nameless empty columns that trailing delimiters make."""
    width = len(names)
    rows = [row if len(row) <= width or any(map(str.strip, row[width:])) else row[:width] for row in body.rows]
    while width and not names[width - 1] and not any(row[width - 1].strip() for row in rows if len(row) >= width):
        width -= 1
        rows = [row[:width] if len(row) == width + 1 else row for row in rows]
    named = [cell or f"Unnamed: {i}" for i, cell in enumerate(names[:width])]
    return named, body._replace(rows=rows)


def _check_names(name: str, names: list[str], rows: list[list[str]], mend: str | None) -> None:
    numbers = [cell for cell in names if PLAIN.number(cell) is not None]
    if numbers and not _names_over_numbers(names, rows):
        mend = mend or (
            "If it has no header: --no-header (header=False), and the columns are c0, c1, ... If these are names, put "
            "a letter before each."
        )
        raise DataError(
            f"{name} begins with a line of numbers ({listed(numbers, 4)}) where the names of the columns should be. "
            f"{mend}"
        )
    if repeated := [cell for cell, count in Counter(names).items() if count > 1]:
        places = [str(i) for i, cell in enumerate(names, 1) if cell == repeated[0]]
        raise DataError(
            f"{name} has several columns of one name: {listed(repeated)} ('{repeated[0]}' is column "
            f"{' and '.join(places)}). Every column needs its own name: rename them in the first line. "
            f"{mend or 'If the first line is an example already: --no-header (header=False).'}"
        )


def _check_no_header(name: str, first: list[str], rows: list[list[str]], mend: str | None) -> None:
    if len(rows) > 2 and not any(PLAIN.number(cell) is not None for cell in first):
        over = _names_over_numbers(first, rows[1:])
        if 2 * len(over) >= len(first):
            raise DataError(
                f"{name} begins with a line of names ({listed(first, 4)}) above numbers, but it was to be read without "
                f"a header. {mend or 'Leave off --no-header (header=False).'}"
            )


def _names_over_numbers(names: list[str], rows: list[list[str]], sample: int = 20) -> list[str]:
    """The texts of the first line that stand over columns of numbers: a sign that they are names."""
    found = []
    for i, cell in enumerate(names):
        if not re.search(r"[^\W\d]", cell) or is_missing_word(cell) or PLAIN.number(cell) is not None:
            continue
        below = [row[i].strip() for row in rows[:sample] if i < len(row) and row[i].strip()]
        if below and all(PLAIN.number(text) is not None for text in below):
            found.append(cell)
    return found


def _check_widths(name: str, names: list[str], body: Records, first: str) -> None:
    wrong = [i for i, row in enumerate(body.rows) if len(row) != len(names)]
    if not wrong:
        return
    row, line = body.rows[wrong[0]], body.lines[wrong[0]]
    others = f" ({len(wrong):,} such rows)" if len(wrong) > 1 else ""
    delimiter = NAMED.get(body.delimiter, repr(body.delimiter))
    mend = f"Cells are separated by {delimiter}: put quotes around a cell that holds one, and write empty cells too."
    if len(wrong) == len(body.rows) > 1 and len({len(row) for row in body.rows}) == 1:
        mend = (
            f"All rows have {len(row)}: give every column a name, or, if line 1 is a title or a comment, take away "
            "what is above the header."
        )
    have, due = counted(len(row), "cell"), counted(len(names), "cell")
    raise DataError(
        f"{name}, line {line}, has {have}, where {first} has {due}{others}: {body.delimiter.join(row)[:80]!r}. {mend}"
    )


def _frame(name: str, names: list[str], body: Records) -> pd.DataFrame:
    count, width = len(body.rows), len(names)
    cells = np.fromiter(chain.from_iterable(body.rows), dtype=object, count=count * width).reshape(count, width)
    cells = np.ascontiguousarray(cells.T)
    cells[cells == ""] = None
    index = pd.Index(np.array(body.lines), name=LINE)
    frame = pd.DataFrame(cells.T, index=index, columns=pd.Index(names, dtype=object), dtype=object)
    empty = np.array(frame.isna().all(axis=1), dtype=bool)
    if not empty.any():
        return frame
    if empty.all():
        raise DataError(
            f"{name} has {counted(count, 'row')}, but no cell holds a value. A table needs a line for each example."
        )
    notice(f"{name}: {counted(int(empty.sum()), 'row')} without any value left out ({where(index, empty)}).")
    return frame[~empty]


def _parquet(name: str, data: bytes) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(io.BytesIO(data))
    except ImportError:
        raise DataError(
            f"{name} is a Parquet file, which needs pyarrow to be read: pip install pyarrow, or save it as CSV."
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{name} is a damaged Parquet file ({error}). Copy or write it again.") from None
    if any(level is not None for level in frame.index.names):
        frame = frame.reset_index()
    if frame.empty:
        raise DataError(f"{name} has columns ({listed(list(map(str, frame.columns)))}) but no rows.")
    return frame.rename(columns=str)
