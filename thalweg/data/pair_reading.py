"""Pairs of texts from files: two columns of TSV or CSV, keys of JSONL, parallel files, a dictionary, CoNLL-U.

In a file that has a tab, cells stand between tabs, and quotes are text; else it is CSV. A file of JSON objects is known
by its first sign, a dictionary by its sounds (`pronunciations`).
"""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.cells import as_cells, as_texts
from thalweg.data.dependency_brackets import NAMES as TREES
from thalweg.data.dependency_brackets import bracketed_sentences, is_conllu
from thalweg.data.opening import as_text, decoded, open_bytes
from thalweg.data.pair_columns import SIDES, Names, choose_columns, is_header, say_header, unnamed
from thalweg.data.pair_lines import (
    NEEDED,
    SHOWN,
    beside,
    cells_in,
    check_there,
    frame_of_cells,
    frame_of_objects,
    json_objects,
    lines_of,
    numbered,
    texts_in,
)
from thalweg.data.places import listed, where
from thalweg.data.pronunciations import NAMES as SPOKEN
from thalweg.data.pronunciations import holds_pronunciations, read_pronunciations
from thalweg.data.reading import Records, read_table
from thalweg.data.table import named

BLANKS = b"\xef\xbb\xbf \t\r\n"
PARTS = re.compile(r"([/\\._-])")
"""What separates the parts of a path: `data/train.en.gz` and `data/train.de.gz` differ in one of them."""


def read_pairs(
    source: Any,
    target: Any = None,
    *,
    text: str | int | None = None,
    header: bool | None = None,
    prefer: Names | None = None,
) -> tuple[pd.DataFrame, Names]:
    r"""The pairs as they were read, and the columns of source and target among what stands beside them.

    `source` is a path, "-", an open file or a frame; `target` a second file whose lines belong to those of the first,
    or the column (key) of the targets, as `text` is that of the sources: by its name, or its place from 0. Without
    them there are two columns, the source first. `header` says whether the first line names them; None finds out.
    Columns called as `prefer` are taken where nothing is named. A missing text is None.

    >>> import io
    >>> frame, names = read_pairs(io.StringIO("house\tHaus\ntree\tBaum\n"))
    >>> names, frame.loc[2].tolist()
    (('source', 'target'), ['tree', 'Baum'])

    Raises `DataError` for whatever holds no pairs, saying what, where, and how to mend it.
    """
    if isinstance(source, pd.DataFrame):
        return _of_table(named(source), text, target, "The frame", prefer)
    if is_file(target):
        return _parallel(source, target, text)
    check_there(source)
    if is_conllu(source) and text is None and target is None:
        return bracketed_sentences(source), TREES
    name, data = open_bytes(source, NEEDED)
    if data.startswith(b"PAR1"):
        return _of_table(read_table(source), text, target, name, prefer)
    if (written := _json_in(name, data)) is not None:
        return _of_objects(name, written, text, target, prefer)
    content = decoded(name, data) if data.lstrip(BLANKS).startswith(b"{") else as_text(name, data)
    if text is None and target is None and holds_pronunciations(content):
        return read_pronunciations(name, content), SPOKEN
    return _separated(name, content, text, target, header, prefer)


def is_file(target: Any) -> bool:
    """Whether a target names a file, and no column: a path, an open file, or the name of a file that is there.

    >>> is_file(Path("train.de")), is_file("de"), is_file(1)
    (True, False, False)
    """
    if isinstance(target, str):
        return Path(target).expanduser().is_file()
    return isinstance(target, Path) or hasattr(target, "read")


def partner(path: Any, names: Names) -> Path | None:
    """The file of targets that belongs to a file of sources, by what their names differ in; None where there is none.

    >>> partner("val.en.gz", ("en", "de")) is None  # there is no val.de.gz here
    True
    """
    parts = PARTS.split(str(path))
    places = [i for i, part in enumerate(parts) if part == names[0]]
    if not places or not isinstance(path, str | Path):
        return None
    found = Path("".join([*parts[: places[-1]], names[1], *parts[places[-1] + 1 :]]))
    return found if found.expanduser().is_file() else None


def _json_in(name: str, data: bytes) -> str | None:
    """A text of JSON: by the file's name, by a first line that is an object, or as a list of them; else None."""
    named_so = Path(name.removesuffix(".gz")).suffix.lower() in (".json", ".jsonl", ".ndjson")
    first = data.lstrip(BLANKS)
    if not (named_so or first.startswith((b"{", b"["))):
        return None
    line, _, _ = first.partition(b"\n")
    if named_so or re.match(rb"\[\s*(\{|$)", first) or _parses(line):
        return decoded(name, data)
    return None


