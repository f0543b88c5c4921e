"""Decisions: what was decided of a table on the user's behalf, said in a line each as it is read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.cells import as_cells
from thalweg.data.holdout import PARTS
from thalweg.data.notation import PLAIN, Notation, is_missing_word
from thalweg.data.places import listed
from thalweg.data.schema import Schema, Target, TargetKind
from thalweg.data.table import GAP, Table
from thalweg.data.table_source import TableSource
from thalweg.data.targets import MOST_INTEGER_CLASSES, TRUTHS

RARE = 0.1
"""A class is rare that has less than this part of the rows that it would have if all classes had alike."""


def announce_columns(schema: Schema, frame: pd.DataFrame, task: str | None) -> None:
    """Say what the columns became: the target where it was guessed, what was left out, categories, notations."""
    if task is None:
        say_target(schema.target)
    reasons: dict[str, list[str]] = {}
    for name, reason in schema.left_out:
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        notice(f"{'Column' if len(names) == 1 else 'Columns'} left out: {listed(names)}: {reason}.")
    if schema.categories:
        notice(f"Taken as categories: {_tallied([(one.name, len(one.categories)) for one in schema.categories])}.")
    _announce_notations(schema, frame)
    if schema.weights is not None:
        notice(f"Column '{schema.weights}' is no input: it weighs the rows in the loss; metrics count all rows alike.")


def say_target(target: Target) -> None:
    """Say what a target is taken as."""
    notice(_guess(target))


def announce_rows(source: TableSource, splits: Sequence[TableSource | None]) -> None:
    """Say what the rows became: imputed cells, the rows of each split, and a class that has few of them."""
    _announce_imputed(source.table)
    notice(f"Split{_split_by(source.schema)}: {'; '.join(map(_part, PARTS, splits))}.")
    target = source.schema.target
    if target.kind is not TargetKind.CLASSES or source.table.target is None:
        return
    members = np.bincount(source.table.target, minlength=len(target.labels))
    share = members.min() / members.sum()
    if 0 < share < RARE / len(target.labels):
        notice(
            f"Class {target.labels[int(members.argmin())]!r} is rare, {members.min():,} of {members.sum():,} rows "
            f"({share:.2g}): trust balanced_accuracy more than accuracy; --set objective.class_weights=balanced makes "
            "the classes count alike in training."
        )


def _announce_notations(schema: Schema, frame: pd.DataFrame) -> None:
    named = [(column.name, column.notation) for column in schema.columns]
    named += list(zip(schema.target.names, schema.target.notations, strict=False))
    unusual: dict[Notation, dict[str, str]] = {}
    for name, notation in named:
        if notation != PLAIN and (text := _unusual(frame[name], notation)):
            unusual.setdefault(notation, {})[name] = text
    for notation, texts in unusual.items():
        text = max(texts.values(), key=len)
        notice(f"Numbers written otherwise in {listed(list(texts))}: {text} is read as {notation.number(text):g}.")


def _announce_imputed(table: Table) -> None:
    names = [column.name for column in (*table.schema.numbers, *table.schema.categories)]
    gaps = np.concatenate([np.isnan(table.numbers), table.codes == GAP], axis=1).sum(axis=0)
    filled = [(name, int(count)) for name, count in zip(names, gaps, strict=True) if count]
    if filled:
        notice(f"Imputed: {counted(int(gaps.sum()), 'missing cell')}, {_tallied(filled)}.")


def _split_by(schema: Schema) -> str:
    for role, name in (("group", schema.group), ("time", schema.time)):
        if name is not None:
            return f" by {role} '{name}', which is no input"
    return ""


def _part(name: str, source: TableSource | None) -> str:
    """How much of the table a split holds: its rows, and of which groups or times they are."""
    if source is None:
        return f"{name} none"
    rows = source.table.take(source.ids)
    said = f"{name} {counted(len(rows), 'row')}"
    if rows.group is not None:
        said += f" of {counted(len(np.unique(rows.group)), 'group')}"
    if rows.time is not None:
        times = source.rows[source.schema.time]
        said += f" from {times.iloc[int(rows.time.argmin())]} to {times.iloc[int(rows.time.argmax())]}"
    return said


def _tallied(counts: Sequence[tuple[str, int]], limit: int = 8) -> str:
    """Names with a number each, the first few of many."""
    shown = ", ".join(f"'{name}' ({count:,})" for name, count in counts[:limit])
    return f"{shown} and {len(counts) - limit:,} more" if len(counts) > limit else shown


def _guess(target: Target) -> str:
    names = listed(list(target.names))
    if target.kind is TargetKind.SOFT:
        return f"The targets {names} sum to 1 in every row: taken as probabilities of {len(target.names)} classes."
    if target.kind is TargetKind.NUMBERS:
        taken = "target {} is taken as a number" if len(target.names) == 1 else "targets {} are taken as numbers"
        return f"The {taken.format(names)} (--task regression)."
    labels = ", ".join(map(str, target.labels[:5])) + (", ..." if len(target.labels) > 5 else "")
    if isinstance(target.labels[0], str | bool):
        what = "true or false" if set(map(str, target.labels)) <= TRUTHS else "text"
        return f"The target {names} is {what}: taken as {len(target.labels)} classes ({labels})."
    return (
        f"The target {names} has {len(target.labels)} different whole numbers (at most {MOST_INTEGER_CLASSES}): taken "
        f"as classes ({labels}). To predict it as a number: --task regression."
    )


def _unusual(column: "pd.Series[Any]", notation: Notation) -> str:
    """The longest text that would read otherwise, or not at all, as a plain number."""
    texts = [text for text in as_cells(column) if isinstance(text, str) and not is_missing_word(text)]
    return max((text for text in texts if PLAIN.number(text) != notation.number(text)), key=len, default="")
