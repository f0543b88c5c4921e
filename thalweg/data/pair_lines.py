r"""Lines that hold pairs: cells between tabs, JSON objects, and where a line ends.

A line ends with LF or CR LF and with nothing else, so that a form feed or U+2028 inside a sentence moves no line of a
parallel file. Between tabs quotes are text, for sentences have them; only a cell that is quoted as a whole, with every
quote inside it doubled, is what a spreadsheet wrote, and is read as one reads it.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from thalweg.core.errors import DataError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.places import LINE, listed
from thalweg.data.reading import NAMED, Records, read_records
from thalweg.data.word_splitting import ALONE

TAB = "\t"
QUOTED = re.compile(r'"((?:[^"]|"")*)"')
SHOWN = 60
"""Characters of a line that an error shows."""
NEEDED = "Pairs need a line for each, with a tab between source and target."


def lines_of(text: str) -> list[str]:
    r"""The lines of a text; CR alone ends them only where there is no LF at all.

    >>> lines_of("a\r\nb\x0cc\u2028d\n")
    ['a', 'b\x0cc\u2028d']
    """
    if "\n" not in text:
        text = text.replace("\r", "\n")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def texts_in(cells: Sequence[Any], index: pd.Index | None = None) -> "pd.Series[Any]":
    """Texts without blanks at their ends, None for what is missing.

    >>> texts_in([" a b ", "", None]).tolist()
    ['a b', None, None]
    """
    return pd.Series([(cell or "").strip() or None for cell in cells], dtype=object, index=index)


def numbered(count: int) -> pd.Index:
    """The numbers of lines, from 1.

    >>> numbered(2).tolist()
    [1, 2]
    """
    return pd.Index(range(1, count + 1), name=LINE)


def lined(numbers: Iterable[int]) -> pd.Index:
    """Some numbers of lines, from 1, as rows are called.

    >>> lined([3, 5]).name
    'line'
    """
    return pd.Index(list(numbers), name=LINE, dtype=int)


def cells_in(name: str, text: str) -> Records:
    r"""The cells of each line: between tabs, else of CSV; empty lines are left out, which is said.

    CSV without a tab is what is called .csv, or has as many cells in every line; else a line is one cell.

    >>> cells_in("t.tsv", 'a "b"\t"c ""d"" e"\n\nf\tg\n')
    Records(rows=[['a "b"', 'c "d" e'], ['f', 'g']], lines=[1, 3], delimiter='\t')

    Raises `DataError` for a file called .csv whose quotes do not match, and where all is blank.
    """
    if TAB not in text and (records := _csv(name, text)):
        return records
    rows, lines, empty = [], [], []
    for number, line in enumerate(lines_of(text), 1):
        if not line.strip():
            empty.append(number)
            continue
        rows.append([_unquoted(cell.strip()) for cell in line.split(TAB)])
        lines.append(number)
    if not rows:
        raise DataError(f"{name} holds no text, only blanks. {NEEDED}")
    if empty:
        notice(f"{name}: {counted(len(empty), 'empty line')} left out, the first of them line {empty[0]}.")
    return Records(rows, lines, TAB)


def _csv(name: str, text: str) -> Records | None:
    if Path(name.removesuffix(".gz")).suffix.lower() == ".csv":
        return read_records(name, text)
    try:
        records = read_records(name, text)
    except DataError:
        return None
    widths = {len(row) for row in records.rows}
    return records if len(widths) == 1 and min(widths) > 1 else None


def frame_of_cells(name: str, names: Sequence[str], records: Records, skipped: bool) -> pd.DataFrame:
    r"""The rows under their names, without the first where it is `skipped`; empty cells behind the last name are none.

    >>> records = Records([["a", "b"], ["c", "", ""]], [1, 4], "\t")
    >>> frame_of_cells("t.tsv", ["en", "de"], records, skipped=False).loc[4].tolist()
    ['c', None]

    Raises `DataError` for a row with too many or too few cells, with its line, and where there are none.
    """
    rows, lines, width = records.rows[int(skipped) :], records.lines[int(skipped) :], len(names)
    if not rows:
        raise DataError(f"{name} has a header ({listed(list(names))}) but nothing below it. {NEEDED}")
    for row, line in zip(rows, lines, strict=True):
        if len(row) < width or any(cell.strip() for cell in row[width:]):
            mark = NAMED.get(records.delimiter, records.delimiter)
            quotes = "" if records.delimiter == TAB else ", and quotes around a cell that holds one"
            raise DataError(
                f"{name}, line {line}, has {counted(len(row), 'cell')}, where line {records.lines[0]} has {width}: "
                f"{records.delimiter.join(row)[:SHOWN]!r}. Between cells stands {mark}{quotes}: take out what is too "
                "much, and leave a missing text empty."
            )
    columns = {column: texts_in([row[i] for row in rows]) for i, column in enumerate(names)}
    return pd.DataFrame(columns).set_axis(pd.Index(lines, name=LINE))


def json_objects(name: str, text: str) -> tuple[list[dict[str, Any]], list[int]]:
    r"""The objects of JSONL and the line each stands on; `{"translation": {...}}` is what it holds.

    >>> json_objects("t.jsonl", '{"en": "a"}\n\n{"translation": {"en": "b"}}\n')
    ([{'en': 'a'}, {'en': 'b'}], [1, 3])

    Raises `DataError` for a line that is no object, and for a document of several lines.
    """
    objects, lines = [], []
    for number, line in enumerate(lines_of(text), 1):
        if not line.strip():
            continue
        try:
            read = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _no_json(name, number, line, str(error), text) from None
        if isinstance(read, dict) and len(read) == 1 and isinstance(inner := next(iter(read.values())), dict):
            read = inner
        if not isinstance(read, dict) or not read:
            raise _no_json(name, number, line, f"it is {type(read).__name__}", text)
        objects.append({key: _whole(value) for key, value in read.items()})
        lines.append(number)
    return objects, lines


def frame_of_objects(objects: list[dict[str, Any]], lines: list[int]) -> pd.DataFrame:
    """The keys of the first object as columns.

    >>> frame_of_objects([{"en": "a"}, {"de": "b"}], [1, 3])["en"].tolist()
    ['a', None]
    """
    columns = {key: pd.Series([one.get(key) for one in objects], dtype=object) for key in objects[0]}
    return pd.DataFrame(columns).set_axis(pd.Index(lines, name=LINE))


def check_there(path: Any) -> None:
    """Refuse a folder, and a file that is not there, with the one of its folder that is called alike.

    >>> check_there("nowhere/train.en")
    Traceback (most recent call last):
    thalweg.core.errors.DataError: There is no file nowhere/train.en. Paths count from ...

    Raises `DataError`.
    """
    if not isinstance(path, str | Path) or str(path) == "-":
        return
    place = Path(path).expanduser()
    if place.is_dir():
        raise DataError(
            f"{path} is a folder, and pairs are files. Name them: data.source=FILE, and data.target=FILE where the "
            "targets have one of their own; data.validation and data.test likewise. It holds "
            f"{_some(beside(place / 'any'))}."
        )
    if not place.exists():
        near = did_you_mean(place.name, beside(path)) if beside(path) else f" Paths count from {Path.cwd()}."
        raise DataError(f"There is no file {path}.{near}")


def beside(path: Any) -> list[str]:
    """The names of the files in the folder of a path.

    >>> beside("nowhere/train.en")
    []
    """
    try:
        return sorted(one.name for one in Path(path).expanduser().parent.iterdir() if one.is_file())
    except OSError:
        return []


def _some(names: list[str]) -> str:
    return listed(names, 5) if names else "no file"


def _unquoted(cell: str) -> str:
    found = QUOTED.fullmatch(cell)
    return found[1].replace('""', '"') if found and '""' in found[1] else cell


def _whole(value: Any) -> Any:
    """A text without halves of surrogate pairs, which no file can hold; anything else as it is."""
    return ALONE.sub("\ufffd", value) if isinstance(value, str) else value


def _no_json(name: str, number: int, line: str, reason: str, text: str) -> DataError:
    mend = 'Write one object in a line: {"source": "...", "target": "..."}.'
    try:
        json.loads(text)
        mend = "The file is one JSON document: write its objects a line each (jq -c '.[]' FILE > new.jsonl)."
    except (ValueError, RecursionError):
        pass
    return DataError(f"{name}, line {number}, is no JSON object ({reason}): {line[:SHOWN]!r}. {mend}")
