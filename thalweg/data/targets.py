"""Targets: what is to be predicted, classes or numbers, and how the cells of a target become either.

One column is classes if it holds text, or at most 20 different whole numbers; else a number. Several columns are soft
classes if they lie in [0, 1] and sum to 1 in every row (one-hot included), else several numbers. `task` overrides it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.data.cells import Cells, as_numbers
from thalweg.data.columns import Parsed, text_among_numbers
from thalweg.data.notation import PLAIN, Notation, is_missing_word
from thalweg.data.places import listed, where
from thalweg.data.schema import Label, Target, TargetKind

MOST_INTEGER_CLASSES = 20
SUM_TOLERANCE = 0.01 + 1e-9
TRUTHS = {"True", "False", "true", "false", "TRUE", "FALSE"}
TASKS = ("classification", "regression")

TargetValues = Int[np.ndarray, " row"] | Float[np.ndarray, "row target"]


def target_names(columns: Sequence[str], target: str | int | Sequence[str | int] | None) -> tuple[str, ...]:
    """The columns that `target` names: a name, several with commas between, or positions, "-1" for the last.

    >>> target_names(["a", "b", "c"], "-1"), target_names(["a", "b", "c"], "a, b")
    (('c',), ('a', 'b'))

    Raises `DataError` without a target, and for names that are no column.
    """
    if target is None or target == "" or target == []:
        last = columns[-1]
        if len(columns) == 1:
            raise DataError(
                f"There is a single column, {last!r}, and nothing beside it to predict. If each line is a text whose "
                "target is the same line of another file, name that: --set data.target=FILE (target=). Otherwise check "
                "what separates the cells: a comma, a semicolon, a tab or '|'."
            )
        raise DataError(
            f"Which column is to be predicted? Columns: {listed(list(columns), 30)}. Name it: --target {_quoted(last)} "
            f"(target={last!r}) for the last."
        )
    if isinstance(target, str):
        wanted: list[str | int] = [target] if target in columns else [part.strip() for part in target.split(",")]
    else:
        wanted = [target] if isinstance(target, int) else list(target)
    names = tuple(_target_name(columns, name) for name in wanted)
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise DataError(f"The target names {listed(repeated)} twice. Name each column once.")
    return names


def as_target(index: pd.Index, parsed: Mapping[str, Parsed], task: str | None = None) -> Target:
    """What these columns are as a target.

    >>> as_target(pd.RangeIndex(4), {"sex": Parsed("sex", ["m", "f", "f", "m"])})
    Target(names=('sex',), kind=<TargetKind.CLASSES: 'classes'>, labels=('f', 'm'), notations=(Notation(...),))

    Raises `DataError` for one class, text to regress on, multi-label targets, several columns of text.
    """
    if task not in (None, *TASKS):
        raise RecipeError(f"task={task!r} is not known.{did_you_mean(str(task), TASKS)}")
    if len(parsed) > 1:
        parsed = {name: replace(column, cells=_zero_one(column.cells)) for name, column in parsed.items()}
    columns = list(parsed.values())
    return _several(index, columns, task) if len(columns) > 1 else _single(columns[0], task)


def read_target(index: pd.Index, cells: Mapping[str, Cells], target: Target) -> TargetValues:
    """The target of each row: a class (-1 where missing), or numbers (NaN where missing).

    >>> target = Target(("n",), TargetKind.CLASSES, labels=(3, 5), notations=(PLAIN,))
    >>> read_target(pd.RangeIndex(3), {"n": ["5", None, "3"]}, target)
    array([ 1, -1,  0])

    Raises `DataError` for labels that are no class of the target, and text among numbers.
    """
    if target.kind is TargetKind.CLASSES:
        return _read_classes(index, cells[target.names[0]], target)
    columns = []
    for name, notation in zip(target.names, _notations(target), strict=True):
        column = Parsed(name, _zero_one(cells[name]) if len(target.names) > 1 else cells[name], notation)
        if column.numbers.text.any():
            raise text_among_numbers(index, column)
        columns.append(column.numbers.value)
    values = np.stack(columns, axis=1)
    return values / values.sum(1, keepdims=True) if target.kind is TargetKind.SOFT else values


def _single(column: Parsed, task: str | None) -> Target:
    present = int((~column.missing).sum())
    if not column.numeric and task == "regression":
        raise DataError(
            f"The target '{column.name}' holds text, such as {_first_text(column)!r}, and regression predicts numbers. "
            "Leave off --task regression to predict classes, or name a column of numbers."
        )
    if column.numeric:
        values = np.unique(column.numbers.value[~column.missing])
        whole = bool((values == np.floor(values)).all())
        few = whole and len(values) <= MOST_INTEGER_CLASSES and 2 * len(values) <= max(present, 4)
        if task == "regression" or (task is None and not few):
            if len(values) == 1:
                raise _one_value(column.name, f"{values[0]:g}", present, "number")
            return Target((column.name,), TargetKind.NUMBERS, notations=(column.notation,))
    labels = _labels(column)
    if len(labels) == 1:
        raise _one_value(column.name, repr(labels[0]), present, "class")
    if len(labels) == present > 2 or (len(labels) > MOST_INTEGER_CLASSES and 2 * len(labels) > present):
        number = "Give --task regression to predict it as a number, or name another --target."
        mend = number if column.numeric else "Free text is not predicted yet: name another --target."
        raise DataError(
            f"The target '{column.name}' has {len(labels):,} different values in {present:,} rows, such as "
            f"{labels[0]!r} and {labels[1]!r}, but each class needs several examples. {mend}"
        )
    return Target((column.name,), TargetKind.CLASSES, labels, (column.notation,))


def _several(index: pd.Index, columns: list[Parsed], task: str | None) -> Target:
    names = tuple(column.name for column in columns)
    for column in columns:
        if not column.numeric:
            raise DataError(
                f"Of the targets {listed(list(names))}, '{column.name}' holds text, such as {_first_text(column)!r}. "
                "Several targets must be numbers; classes are predicted from one column: name a single --target."
            )
    values = np.stack([column.numbers.value for column in columns], axis=1)
    whole = values[~np.isnan(values).any(1)]
    kind = TargetKind.NUMBERS
    if task != "regression" and len(whole) and ((whole >= 0) & (whole <= 1)).all():
        if (np.abs(whole.sum(1) - 1) <= SUM_TOLERANCE).all():
            kind = TargetKind.SOFT
        elif np.isin(whole, (0, 1)).all():
            sums = np.isnan(values).any(1) | (np.abs(np.nansum(values, axis=1) - 1) > SUM_TOLERANCE)
            raise DataError(
                f"The targets {listed(list(names))} are yes-or-no columns that do not exclude one another (the sum is "
                f"not 1 in {where(index, sums)}): several labels for one example, which thalweg does not train yet. "
                "Train one column at a time (--target NAME), or predict them as numbers: --task regression."
            )
    if kind is TargetKind.NUMBERS and task == "classification":
        raise DataError(
            f"The targets {listed(list(names))} are not classes: as probabilities of classes they would lie between 0 "
            "and 1 and sum to 1 in every row. Leave off --task classification, or name a single --target."
        )
    if kind is TargetKind.SOFT and (np.ptp(whole, axis=0) == 0).all():
        raise _one_value(", ".join(names), "/".join(f"{value:g}" for value in whole[0]), len(whole), "distribution")
    for name, column in zip(names, whole.T, strict=True):
        if kind is TargetKind.NUMBERS and len(column) and np.ptp(column) == 0:
            raise _one_value(name, f"{column[0]:g}", len(column), "number")
    labels = cast(tuple[Label, ...], names) if kind is TargetKind.SOFT else ()
    return Target(names, kind, labels, tuple(column.notation for column in columns))


def _labels(column: Parsed) -> tuple[Label, ...]:
    """The classes in order, in the type that the column holds."""
    if isinstance(column.cells, np.ndarray):
        values = np.unique(column.cells[~column.missing]).tolist()
        return tuple(sorted(int(value) if float(value).is_integer() else value for value in values))
    texts = {text for text in column.cells if text is not None}
    if not column.numeric:
        return tuple(sorted(texts))
    return tuple(sorted({_number(text, column.notation) for text in texts if not is_missing_word(text)}))


def _read_classes(index: pd.Index, cells: Cells, target: Target) -> Int[np.ndarray, " row"]:
    code = {label: i for i, label in enumerate(target.labels)}
    notation = _notations(target)[0]
    if isinstance(cells, np.ndarray):
        values, inverse = np.unique(cells, return_inverse=True)
        texts = isinstance(target.labels[0], str)
        found = [code.get(str(value) if texts else value, -2) if value == value else -1 for value in values.tolist()]
        codes = np.array(found, dtype=np.int64)[inverse]
    else:
        of = {text: code.get(_label(text, target.labels[0], notation), -2) for text in set(cells) if text is not None}
        if not isinstance(target.labels[0], str):
            of = {text: -1 if n == -2 and is_missing_word(text) else n for text, n in of.items()}
        codes = np.array([-1 if cell is None else of[cell] for cell in cells], dtype=np.int64)
    if (codes == -2).any():
        _refuse_unknown(index, cells, codes == -2, target)
    return codes


def _refuse_unknown(index: pd.Index, cells: Cells, unknown: np.ndarray, target: Target) -> None:
    values = list(dict.fromkeys(str(cells[i]) for i in np.flatnonzero(unknown)))
    labels = ", ".join(map(repr, target.labels[:8])) + (", ..." if len(target.labels) > 8 else "")
    raise DataError(
        f"The target '{target.names[0]}' holds {listed(values, 5)} in {where(index, unknown)}, which is no class that "
        f"the model was trained for ({labels}): a class that appears only in the test data cannot be learned. Correct "
        "these rows, leave them out, or add examples of the class to the training data."
    )


def _zero_one(cells: Cells) -> Cells:
    """True and False as the numbers that a one-hot column writes."""
    if isinstance(cells, np.ndarray) or not set(cells) <= {*TRUTHS, None}:
        return cells
    return [cell and ("1" if cell.lower() == "true" else "0") for cell in cells]


def _notations(target: Target) -> tuple[Notation, ...]:
    return target.notations or (PLAIN,) * len(target.names)


def _label(text: str, like: Label, notation: Notation) -> Label:
    if isinstance(like, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(like, str) or notation.number(text) is None:
        return text
    return _number(text, notation)


def _number(text: str, notation: Notation) -> int | float:
    """A number as an integer where it is one; large ones exactly."""
    if notation == PLAIN and re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    value = cast(float, notation.number(text))
    return int(value) if value.is_integer() else value


def _target_name(columns: Sequence[str], name: str | int) -> str:
    if name in columns:
        return cast(str, name)
    if re.fullmatch(r"-?\d+", str(name)):
        if -len(columns) <= int(name) < len(columns):
            return columns[int(name)]
        raise DataError(
            f"target {name} is no column: there are {len(columns)}, from 0 to {len(columns) - 1}, or -1 for the last."
        )
    raise DataError(f"There is no column '{name}' to predict.{did_you_mean(str(name), columns)}")


def _one_value(name: str, value: str, count: int, kind: str) -> DataError:
    rows = "the only row" if count == 1 else f"all {count:,} rows"
    return DataError(
        f"The target '{name}' has only one {kind}: {value} in {rows}, so that there is nothing to learn. "
        "Name another --target, or add rows with other values."
    )


def _first_text(column: Parsed) -> Any:
    numbers = as_numbers(column.cells, column.notation)
    return column.cells[int(np.flatnonzero(numbers.text)[0])] if numbers.text.any() else column.cells[0]


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else f"'{name}'"
