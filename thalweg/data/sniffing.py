"""Sniffing: which kind of sequences or graph a path holds, from its names and its first lines."""

import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import unsaid
from thalweg.data.audio import is_recording
from thalweg.data.audio_listing import recording_column
from thalweg.data.cells import distinct
from thalweg.data.columns import FEW_WORDS, MOSTLY_DIFFERENT, parse, usual_words
from thalweg.data.conll import holds_conll
from thalweg.data.conll_loading import ENDINGS as CONLL
from thalweg.data.graphs import graph_files
from thalweg.data.image_sniffing import SNIFFED
from thalweg.data.pair_columns import LANGUAGES
from thalweg.data.pair_lines import lines_of
from thalweg.data.pair_reading import is_file, read_pairs
from thalweg.data.reading import read_table
from thalweg.data.targets import MOST_INTEGER_CLASSES
from thalweg.data.text_table import text_column


def holds_graph(path: Path) -> bool:
    """Whether a path is a folder with a file of nodes and one of edges.

    >>> holds_graph(Path("houses.csv"))
    False
    """
    if not path.is_dir():
        return False
    try:
        graph_files(path)
    except DataError:
        return False
    return True


def holds_tags(path: Path) -> bool:
    """Whether a path is a file in CoNLL, by its name or by its lines, or a folder with one for training.

    >>> holds_tags(Path("en_ewt-ud-train.conllu")), holds_tags(Path("houses.csv"))
    (True, False)
    """
    if path.is_dir():
        return any(item.name.lower().endswith(CONLL) for item in path.iterdir())
    if path.name.lower().endswith(CONLL):
        return True
    return path.suffix.lower() in ("", ".txt", ".tsv") and path.is_file() and holds_conll(beginning(path) or "")


def holds_recordings(path: Path, header: bool = True) -> bool:
    """Whether a path is a recording, a folder that holds some, or a table with a column of their paths.

    >>> holds_recordings(Path("yes.wav")), holds_recordings(Path("houses.csv"))
    (True, False)
    """
    if path.is_dir():
        return any(is_recording(item) for item in path.rglob("*"))
    if is_recording(path) or (first := beginning(path)) is None:
        return is_recording(path)
    try:
        return recording_column(read_table(io.StringIO(first), header=header)) is not None
    except DataError:
        return False


def holds_pairs(path: Path, target: Any = None, text: Any = None, header: bool | None = None) -> bool:
    """Whether a path holds pairs of texts: JSONL, a dictionary, a file whose targets have their own, or two columns.

    Columns are pairs where both are called by languages, or hold mostly different texts, and, where the target is
    named, more of them than a class has labels. Of three and more columns without names, several with sentences in them
    are pairs, whose reader asks which two are meant. The first lines decide it.

    >>> holds_pairs(Path("pairs.jsonl")), holds_pairs(Path("missing.tsv"))
    (True, False)
    """
    if is_file(target) or Path(path.name.removesuffix(".gz")).suffix.lower() in (".jsonl", ".ndjson", ".dict"):
        return True
    first = beginning(path)
    if first is None:
        return False
    try:
        with unsaid():
            frame, names = read_pairs(io.StringIO(first), target, text=text, header=header)
    except (DataError, RecipeError):
        return target is None and text is None and header is not True and _holds_sentences(first)
    columns = parse(frame, list(names)).values()
    if any(column.numeric for column in columns):
        return False
    if {name.strip().lower() for name in names} <= LANGUAGES:
        return True
    counts = [(len(distinct(column.cells)), int((~column.missing).sum())) for column in columns]
    few = target is not None and counts[1][0] <= MOST_INTEGER_CLASSES
    return not few and all(different > MOSTLY_DIFFERENT * held for different, held in counts)


def _holds_sentences(first: str) -> bool:
    """Whether lines hold several columns of mostly different sentences between tabs, from the first line on."""
    rows = [line.split("\t") for line in lines_of(first) if line.strip()]
    if len(rows) < 2 or len({len(row) for row in rows}) != 1:
        return False
    columns = [[cell for cell in column if cell.strip()] for column in zip(*rows, strict=True)]
    return sum(map(_are_sentences, columns)) > 1


def _are_sentences(cells: Sequence[str]) -> bool:
    different = len(set(cells)) > MOSTLY_DIFFERENT * len(cells)
    return different and min(usual_words(cells), usual_words(cells[:1])) >= FEW_WORDS


def holds_text(path: Path, target: Any, header: bool, roles: Mapping[str, Any]) -> bool:
    """Whether a table has nothing to predict from but one column of texts; `roles` are group, time and weights.

    The first lines say no of most tables; where they say yes, or nothing, all of it is read. A table that cannot be
    read is left to whoever reads it as such.

    >>> holds_text(Path("missing.csv"), "label", True, {})
    False
    """
    first = beginning(path)
    if first is not None and _is_text(io.StringIO(first), target, header, roles) is False:
        return False
    return path.is_file() and bool(_is_text(path, target, header, roles))


def beginning(path: Path) -> str | None:
    """The first whole lines of a file of text, also of one that is packed; None for what is no text, or not there."""
    try:
        with path.open("rb") as file:
            data = file.read(SNIFFED)
            whole = len(data) < SNIFFED
        if data.startswith(b"\x1f\x8b"):
            with gzip.open(path) as packed:
                data = packed.read(SNIFFED)
                whole = len(data) < SNIFFED
        if not whole:
            data = data[: data.rfind(b"\n") + 1]
        return data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return None


def _is_text(data: Any, target: Any, header: bool, roles: Mapping[str, Any]) -> bool | None:
    """None where the table cannot be read, or lacks a column that is named."""
    try:
        return text_column(read_table(data, header=header), target, **roles) is not None
    except (DataError, RecipeError):
        return None
