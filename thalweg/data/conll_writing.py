"""Predictions written back as CoNLL: the file as it was, with the column of tags replaced."""

import codecs
import re
from collections.abc import Sequence
from typing import Any

from thalweg.core.errors import DataError
from thalweg.data.conll import NOT_TAGGED, columns_of_words
from thalweg.data.conll_lines import LINE_END, has_tabs, read_lines
from thalweg.data.opening import as_text, open_bytes

CELL = re.compile(r"\S+")


def retagged(path: Any, tags: Sequence[str | None], columns: tuple[int, int]) -> bytes:
    r"""A file with other tags, one for each of its words, and all else byte by byte as it was.

    Comments, multiword tokens, empty nodes, other columns, blanks and line ends stay. `columns` are those of the words
    and the tags in training (`read_words`); a file that has no column of tags gets one behind its last. No tag, None,
    is written `_`. A file that was packed is unpacked.

    >>> import io
    >>> file = io.StringIO("# text = the cat\nthe  _ x\ncat  _ x\n\n")
    >>> retagged(file, ["DET", "NOUN"], (1, 2)).decode()
    '# text = the cat\nthe  DET x\ncat  NOUN x\n\n'

    Raises `DataError` for whatever is no such file, and where tags and words differ in number.
    """
    name, data = open_bytes(path)
    text = as_text(name, data)
    found = read_lines(name, text)
    if len(tags) != len(found.lines):
        raise DataError(f"There are {len(tags)} tags for the {len(found.lines)} words of {name}. Give one for each.")
    _, column = columns_of_words(found, columns)
    parts = LINE_END.split(text)  # lines, and between them their ends
    tabs = has_tabs(parts[::2])
    for line, tag in zip(found.lines, tags, strict=True):
        at = 2 * (line - 1)
        parts[at] = _with_tag(parts[at], tag or NOT_TAGGED, column, found.width, tabs)
    return _encoded("".join(parts), data)


def _with_tag(line: str, tag: str, column: int, width: int, tabs: bool) -> str:
    """A line with another cell in a column, or with one more behind its last."""
    if column > width:
        bare = line.rstrip(" ")
        return bare + ("\t" if tabs or width == 1 else " ") + tag + line[len(bare) :]
    if tabs:
        cells = line.split("\t")
        return "\t".join([*cells[: column - 1], tag, *cells[column:]])
    begin, end = [cell.span() for cell in CELL.finditer(line)][column - 1]
    return line[:begin] + tag + line[end:]


def _encoded(text: str, data: bytes) -> bytes:
    """A text in the encoding of the data that it was read from, with their byte order mark."""
    marks = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
    mark, encoding = next(((m, e) for m, e in marks.items() if data.startswith(m)), (b"", "utf-8"))
    return mark + text.encode(encoding)
