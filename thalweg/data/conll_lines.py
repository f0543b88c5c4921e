"""The lines of a file in CoNLL: which are words, which are passed over, and where sentences and documents begin.

A document begins with the comment `# newdoc` of CoNLL-U, which may give its id, or with the line `-DOCSTART-` of the
shared tasks.
"""

import re
from dataclasses import dataclass
from typing import Any

from thalweg.core.errors import DataError
from thalweg.core.wording import counted
from thalweg.data.opening import as_text, open_bytes

UNIVERSAL = 10
MOST_COLUMNS = 10
LONGEST_SENTENCE = 10_000
"""Words of a sentence beyond which a file is taken to lack its blank lines."""
NUMBER = re.compile(r"\d+", re.ASCII)
PASSED_OVER = re.compile(r"\d+-\d+|\d+\.\d+", re.ASCII)
COMMENT = re.compile(r"#\s*[\w:.-]+\s*=|#\s")
"""A comment, unless the line has as many columns as the words: `#` is a word too."""
DOCUMENT = re.compile(r"#\s*newdoc(\s+id\s*=\s*(?P<id>.*\S))?\s*|-DOCSTART-(\s.*)?")
LINE_END = re.compile(r"(\r\n|\r|\n)")


@dataclass(frozen=True)
class Lines:
    """The words of a file: their cells, the line each stands on, counted from 1, and where sentences begin among them.

    `documents` has that of each sentence, and is empty where the file marks none.
    """

    name: str
    cells: list[list[str]]
    lines: list[int]
    begins: list[int]
    documents: list[str]

    @property
    def width(self) -> int:
        """The columns of every line."""
        return len(self.cells[0])

    @property
    def numbered(self) -> bool:
        """Whether the first of several columns numbers the words."""
        return self.width > 1 and all(NUMBER.fullmatch(row[0]) for row in self.cells[:100])

    @property
    def universal(self) -> bool:
        """Whether it is CoNLL-U."""
        return self.width == UNIVERSAL and self.numbered

    def column(self, place: int) -> list[list[str]]:
        """The cells of a column, counted from 1, by sentence.

        Raises `DataError` for an empty one, with its line.
        """
        for cells, line in zip(self.cells, self.lines, strict=True):
            if not cells[place - 1]:
                raise DataError(f"{self.name}, line {line}, has an empty column {place}. Write `_` for what is empty.")
        values = [row[place - 1] for row in self.cells]
        return [values[begin:end] for begin, end in zip(self.begins, [*self.begins[1:], len(values)], strict=True)]


def read_text(path: Any) -> tuple[str, str]:
    """The name and the text of a path, an open file, or "-" for the standard input."""
    name, data = open_bytes(path)
    return name, as_text(name, data)


def read_lines(name: str, text: str) -> Lines:
    r"""The words of a text in CoNLL.

    >>> read_lines("a.conllu", "# newdoc id = b\nThe DET\ncat NOUN\n\nSleep VERB\n")
    Lines(name='a.conllu', cells=[['The', 'DET'], ['cat', 'NOUN'], ['Sleep', 'VERB']], lines=[2, 3, 5], begins=[0, 2],
          documents=['b', 'b'])

    Raises `DataError` for whatever is no such file, with the line.
    """
    lines = LINE_END.split(text)[::2]
    tabs = has_tabs(lines)
    cells: list[list[str]] = []
    numbers: list[int] = []
    begins: list[int] = []
    documents: list[str] = []
    document, marked, begun = f"{name}, line 1", False, False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            begun = False
            continue
        if (mark := DOCUMENT.fullmatch(line)) is not None:
            document, marked = mark["id"] or f"{name}, line {number}", True
            continue
        row = split(line, tabs)
        if COMMENT.match(line) and not (cells and len(row) == len(cells[0])):
            continue
        if PASSED_OVER.fullmatch(row[0]) and len(row) == UNIVERSAL:
            continue
        if cells and len(row) != len(cells[0]):
            raise _uneven(name, number, line, row, numbers[0], len(cells[0]), tabs)
        if not begun:
            begins.append(len(cells))
            documents.append(document)
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
    found = Lines(name, cells, numbers, begins, documents if marked else [])
    _check_numbering(found)
    return found


def has_tabs(lines: list[str]) -> bool:
    r"""Whether tabs separate the columns: where any line has one.

    >>> has_tabs(["# a comment", "The\tDET"])
    True
    """
    return any("\t" in line for line in lines)


def split(line: str, tabs: bool) -> list[str]:
    r"""The cells of a line.

    >>> split("New York\tPROPN", True), split("York   PROPN", False)
    (['New York', 'PROPN'], ['York', 'PROPN'])
    """
    if not tabs:
        return line.split()
    cells = line.split("\t")
    return [cell.strip() for cell in cells] if " " in line else cells


def _check_sentences(name: str, begins: list[int], numbers: list[int]) -> None:
    for begin, end in zip(begins, [*begins[1:], len(numbers)], strict=True):
        if end - begin > LONGEST_SENTENCE:
            none = "has no blank line at all" if len(begins) == 1 else f"has no blank line behind line {numbers[begin]}"
            raise DataError(
                f"{name} {none}, so that {end - begin:,} words would be one sentence. Put a blank line behind every "
                "sentence."
            )


def _check_numbering(found: Lines) -> None:
    """Refuse CoNLL-U whose words are counted anew within what would be one sentence."""
    if not found.universal:
        return
    begins, first = set(found.begins), 1
    for place, (row, line) in enumerate(zip(found.cells, found.lines, strict=True)):
        number = int(row[0]) if NUMBER.fullmatch(row[0]) else None
        if place in begins:
            first = 1 if number is None else number
        elif number is not None and number <= first:
            raise DataError(
                f"{found.name}, line {line}, counts its words from {number} again, so that a sentence begins there, "
                "but no blank line stands before it. Put a blank line behind every sentence."
            )


def _uneven(name: str, number: int, line: str, row: list[str], first: int, width: int, tabs: bool) -> DataError:
    mark = "tabs" if tabs else "blanks"
    return DataError(
        f"{name}, line {number}, has {counted(len(row), 'column')}, where line {first} has {width}: {line[:60]!r}. "
        f"Columns are separated by {mark}; write every one of them, `_` for what is empty, and a blank line between "
        "sentences."
    )
