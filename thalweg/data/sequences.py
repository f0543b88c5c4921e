"""Sequences from Python, and any file in the encoding of a run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from thalweg.core.errors import DataError, Unsupported
from thalweg.core.source import Splits
from thalweg.data.conll_loading import judged_sentences
from thalweg.data.decisions import announce_rows
from thalweg.data.holdout import hold_out
from thalweg.data.inference import infer_roles
from thalweg.data.ragged import Ragged
from thalweg.data.recording_loading import judged_recordings
from thalweg.data.sequence_encoding import SequenceEncoding, SequenceSchema
from thalweg.data.sequence_source import SequenceSource, announce_each
from thalweg.data.table import named
from thalweg.data.table_source import TableSource
from thalweg.data.text_table import judged_texts, label_schema


def frame_splits(
    sequences: Sequence[Any],
    about: pd.DataFrame,
    *,
    target: str | int | Sequence[str | int] | None = None,
    task: str | None = None,
    group: str | None = None,
    time: str | None = None,
    longest: int | None = None,
    tokens: int | None = None,
    validation_share: float | int = 0.2,
    test_share: float | int = 0.2,
    seed: int = 0,
) -> Splits:
    """The splits of sequences of vectors, `(length, features)` each (spectra, sensors), and a table of what they are.

    Each row of `about` belongs to the sequence of its place; columns and shares are as in `load_table`. Numbers are
    scaled by the frames of training. `longest` cuts sequences off, `tokens` is how many positions a training batch may
    have. Each split is a `SequenceSource`.

    >>> waves = [np.sin(np.arange(5 + i)[:, None] * [0.1, 0.2]) for i in range(20)]
    >>> frame_splits(waves, pd.DataFrame({"who": ["ann", "bob"] * 10}), target="who").train
    SequenceSource(12 sequences, frames of 2, classification, outputs 2)

    Raises `DataError` for sequences that are no such arrays, and for whatever the table lacks.
    """
    frame = named(about)
    content = _frames(sequences, len(frame))
    roles = infer_roles(list(frame.columns), target, group=group, time=time)
    frame, schema = label_schema(frame, roles, task, "error")
    source = SequenceSource.unfitted(
        content, TableSource.fitted(frame, schema), SequenceSchema("frames", schema, longest=longest), tokens=tokens
    )
    held = hold_out(source, validation_share=validation_share, test_share=test_share, seed=seed)
    splits = source.dealt(held)
    announce_rows(source.about, [None if split is None else split.about for split in splits])
    announce_each(splits)
    return Splits(*splits)


def sequences_of(data: Any, encoding: SequenceEncoding, labelled: bool = True) -> SequenceSource:
    """All sequences of a file or a frame in the encoding of a run: to judge, or without targets, to predict.

    >>> from thalweg.data.text_table import text_splits
    >>> mails = pd.DataFrame({"spam": [1, 0] * 10})
    >>> mails["mail"] = [f"{'read' if i % 2 else 'buy'} it now {i}" for i in range(20)]
    >>> encoding = text_splits(mails, target="spam").train.encoding
    >>> sequences_of(pd.DataFrame({"mail": ["read it"]}), encoding, labelled=False)
    SequenceSource(1 text, 4 words, classification, outputs 2)

    Raises `DataError` as `judged_texts` and `judged_sentences` do, `Unsupported` for frames, which have no file.
    """
    if encoding.schema.mel is not None:
        return judged_recordings(data, encoding, labelled)
    if encoding.schema.kind == "frames":
        raise Unsupported(
            "Sequences of vectors have no file format: give them as they are, "
            "model(*encoding.inputs(Ragged.of(arrays)))."
        )
    return (judged_sentences if encoding.schema.tagging else judged_texts)(data, encoding, labelled)


def _frames(sequences: Sequence[Any], count: int) -> Ragged:
    if len(sequences) != count or not count:
        raise DataError(f"There are {len(sequences)} sequences for {count} rows. Give one row for each, in order.")
    arrays = [np.asarray(one) for one in sequences]
    features = arrays[0].shape[1] if arrays[0].ndim == 2 else 0
    for i, one in enumerate(arrays):
        if one.ndim != 2 or one.shape[1] != features or not features or one.dtype.kind not in "fiu":
            raise DataError(
                f"Sequence {i} is an array of {one.dtype} of shape {one.shape}, but each is (length, features) of "
                f"numbers, with the same features{f', here {features}' if features else ''}. For a single number at "
                "each position give one[:, None]."
            )
        if not np.isfinite(one).all():
            raise DataError(f"Sequence {i} holds NaN or an infinite number. Cut it out, or fill it in.")
    return Ragged.of(arrays, np.float64)
