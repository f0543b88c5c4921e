"""Tables whose one useful column is a text: read, split and judged as tables are, but the text is a sequence.

The text is the column that is named, else the only one whose cells are mostly different texts.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from thalweg.core.errors import DataError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.source import Splits
from thalweg.core.wording import counted
from thalweg.data.cells import as_cells, as_texts
from thalweg.data.columns import FEW_WORDS, SAMPLE, Parsed, as_feature, is_text, parse, usual_words, words_of
from thalweg.data.decisions import announce_columns, announce_rows
from thalweg.data.holdout import hold_out
from thalweg.data.inference import Roles, infer_roles, without_missing
from thalweg.data.places import listed, where
from thalweg.data.reading import read_table
from thalweg.data.schema import Column, Schema, TargetKind
from thalweg.data.sequence_encoding import SequenceEncoding, SequenceSchema
from thalweg.data.sequence_source import SequenceSource, announce_each
from thalweg.data.table import check_columns, named, read_features, read_rows
from thalweg.data.table_source import TableSource
from thalweg.data.targets import as_target
from thalweg.data.vocabulary import check_unit

LONGEST = 2048
"""Tokens after which a text is cut off where nothing is said: attention takes time as the square of them."""


def text_splits(
    data: Any,
    *,
    target: str | int | Sequence[str | int] | None = None,
    text: str | None = None,
    task: str | None = None,
    missing: str = "error",
    header: bool = True,
    group: str | None = None,
    time: str | None = None,
    weights: str | None = None,
    unit: str | None = None,
    size: int | None = None,
    fewest: int | None = None,
    lower: bool = False,
    longest: int | None = LONGEST,
    tokens: int | None = None,
    validation_share: float | int = 0.2,
    test_share: float | int = 0.2,
    test_path: Any = None,
    seed: int = 0,
) -> Splits:
    """The splits of a table with a text column: a path, "-", an open file, or a frame.

    `text` names the column of texts; `unit` is "words", "characters" or "subwords", by default words where a text has
    several; `size`, `fewest` and `lower` are those of `Vocabulary.fit`; `longest` cuts texts off (None: none); `tokens`
    is how many positions a training batch may have. All else is as in `load_table`. Each split is a `SequenceSource`.

    >>> mails = pd.DataFrame({"spam": [1, 0] * 10})
    >>> mails["mail"] = [f"{'read' if i % 2 else 'buy'} it now {i}" for i in range(20)]
    >>> text_splits(mails, target="spam").validation
    SequenceSource(4 texts, 4 words, classification, outputs 2)

    Raises `DataError` for data that cannot be used, `RecipeError` for arguments that cannot be; both say the mend.
    """
    frame = read_table(data, header=header) if not isinstance(data, pd.DataFrame) else named(data)
    roles = infer_roles(list(frame.columns), target, group=group, time=time, weights=weights)
    text = _chosen(frame, roles, text)
    frame = _without_missing_text(frame, text, missing)
    frame, schema = label_schema(frame, replace(roles, features=(text,)), task, missing)
    schema = replace(schema, header=header)
    announce_columns(schema, frame, task)
    content = texts_of(frame, text)
    unit = unit or _unit(text, content)
    check_unit(unit, size, fewest)
    about = TableSource.fitted(frame, schema)
    sequences = SequenceSchema("texts", schema, text, unit, size, fewest, lower, longest)
    source = SequenceSource.unfitted(content, about, sequences, tokens=tokens)
    share = test_share if test_path is None else 0.0
    held = hold_out(source, validation_share=validation_share, test_share=share, seed=seed)
    splits = source.dealt(held)
    if test_path is not None and splits[0] is not None:
        splits[2] = judged_texts(test_path, splits[0].encoding)
    announce_rows(about, [None if split is None else split.about for split in splits])
    announce_each(splits)
    return Splits(*splits)


def judged_texts(data: Any, encoding: SequenceEncoding, labelled: bool = True) -> SequenceSource:
    """All texts of a file or a frame in a given encoding: to judge, or without targets, to predict.

    >>> mails = pd.DataFrame({"spam": [1, 0] * 10})
    >>> mails["mail"] = [f"{'read' if i % 2 else 'buy'} it now {i}" for i in range(20)]
    >>> encoding = text_splits(mails, target="spam").train.encoding
    >>> judged_texts(pd.DataFrame({"mail": ["read it now"]}), encoding, labelled=False)
    SequenceSource(1 text, 4 words, classification, outputs 2)

    Raises `DataError` for missing columns, labels that are no class, and whatever else cannot be read.
    """
    schema = encoding.schema
    frame = named(data) if isinstance(data, pd.DataFrame) else read_table(data, header=schema.header)
    assert schema.text is not None
    check_columns(frame, [schema.text, *(schema.target.names if labelled else ())])
    if labelled and schema.table.missing == "drop":
        frame = _without_missing_text(frame, schema.text, "drop")
        roles = Roles(schema.target.names)
        frame = without_missing(frame, roles, parse(frame, list(roles.target)), "drop")
    elif (empty := _gaps(frame, schema.text)).any():
        _say_empty(frame, schema.text, empty)
    table = read_rows(frame, schema.table) if labelled else read_features(frame, schema.table)
    about = TableSource(frame, table, encoding.table, np.arange(len(table)))
    source = SequenceSource(texts_of(frame, schema.text), about, encoding)
    source.announce_cut("the table")
    return source


def text_column(frame: pd.DataFrame, target: str | int | Sequence[str | int] | None, **roles: Any) -> str | None:
    """The text of a table that has nothing else to predict from; None for any other table.

    `roles` are group, time and weights, as in `load_table`.

    >>> frame = pd.DataFrame({"id": range(20), "mail": [f"mail number {i}" for i in range(20)], "spam": [0, 1] * 10})
    >>> text_column(frame, "spam"), text_column(frame.assign(size=[1.5, 2.5] * 10), "spam")
    ('mail', None)

    Raises `DataError` for columns that are not there.
    """
    frame = named(frame)
    given = infer_roles(list(frame.columns), target, **roles)
    parsed = parse(frame, given.features_of(frame))
    if any(isinstance(as_feature(column), Column) for column in parsed.values()):
        return None
    found = _candidates(parsed)
    return found[0] if len(found) == 1 else None


def texts_of(frame: pd.DataFrame, text: str) -> list[str]:
    """The texts of a column; a missing one is empty.

    >>> texts_of(pd.DataFrame({"mail": ["a b", None]}), "mail")
    ['a b', '']
    """
    return [cell or "" for cell in as_texts(as_cells(frame[text]))]


def _chosen(frame: pd.DataFrame, roles: Roles, text: str | None) -> str:
    names = roles.features_of(frame)
    if text is not None:
        if text not in frame.columns:
            raise DataError(f"There is no column '{text}' for --text.{did_you_mean(text, names)}")
        if text not in names:
            raise DataError(f"Column '{text}' cannot be the text and a target, group, time or weight at once.")
        others = [name for name in names if name != text]
    else:
        found = _candidates(parse(frame, names))
        if len(found) != 1:
            what = f"{listed(found)} all are" if found else "none is"
            raise DataError(
                f"Of the columns {listed(names)} {what} mostly different texts, so that the text is not clear. Name "
                "it: --text COLUMN (text='COLUMN')."
            )
        text = found[0]
        others = [name for name in names if name != text]
        notice(f"The text is column '{text}' (--text names another).")
    if others:
        notice(f"{'Column' if len(others) == 1 else 'Columns'} left out: {listed(others)}: only the text is read.")
    return text


def _candidates(parsed: dict[str, Parsed]) -> list[str]:
    """The columns of mostly different texts; where there are several, those of several words."""
    found = {name: words_of(column) for name, column in parsed.items() if is_text(column)}
    wordy = [name for name, words in found.items() if words >= FEW_WORDS]
    return wordy if len(wordy) == 1 else list(found)


def _unit(text: str, content: list[str]) -> str:
    words = usual_words(content[:SAMPLE])
    unit = "words" if words >= FEW_WORDS else "characters"
    notice(
        f"'{text}' has {words:g} words a text, by the median: read as {unit} (data.unit says words, characters or "
        "subwords)."
    )
    return unit


def label_schema(frame: pd.DataFrame, roles: Roles, task: str | None, missing: str) -> tuple[pd.DataFrame, Schema]:
    """The rows that are used, and the schema of their targets alone: the sequence beside them is no column.

    Raises `DataError` as `infer_schema` does for targets.
    """
    parsed = parse(frame, list(roles.target))
    if void := [name for name in roles.target if parsed[name].missing.all()]:
        raise DataError(f"The target {listed(void)} has no values. Fill it in, or name another --target.")
    rows = without_missing(frame, roles, parsed, missing)
    goal = as_target(rows.index, parse(rows, list(roles.target)), task)
    if goal.kind is TargetKind.CLASSES and pd.api.types.is_bool_dtype(frame[goal.names[0]].dtype):
        goal = replace(goal, labels=(False, True))
    return rows, Schema((), goal, missing, None, roles.group, roles.time, roles.weights)


def _gaps(frame: pd.DataFrame, text: str) -> np.ndarray:
    return np.array([cell is None for cell in as_texts(as_cells(frame[text]))], dtype=bool)


def _without_missing_text(frame: pd.DataFrame, text: str, missing: str) -> pd.DataFrame:
    gaps = _gaps(frame, text)
    if not gaps.any():
        return frame
    if gaps.all():
        raise DataError(f"Column '{text}' has no texts: every cell is empty. Name another --text.")
    if missing == "drop":
        lack = "lacks its text and is" if gaps.sum() == 1 else "lack their text and are"
        notice(f"{gaps.sum():,} of {counted(len(gaps), 'row')} {lack} left out ({where(frame.index, gaps, 3)}).")
        return frame.loc[~gaps]
    if missing == "impute":
        _say_empty(frame, text, gaps)
        return frame
    raise DataError(
        f"The text '{text}' is missing in {where(frame.index, gaps)}. Say what happens to such rows: --missing drop "
        "leaves them out, --missing impute reads an empty text as one unknown token."
    )


def _say_empty(frame: pd.DataFrame, text: str, gaps: np.ndarray) -> None:
    verb = "is read as one unknown token" if gaps.sum() == 1 else "are read as one unknown token each"
    notice(f"{counted(int(gaps.sum()), 'empty text')} of '{text}' {verb} ({where(frame.index, gaps, 3)}).")
