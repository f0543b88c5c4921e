r"""Manifests: a table whose rows name a recording and what is said in it, in the same or another language.

A file of JSON objects is known by its name or its first sign. In one that has a tab, cells stand between tabs and
quotes are text, for transcripts have them; else it is CSV.
"""

import io
from pathlib import Path
from typing import Any

import pandas as pd

from thalweg.core.errors import DataError, did_you_mean
from thalweg.core.notices import unsaid
from thalweg.data.audio import is_recording
from thalweg.data.audio_listing import recording_column
from thalweg.data.cells import distinct
from thalweg.data.columns import MOSTLY_DIFFERENT, parse
from thalweg.data.opening import as_text, decoded, open_bytes
from thalweg.data.pair_lines import TAB, cells_in, frame_of_cells, frame_of_objects, json_objects
from thalweg.data.places import listed
from thalweg.data.reading import read_table
from thalweg.data.sniffing import beginning
from thalweg.data.targets import MOST_INTEGER_CLASSES

CALLED = ("transcript", "transcription", "sentence", "text", "translation", "target")
"""What a column of transcripts is called, where none is named."""
SAID = "text"
"""The task of those whose transcripts could be classes or numbers as well."""


def read_manifest(path: Any, header: bool = True) -> pd.DataFrame:
    r"""The rows of a manifest, every cell as it is written.

    >>> read_manifest(io.StringIO('path\tsaid\na.wav\tthe "one"\n')).loc[2].tolist()
    ['a.wav', 'the "one"']

    Raises `DataError` for what is no table, with its line.
    """
    name, data = open_bytes(path)
    if data.startswith(b"PAR1"):
        return read_table(_again(name, data), header=header)
    ending = Path(name.removesuffix(".gz")).suffix.lower()
    if ending in (".jsonl", ".ndjson") or data.lstrip().startswith(b"{"):
        return frame_of_objects(*json_objects(name, decoded(name, data)))
    text = as_text(name, data)
    if TAB not in text:
        return read_table(_again(name, data), header=header)
    records = cells_in(name, text)
    names = records.rows[0] if header else [f"c{i}" for i in range(len(records.rows[0]))]
    if len(set(names)) < len(names) or not all(names):
        raise DataError(
            f"{name}, line {records.lines[0]}, names its columns {listed(names)}, but each needs a name of its own. "
            "Rename them, or, if it is a recording already: data.header=false (header=False)."
        )
    return frame_of_cells(name, names, records, skipped=header)


def transcript_column(frame: pd.DataFrame, target: str | int | None, recordings: str, file: str) -> str:
    """The column of the transcripts: the one that is named, is so called, or is the only other text.

    >>> frame = pd.DataFrame({"path": ["a.wav"], "speaker": ["anna"], "transcript": ["one"]})
    >>> transcript_column(frame, None, "path", "words.tsv")
    'transcript'

    Raises `DataError` for a name that is no column, and where it is not clear.
    """
    columns = [str(name) for name in frame.columns]
    if target is not None:
        if isinstance(target, int) or (target not in columns and str(target).removeprefix("-").isdecimal()):
            if not -len(columns) <= int(target) < len(columns):
                raise DataError(
                    f"target={target} is no column of {file}: there are {len(columns)}, from 0 to {len(columns) - 1}."
                )
            target = columns[int(target)]
        if target not in columns:
            raise DataError(f"There is no column '{target}' in {file}.{did_you_mean(target, columns)}")
        if target == recordings:
            raise DataError(f"Column '{target}' of {file} names the recordings. Name that of the transcripts.")
        return target
    others = [name for name in columns if name != recordings]
    so_called = [name for called in CALLED for name in others if name.lower() == called]
    if so_called or len(others) == 1:
        return (so_called or others)[0]
    raise DataError(
        f"Which column of {file} holds what is said? It has {listed(others) or 'none beside the paths'}. Name it: "
        "data.target=COLUMN (target=)."
    )


def holds_speech(path: Path, target: Any = None, header: bool = True, said: bool = False) -> bool:
    """Whether a path is a table of recordings whose target is what they say, and no class: mostly different texts.

    Its first lines decide it; where it is `said` that the target is text, a column of recordings is enough.

    >>> holds_speech(Path("houses.csv"))
    False
    """
    if is_recording(path) or (first := beginning(path)) is None:
        return False
    held = io.StringIO(first)
    held.name = path.name
    try:
        with unsaid():
            frame = read_manifest(held, header)
            if (recordings := recording_column(frame)) is None:
                return False
            column = None if said else transcript_column(frame, target, recordings, path.name)
    except DataError:
        return False
    return column is None or _is_text(frame, column)


def _is_text(frame: pd.DataFrame, column: str) -> bool:
    """Whether a column would be refused as classes: too many different texts, which are no numbers."""
    if not all(isinstance(cell, str | None) for cell in frame[column]):
        return False
    parsed = parse(frame, [column])[column]
    present, different = int((~parsed.missing).sum()), len(distinct(parsed.cells))
    many = different > max(MOST_INTEGER_CLASSES, MOSTLY_DIFFERENT * present) or (different == present > 2)
    return many and not parsed.numeric


def _again(name: str, data: bytes) -> Any:
    held = io.BytesIO(data)
    held.name = name
    return held
