r"""CoNLL and CoNLL-U: a word a line with its columns, and a blank line behind every sentence.

Columns are separated by a tab, or by blanks where no line has a tab. CoNLL-U (universaldependencies.org) has ten, the
word's number first: comments begin with `#`, a multiword token (`1-2`) and an empty node (`1.1`) are no words of the
sentence, and are passed over.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.conll_lines import COMMENT, MOST_COLUMNS, Lines, has_tabs, read_lines, read_text, split
from thalweg.data.places import LINE

FORM, UPOS = 2, 4
NOT_TAGGED = "_"


@dataclass(frozen=True)
class Conll:
    """Sentences of a file: `frame` has their words and, if asked for, tags, by the line each begins on.

    Where the file marks documents, the frame's `document` says which a sentence is of. `columns` are those of the words
    and of the tags, counted from 1; of a file without tags that of the tags may be the one behind its last.
    """

    frame: pd.DataFrame
    columns: tuple[int, int]


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
    found = read_lines(*read_text(path))
    width = found.width
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
                f"The {role} are to be in column {column!r}, but {found.name} has {counted(width, 'column')}. Count "
                "from 1."
            )
    if tagged and columns[0] == columns[1]:
        raise RecipeError(f"The tokens and the tags are both to be in column {columns[0]}. Name two different ones.")
    return _framed(found, columns, tagged)


def read_words(path: Any, columns: tuple[int, int]) -> Conll:
    r"""The sentences of a file whose tags are to be predicted, by a model that was trained on these `columns`.

    A file that has not as many may hold words alone, or words behind their numbers; its tags go behind its last column.
    CoNLL-U is read as such in any case. Where the words are in another column than in training, that is said.

    >>> import io
    >>> read_words(io.StringIO("The\ncat\n\n"), (1, 3)).columns
    (1, 2)

    Raises `DataError` for whatever is no such file, with the line.
    """
    found = read_lines(*read_text(path))
    own = columns_of_words(found, columns)
    if own[0] != columns[0]:
        notice(f"{found.name} has its words in column {own[0]}; training had them in column {columns[0]}.")
    return _framed(found, own, tagged=False)


def columns_of_words(found: Lines, trained: tuple[int, int]) -> tuple[int, int]:
    r"""Where a file without tags has its words, and where their tags go, by the columns of training.

    >>> columns_of_words(read_lines("words.conllu", "1 The\n2 cat\n"), (2, 4))
    (2, 3)
    """
    of_words, of_tags = trained
    if found.universal and of_words == 1:
        return FORM, UPOS
    if found.width >= max(trained):
        return trained
    if of_words > found.width or of_words == FORM:
        of_words = 2 if found.numbered else 1
    return of_words, of_tags if of_words < of_tags <= found.width else found.width + 1


def holds_conll(text: str) -> bool:
    r"""Whether the beginning of a file looks like CoNLL: lines of as many cells, sentences with blank lines between.

    >>> holds_conll("The\tDET\ncat\tNOUN\n\nSleep\tVERB\n"), holds_conll("a,b\n1,2\n\n3,4\n")
    (True, False)
    """
    lines = [line for line in text.splitlines()[:500] if not COMMENT.match(line)]
    if not any(not line.strip() for line in lines[1:-1]):
        return False
    tabs = has_tabs(lines)
    widths = Counter(len(split(line, tabs)) for line in lines if line.strip())
    (width, count), *_ = widths.most_common(1) or [(0, 0)]
    return 2 <= width <= MOST_COLUMNS and count >= 0.9 * sum(widths.values())


def _framed(found: Lines, columns: tuple[int, int], tagged: bool) -> Conll:
    held: dict[str, Any] = {"tokens": found.column(columns[0])}
    if tagged:
        held["tags"] = found.column(columns[1])
    if found.documents:
        held["document"] = found.documents
    index = pd.Index([found.lines[begin] for begin in found.begins], name=LINE)
    return Conll(pd.DataFrame(held, index=index), columns)
