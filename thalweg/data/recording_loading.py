"""Loading recordings: from a folder, names or a table to splits of log-mel frames that can be trained on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from thalweg.core.errors import DataError
from thalweg.core.folds import check_seen, described
from thalweg.core.notices import notice
from thalweg.core.source import Splits
from thalweg.core.wording import counted
from thalweg.data.audio import is_recording
from thalweg.data.audio_listing import column_of, names_members, recording_column
from thalweg.data.decisions import say_target
from thalweg.data.holdout import PARTS, hold_out
from thalweg.data.image_listing import CLASS, path_of, paths_of
from thalweg.data.inference import infer_roles
from thalweg.data.places import listed
from thalweg.data.ragged import Ragged
from thalweg.data.recording_length import AUTO, read_of_each
from thalweg.data.recordings import SECONDS, Recordings, gather_recordings, gather_sounds
from thalweg.data.schema import Schema, Target, TargetKind
from thalweg.data.sequence_encoding import SequenceEncoding, SequenceSchema
from thalweg.data.sequence_source import SequenceSource, announce_each
from thalweg.data.speech_manifest import CALLED
from thalweg.data.table import Table
from thalweg.data.table_source import TableSource
from thalweg.data.text_table import label_schema

LABEL = "label"
"""The part of a pattern, or the column, that is predicted where none is named."""


def recording_splits(
    path: str | Path,
    *,
    target: str | int | Sequence[str | int] | None = None,
    task: str | None = None,
    pattern: str | None = None,
    test: str | None = None,
    validation: str | None = None,
    header: bool = True,
    group: str | None = None,
    time: str | None = None,
    longest: int | str | None = AUTO,
    tokens: int | None = None,
    validation_share: float | int = 0.2,
    test_share: float | int = 0.2,
    seed: int = 0,
    **options: Any,
) -> Splits:
    """The splits of recordings as frames: of a folder for each class, of names by a `pattern`, or of a table of paths.

    `target` is by default the folder's class, else the column called label; `test` and `validation` are rules that
    choose a split, such as "index<5" or "speaker=theo". What they do not choose is held out by shares: the test by none
    where there is a rule for it, validation by whole groups where a `group` is named and two are left. A rule that
    names members, such as "speaker=theo", makes its column the group of a recording where none is named, and leaves
    validation to the groups that are trained on. `longest` cuts recordings off after so many frames (None: nowhere;
    "auto": by the lengths of those that are not to test on, as `usual_limit` says), `tokens` is how many frames a
    training batch may have, `options` are the fields of `AudioOptions`. Each split is a `SequenceSource`.

    >>> import tempfile
    >>> from thalweg.data.audio import soundfile
    >>> root = Path(tempfile.mkdtemp())
    >>> for i in range(20):
    ...     soundfile().write(root / f"{'ab'[i % 2]}_{i}.wav", np.sin(np.arange(1600) / (3 + i % 2)), 8000)
    >>> recording_splits(root, pattern="{label}_{index}", test="index<4").train
    SequenceSource(13 sequences, frames of 40, classification, outputs 2)

    Raises `DataError` for recordings that cannot be used, `RecipeError` for arguments that cannot be.
    """
    found = gather_recordings(path, pattern=pattern, test=test, validation=validation, header=header, **options)
    ruled = group is None and test is not None and names_members(test)
    if ruled:
        group = _group_of(str(test), target)
    table = _schema(found, target, task, group, time, header)
    about = TableSource.fitted(found.frame, table)
    known = np.ones(len(found), bool) if found.part is None else found.part != PARTS.index("test")
    limit = read_of_each(longest, found.lengths, known, found.mel)
    schema = SequenceSchema("frames", table, longest=limit, mel=found.mel, pattern=pattern)
    source = SequenceSource.unfitted(Ragged(found.values, found.offsets), about, schema, tokens=tokens)
    by_group = group is not None and test is not None and column_of(test) == group and validation is None
    apart = by_group and not ruled and found.frame[group][known].nunique() > 1
    if by_group:
        _say_grouped(found, str(group), str(test), apart)
    dealt = _ungrouped(source) if by_group and not apart else source
    held = _held(dealt, found.part, validation_share, test_share, seed)
    splits = source.dealt(held)
    say_target(table.target)
    sizes = (
        f"{name} {'none' if one is None else counted(len(one), 'recording')}"
        for name, one in zip(PARTS, splits, strict=True)
    )
    notice(f"Split: {'; '.join(sizes)}.")
    announce_each(splits)
    return Splits(*splits)


def judged_recordings(
    path: str | Path | Sequence[str | Path], encoding: SequenceEncoding, labelled: bool = True
) -> SequenceSource:
    """The recordings of a path in a given encoding: to judge, or without targets, to predict.

    To predict, a folder may hold its recordings in any way, there may be several of folders and files, and what cannot
    be read is left out, which is said.

    >>> import tempfile
    >>> from thalweg.data.audio import soundfile
    >>> root = Path(tempfile.mkdtemp())
    >>> for i in range(20):
    ...     soundfile().write(root / f"{'ab'[i % 2]}_{i}.wav", np.sin(np.arange(1600) / (3 + i % 2)), 8000)
    >>> encoding = recording_splits(root, pattern="{label}_{index}").train.encoding
    >>> judged_recordings(root / "a_0.wav", encoding, labelled=False)
    SequenceSource(1 sequence, frames of 40, classification, outputs 2)

    Raises `DataError` for recordings that cannot be used and, if `labelled`, targets that are missing or no class.
    """
    schema = encoding.schema
    path, *more = [path_of(path)] if labelled else paths_of(path)
    assert schema.mel is not None
    if labelled:
        labels = tuple(map(str, encoding.labels)) if path.is_dir() and schema.pattern is None else None
        found = gather_recordings(
            path, pattern=schema.pattern, header=schema.header, classes=labels, mel=schema.mel, damaged="skip"
        )
        about = TableSource.of(found.frame, encoding.table)
    else:
        if not more and path.is_file() and not is_recording(path):
            found = gather_recordings(path, header=schema.header, mel=schema.mel, damaged="skip")
        else:
            found = gather_sounds([path, *more], schema.mel, damaged="skip")
        count = len(found)
        table = Table(schema.table, np.zeros((count, 0)), np.zeros((count, 0), dtype=np.int64), found.frame.index)
        about = TableSource(found.frame, table, encoding.table, np.arange(count))
    source = SequenceSource(Ragged(found.values, found.offsets), about, encoding)
    source.announce_cut(str(path))
    if not labelled or found.part is None or not (found.part == 2).any():
        return source
    notice(f"Of {path} the recordings to test on are taken: {(found.part == 2).sum():,} of {len(source):,}.")
    return source.take(np.flatnonzero(found.part == 2))


def _schema(
    found: Recordings, target: Any, task: str | None, group: str | None, time: str | None, header: bool
) -> Schema:
    columns = list(map(str, found.frame.columns))
    if found.labels and target is None:
        infer_roles(columns, CLASS, group=group, time=time)
        goal = Target((CLASS,), TargetKind.CLASSES, found.labels)
        return Schema((), goal, "error", None, group, time, None, header=header)
    if target is None and LABEL in columns:
        target = LABEL
    others = [name for name in columns if name not in (SECONDS, recording_column(found.frame))]
    if target is None and found.labels == () and not others:
        raise DataError(
            f"What the recordings are is not said: their columns are {', '.join(columns)}. Name a --target, or a "
            "part of the pattern {label}."
        )
    if target is None:
        raise DataError(_unnamed(others))
    roles = infer_roles(columns, target, group=group, time=time)
    _, schema = label_schema(found.frame, roles, task, "error")
    return Schema((), schema.target, "error", None, group, time, None, header=header)


def _unnamed(columns: list[str]) -> str:
    """What an error says where several columns could be the target; one that is called so may hold what is said."""
    said = next((name for name in columns if name.lower() in CALLED), None)
    text = "" if said is None else f" If '{said}' is what is said in the recordings: --set data.task=text."
    return (
        f"Which column is to be predicted? Beside the paths there are {listed(columns, 30)}. Name it: --target COLUMN "
        f"(target=), such as --target '{columns[-1]}'.{text}"
    )


def _group_of(test: str, target: Any) -> str | None:
    """The column of a rule that names members, unless it is what is predicted."""
    column = column_of(test)
    named = [LABEL, CLASS] if target is None else [target] if isinstance(target, str | int) else list(target)
    return None if column in named or any(isinstance(each, int) for each in named) else column


def _say_grouped(found: Recordings, group: str, test: str, apart: bool) -> None:
    tested = found.part == PARTS.index("test")
    held, rest = (found.frame[group][chosen].nunique() for chosen in (tested, ~tested))
    alone = f" Test has one {group} alone, so no interval tells how another would fare." if held == 1 else ""
    mend = (
        f" (--set data.group={group} holds whole ones out, --set data.validation='{group}=...' those that you name)"
        if rest > 1
        else ""
    )
    validation = (
        f"validation is held out by '{group}' as well"
        if apart
        else f"validation is held out of the recordings of each '{group}' that is trained on{mend}"
    )
    notice(f"The test rule '{test}' holds out by '{group}', the group of a recording; {validation}.{alone}")


def _ungrouped(source: SequenceSource) -> SequenceSource:
    """The same recordings, to be dealt into splits without a look at their groups."""
    return replace(source, about=replace(source.about, table=replace(source.about.table, group=None)))


def _held(
    source: SequenceSource,
    part: Int[np.ndarray, " recording"] | None,
    validation_share: float | int,
    test_share: float | int,
    seed: int,
) -> list[Int[np.ndarray, " _some"]]:
    """The recordings of each split: by their part where it is given, and held out of those to train on where not."""
    if part is None:
        return list(hold_out(source, validation_share=validation_share, test_share=test_share, seed=seed))
    held = [np.flatnonzero(part == place) for place in range(len(PARTS))]
    if not len(held[1]):
        share = 0.0 if len(held[2]) else test_share
        inner = hold_out(source.take(held[0]), validation_share=validation_share, test_share=share, seed=seed)
        held = [held[0][inner.train], held[0][inner.validation], held[2] if len(held[2]) else held[0][inner.test]]
    label = described(source).get("label")
    for name, ids in zip(PARTS[1:], held[1:], strict=True):
        check_seen(label, held[0], ids, f"the {name} recordings")
    return held
