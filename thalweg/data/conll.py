r"""CoNLL and CoNLL-U: a word a line with its columns, and a blank line behind every sentence.

Columns are separated by a tab, or by blanks where no line has a tab. CoNLL-U (universaldependencies.org) has ten, the
word's number first: comments begin with `#`, a multiword token (`1-2`) and an empty node (`1.1`) are no words of the
sentence, and are passed over.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.wording import counted
from thalweg.data.opening import as_text, open_bytes
from thalweg.data.places import LINE

UNIVERSAL = 10
FORM, UPOS = 2, 4
MOST_COLUMNS = 10
LONGEST_SENTENCE = 10_000
"""Words of a sentence beyond which a file is taken to lack its blank lines."""
NUMBER = re.compile(r"\d+", re.ASCII)
PASSED_OVER = re.compile(r"\d+-\d+|\d+\.\d+", re.ASCII)
COMMENT = re.compile(r"#\s*[\w:.-]+\s*=|#\s")
"""A comment, unless the line has as many columns as the words: `#` is a word too."""
NOT_TAGGED = "_"


@dataclass(frozen=True)
class Conll:
    """Sentences of a file: `frame` has their words and, if asked for, tags, by the line each begins on.

    `columns` are those of the words and of the tags, counted from 1.
    """

    frame: pd.DataFrame
    columns: tuple[int, int]


@dataclass(frozen=True)
class _Lines:
    """The words of a file: their cells, the line each stands on, and where sentences begin among them."""

    name: str
    cells: list[list[str]]
    lines: list[int]
    begins: list[int]
    universal: bool


def read_conll(path: Any, *, tokens: int | None = None, tags: int | None = None, tagged: bool = True) -> Conll:
    r"""The sentences of a file in CoNLL or CoNLL-U (also `.gz`): a path, "-", or an open file.

    `tokens` is the column of the words, counted from 1: by default the second in CoNLL-U, else the first; `tags` that
    of their tags: the fourth (UPOS) in CoNLL-U, else the last. With `tagged=False` no tags are read, and a file may
    hold words alone.

    >>> import io
    >>> read_conll(io.StringIO("The DET\ncat NOUN\n\nSleep VERB\n")).frame
               tokens         tags
    line
    1      [The, cat]  [DET, NOUN]
    4         [Sleep]       [VERB]

    Raises `DataError` for whatever is no such file, with the line, and `RecipeError` for columns that cannot be.
    """
    found = _read(path)
    width = len(found.cells[0])
    if tagged and width < 2:
        raise DataError(
            f"{found.name} has one column, in line {found.lines[0]} {found.cells[0][0]!r}, but words to learn from "
            "have their tag beside them: 2 to 10 columns, separated by tabs or blanks."
        )
    usual = (FORM, UPOS) if found.universal else (1, width)
    columns = (usual[0] if tokens is None else tokens, usual[1] if tags is None else tags)
    for role, column in (("tokens", columns[0]), ("tags", columns[1])):
        if (tagged or role == "tokens") and not (type(column) is int and 1 <= column <= width):
            raise RecipeError(
                f"{role}={column!r} is no column of {found.name}, which has {counted(width, 'column')}. Count from 1."
            )
    if tagged and columns[0] == columns[1]:
        raise RecipeError(f"tokens={columns[0]} and tags={columns[1]} are one column. Name two different ones.")
    held = {"tokens": _column(found, columns[0])}
    if tagged:
        held["tags"] = _column(found, columns[1])
    index = pd.Index([found.lines[begin] for begin in found.begins], name=LINE)
    return Conll(pd.DataFrame(held, index=index), columns)


def holds_conll(text: str) -> bool:
    r"""Whether the beginning of a file looks like CoNLL: lines of as many cells, sentences with blank lines between.

    >>> holds_conll("The\tDET\ncat\tNOUN\n\nSleep\tVERB\n"), holds_conll("a,b\n1,2\n\n3,4\n")
    (True, False)
    """
    lines = [line for line in text.splitlines()[:500] if not COMMENT.match(line)]
    if not any(not line.strip() for line in lines[1:-1]):
        return False
    tabs = any("\t" in line for line in lines)
    widths = Counter(len(_split(line, tabs)) for line in lines if line.strip())
    (width, count), *_ = widths.most_common(1) or [(0, 0)]
    return 2 <= width <= MOST_COLUMNS and count >= 0.9 * sum(widths.values())


def _read(path: Any) -> _Lines:
    name, data = open_bytes(path)
    lines = as_text(name, data).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    tabs = any("\t" in line for line in lines)
    cells: list[list[str]] = []
    numbers: list[int] = []
    begins: list[int] = []
    begun = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            begun = False
            continue
        row = _split(line, tabs)
        if COMMENT.match(line) and not (cells and len(row) == len(cells[0])):
            continue
        if PASSED_OVER.fullmatch(row[0]) and len(row) == UNIVERSAL:
            continue
        if row[0] == "-DOCSTART-":
            continue
        if cells and len(row) != len(cells[0]):
            raise _uneven(name, number, line, row, numbers[0], len(cells[0]), tabs)
        if not begun:
            begins.append(len(cells))
            begun = True
        cells.append(row)
        numbers.append(number)
    if not cells:
        raise DataError(f"{name} holds no word, only comments and blank lines. A word stands in a line with its tag.")
    if len(cells[0]) > MOST_COLUMNS:
        raise DataError(
            f"{name}, line {numbers[0]}, has {len(cells[0])} columns, but CoNLL has 2 to {MOST_COLUMNS}: "
            f"{lines[numbers[0] - 1][:60]!r}. If it is a table, name its --target; if these are running words, put one "
            "in a line."
        )
    _check_sentences(name, begins, numbers)
    universal = len(cells[0]) == UNIVERSAL and all(NUMBER.fullmatch(row[0]) for row in cells[:100])
    return _Lines(name, cells, numbers, begins, universal)


def _check_sentences(name: str, begins: list[int], numbers: list[int]) -> None:
    for begin, end in zip(begins, [*begins[1:], len(numbers)], strict=True):
        if end - begin > LONGEST_SENTENCE:
            none = "has no blank line at all" if len(begins) == 1 else f"has no blank line behind line {numbers[begin]}"
            raise DataError(
                f"{name} {none}, so that {end - begin:,} words would be one sentence. Put a blank line behind every "
                "sentence."
            )


def _split(line: str, tabs: bool) -> list[str]:
    if not tabs:
        return line.split()
    cells = line.split("\t")
    return [cell.strip() for cell in cells] if " " in line else cells


def _uneven(name: str, number: int, line: str, row: list[str], first: int, width: int, tabs: bool) -> DataError:
    mark = "tabs" if tabs else "blanks"
    return DataError(
        f"{name}, line {number}, has {counted(len(row), 'column')}, where line {first} has {width}: {line[:60]!r}. "
        f"Columns are separated by {mark}; write every one of them, `_` for what is empty, and a blank line between "
        "sentences."
    )


def _column(found: _Lines, column: int) -> list[list[str]]:
    for cells, line in zip(found.cells, found.lines, strict=True):
        if not cells[column - 1]:
            raise DataError(f"{found.name}, line {line}, has an empty column {column}. Write `_` for what is empty.")
    values = [row[column - 1] for row in found.cells]
    return [values[begin:end] for begin, end in zip(found.begins, [*found.begins[1:], len(values)], strict=True)]
