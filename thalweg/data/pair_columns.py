"""Columns of pairs: which of a file's columns, or keys, hold the sources and the targets."""

from collections.abc import Sequence
from typing import Any

from thalweg.core.errors import DataError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.places import listed

SIDES = ("source", "target")
"""What the two texts of a pair are called where the file does not say."""
KNOWN = (
    SIDES,
    ("src", "tgt"),
    ("src", "trg"),
    ("input", "output"),
    ("text", "target"),
    ("article", "summary"),
    ("word", "sounds"),
    ("sentence", "tree"),
    ("text", "tree"),
    ("text", "labels"),
)
"""Names by which columns are known as source and target."""
CODES = """
    af ar bg bn ca cs cy da de el en es et eu fa fi fr ga gl gu he hi hr hu hy id it ja ka kk km kn ko lo lt lv mk ml mn
    mr ms mt my nb ne nl pa pl ps pt ro ru si sk sl sq sr sv sw ta te th tl tr uk ur uz vi zh
"""
LANGUAGES = frozenset(CODES.split())
"""Codes that columns are called by, but none that is a word of English (am, as, be, is, no, so, to)."""

Names = tuple[str, str]


def choose_columns(columns: Sequence[str], text: Any, target: Any, file: str, prefer: Names | None = None) -> Names:
    """The columns of sources and of targets: those named, else those called as `prefer` or so known, else both of two.

    >>> choose_columns(["id", "tgt", "src"], None, None, "pairs.tsv")
    ('src', 'tgt')
    >>> choose_columns(["en", "de", "licence"], 0, "de", "pairs.tsv")
    ('en', 'de')
    >>> choose_columns(["Target", "Source"], None, None, "pairs.tsv")
    ('Source', 'Target')

    Raises `DataError` for names that are no column, and where it is not clear.
    """
    source = None if text is None else _column(columns, text, "text", file)
    goal = None if target is None else _column(columns, target, "target", file)
    if source is not None and source == goal:
        raise DataError(f"Column '{source}' of {file} cannot be the source and the target. Name another for one.")
    if source is None and goal is None:
        own = {column.lower(): column for column in reversed(columns)} | {column: column for column in columns}
        for names in ((prefer,) if prefer else ()) + KNOWN:
            if set(names) <= set(own):
                return own[names[0]], own[names[1]]
    if len(columns) == 2:
        first, last = columns
        source = source or (last if goal == first else first)
        return source, goal or (first if source == last else last)
    if source is None or goal is None:
        raise DataError(
            f"{file} has {counted(len(columns), 'column')} of text ({listed(list(columns))}), and a pair has two. Name "
            "them: data.text=COLUMN data.target=COLUMN (text=, target=), each by its name or its place from 0."
        )
    return source, goal


def is_header(first: Sequence[str], prefer: Names | None = None) -> bool:
    """Whether cells of a first line are names of columns: known ones, or languages.

    >>> is_header(["en", "de"]), is_header(["source", "target"]), is_header(["a house", "ein Haus"])
    (True, True, False)
    """
    cells = [cell.strip().lower() for cell in first]
    languages = sum(cell in LANGUAGES for cell in cells) >= 2 and len(set(cells)) == len(cells)
    return languages or any(set(names) <= {*cells, *first} for names in ((prefer,) if prefer else ()) + KNOWN)


def unnamed(count: int) -> list[str]:
    """What columns are called where no first line names them.

    >>> unnamed(2), unnamed(3)
    (['source', 'target'], ['c0', 'c1', 'c2'])
    """
    return list(SIDES) if count == len(SIDES) else [f"c{i}" for i in range(count)]


def say_header(file: str, names: Sequence[str]) -> None:
    """Say that a first line was taken as names."""
    notice(
        f"The first line of {file}, {listed(list(names))}, names the columns (data.header=false reads it as a pair)."
    )


def _column(columns: Sequence[str], name: Any, role: str, file: str) -> str:
    if name in columns:
        return str(name)
    place = str(name)
    if place.removeprefix("-").isdecimal():
        if -len(columns) <= int(place) < len(columns):
            return columns[int(place)]
        raise DataError(
            f"{role}={place} is no column of {file}: there are {len(columns)}, from 0 to {len(columns) - 1}, or -1 for "
            "the last."
        )
    files = ", and no file of that name" if role == "target" else ""
    raise DataError(f"There is no column '{name}' in {file} for {role}{files}.{did_you_mean(place, columns)}")