def _parses(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _of_table(
    frame: pd.DataFrame, text: Any, target: Any, name: str, prefer: Names | None
) -> tuple[pd.DataFrame, Names]:
    names = choose_columns(list(map(str, frame.columns)), text, target, name, prefer)
    return frame.assign(**{side: texts_in(as_texts(as_cells(frame[side])), frame.index) for side in names}), names


def _parallel(source: Any, target: Any, text: Any) -> tuple[pd.DataFrame, Names]:
    """Two files whose lines belong together; the sides are called by what their names differ in."""
    if text is not None:
        raise RecipeError(
            f"text={text!r} names a column, but {target} is a file of its own, whose lines belong to those of the "
            "source. Leave text out, or name a column as the target."
        )
    (name, lines), (other, others) = _lines_in(source), _lines_in(target)
    if len(lines) != len(others):
        raise _unequal(name, lines, other, others)
    names = _differing(name, other)
    columns = {names[0]: texts_in(lines), names[1]: texts_in(others)}
    frame = pd.DataFrame(columns).set_axis(numbered(len(lines)))
    return _without_empty(frame, names, f"{name} and {other}"), names


def _lines_in(path: Any) -> tuple[str, list[str]]:
    check_there(path)
    name, data = open_bytes(path, "Parallel files hold a text in each line.")
    return name, lines_of(decoded(name, data))


def _unequal(name: str, lines: list[str], other: str, others: list[str]) -> DataError:
    longer, surplus = (name, lines[len(others) :]) if len(lines) > len(others) else (other, others[len(lines) :])
    at = min(len(lines), len(others)) + 1
    mend = (
        "Remove the empty lines at its end."
        if not any(line.strip() for line in surplus)
        else "Line by line they belong together, so look for the first line whose texts do not: often one sentence was "
        "broken in two, or an empty line was dropped."
    )
    return DataError(
        f"{name} has {counted(len(lines), 'line')} and {other} has {len(others):,}: from line {at:,} on {longer} is "
        f"alone ({surplus[0][:SHOWN]!r}). {mend}"
    )


def _differing(name: str, other: str) -> Names:
    """What two paths differ in, where it is one part; else source and target."""
    mine, theirs = PARTS.split(name), PARTS.split(other)
    differing = [pair for pair in zip(mine, theirs, strict=False) if pair[0] != pair[1]]
    one = len(mine) == len(theirs) and len(differing) == 1 and all(part.strip() for part in differing[0])
    return differing[0] if one else SIDES


def _separated(
    name: str, content: str, text: Any, target: Any, header: bool | None, prefer: Names | None
) -> tuple[pd.DataFrame, Names]:
    """Cells between tabs, or CSV."""
    records = cells_in(name, content)
    first = [cell.strip() for cell in records.rows[0]]
    if len(first) < 2 or not any(first):
        raise DataError(
            f"{name}, line {records.lines[0]}, has one cell: {records.rows[0][0][:SHOWN]!r}. {NEEDED} If the targets "
            f"are the lines of another file, name it: data.target=FILE (target=).{_no_such_file(name, target)}"
        )
    asked = [one for one in (text, target) if isinstance(one, str) and not one.removeprefix("-").isdecimal()]
    if header is None:
        header = bool(asked) or is_header(first, prefer)
        if header and not asked:
            say_header(name, first)
    if header:
        if len(set(first)) < len(first):
            raise DataError(
                f"{name}, line {records.lines[0]}, calls several columns alike: {listed(first)}. Give each its own "
                "name, or say that there are none: data.header=false (header=False)."
            )
        names = first
    else:
        names = unnamed(len(first))
    sides = _sides(name, names, records, text, target, header, prefer)
    return _without_empty(frame_of_cells(name, names, records, skipped=header), sides, name), sides


def _sides(
    name: str, names: list[str], records: Records, text: Any, target: Any, header: bool, prefer: Names | None
) -> Names:
    like = prefer is not None and set(prefer) <= set(names)
    if len(names) > 2 and not header and not like and (text is None or target is None):
        shown = records.delimiter.join(records.rows[0])[:SHOWN]
        raise DataError(
            f"{name}, line {records.lines[0]}, has {len(names)} cells, and a pair has two: {shown!r}. Name the columns "
            "by their places, data.text=0 data.target=1 (text=0, target=1), or by the names of the first line: "
            "data.text=NAME data.target=NAME. If it is a table, name the column to predict and no text: "
            "data.target=NAME."
        )
    return choose_columns(names, text, target, name, prefer)


def _of_objects(name: str, content: str, text: Any, target: Any, prefer: Names | None) -> tuple[pd.DataFrame, Names]:
    """JSON objects, one in a line."""
    objects, lines = json_objects(name, content)
    keys = [key for key in objects[0] if any(isinstance(one.get(key), str) for one in objects[:100])]
    known = list(objects[0]) if text is not None or target is not None else keys
    names = choose_columns(known, text, target, name, prefer)
    for one, line in zip(objects, lines, strict=True):
        for key in names:
            if key not in one:
                raise DataError(
                    f"{name}, line {line}, lacks the key '{key}'; it has {listed(list(one))}. Give every line both "
                    "keys, with null for a missing text."
                )
            if not isinstance(one[key], str | None):
                raise DataError(
                    f"{name}, line {line}: '{key}' is {str(one[key])[:SHOWN]}, which is no text. Write it in quotes."
                )
    frame = frame_of_objects(objects, lines)
    frame = frame.assign(**{key: texts_in(list(frame[key]), frame.index) for key in names})
    return _without_empty(frame, names, name), names


def _no_such_file(name: str, target: Any) -> str:
    return "" if target is None else f" There is no file {target}.{did_you_mean(str(target), beside(name))}"


def _without_empty(frame: pd.DataFrame, names: Names, name: str) -> pd.DataFrame:
    """Without the rows whose texts are both missing, which is said."""
    empty = frame[list(names)].isna().all(axis=1).to_numpy()
    if empty.all():
        raise DataError(f"{name} holds no text, only blanks. {NEEDED}")
    if empty.any():
        notice(f"{name}: {counted(int(empty.sum()), 'empty pair')} left out ({where(frame.index, empty, 3)}).")
    return frame[~empty]
