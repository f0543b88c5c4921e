"""A table read by a schema: every cell a number, a category's place, or a gap.

The same reading serves training and prediction, so that whatever training learned to expect is checked in every file.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from thalweg.core.errors import DataError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.cells import as_cells, as_numbers, as_texts, missing_cells
from thalweg.data.columns import Parsed, text_among_numbers
from thalweg.data.places import listed, where
from thalweg.data.schema import Schema
from thalweg.data.targets import TargetValues, read_target

GAP = -1
UNKNOWN = -2


@dataclass(frozen=True, repr=False)
class Table:
    """The rows of a table: numbers (NaN = missing), the place of each category (or `GAP`, `UNKNOWN`), and targets.

    `target` is a class for each row or numbers, None where the frame has no target; `rows` says where each row stood,
    by its line in the file where it is known.
    """

    schema: Schema
    numbers: Float[np.ndarray, "row number"]
    codes: Int[np.ndarray, "row category"]
    rows: pd.Index
    target: TargetValues | None = None
    group: Shaped[np.ndarray, " row"] | None = None
    time: Float[np.ndarray, " row"] | None = None
    weights: Float[np.ndarray, " row"] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, ids: Int[np.ndarray, " example"]) -> Self:
        """Some of the rows."""
        parts = (self.rows, self.target, self.group, self.time, self.weights)
        rows, target, group, time, weights = (None if part is None else part[ids] for part in parts)
        return type(self)(self.schema, self.numbers[ids], self.codes[ids], rows, target, group, time, weights)  # type: ignore[arg-type]


def read_features(frame: pd.DataFrame, schema: Schema) -> Table:
    """The features of a frame, by the schema; columns that the schema does not know are ignored.

    >>> from thalweg.data.schema import Column, Kind, Target, TargetKind
    >>> columns = Column("size", Kind.NUMBER), Column("kind", Kind.CATEGORY, categories=("a", "b"))
    >>> schema = Schema(columns, Target(("y",), TargetKind.NUMBERS))
    >>> table = read_features(pd.DataFrame({"kind": ["b", "z"], "size": ["1.5", "2"]}), schema)
    >>> table.numbers.tolist(), table.codes.tolist()
    ([[1.5], [2.0]], [[1], [-2]])

    Raises `DataError` for missing columns (did you mean), text among numbers, and missing cells where none may be.
    """
    frame = named(frame)
    check_columns(frame, [column.name for column in schema.columns])
    cells = {column.name: as_cells(frame[column.name]) for column in schema.columns}
    numbers = np.empty((len(frame), len(schema.numbers)))
    for i, column in enumerate(schema.numbers):
        parsed = Parsed(column.name, cells[column.name], column.notation)
        if parsed.numbers.text.any():
            raise text_among_numbers(frame.index, parsed)
        _check_finite(frame.index, column.name, parsed.numbers.value)
        numbers[:, i] = parsed.numbers.value
    codes = np.empty((len(frame), len(schema.categories)), dtype=np.int64)
    for i, column in enumerate(schema.categories):
        place = {category: code for code, category in enumerate(column.categories)}
        codes[:, i] = [GAP if text is None else place.get(text, UNKNOWN) for text in as_texts(cells[column.name])]
    if schema.missing != "impute":
        names = [column.name for column in (*schema.numbers, *schema.categories)]
        _refuse_gaps(frame.index, names, np.concatenate([np.isnan(numbers), codes == GAP], axis=1), schema.missing)
    return Table(schema, numbers, codes, frame.index)


def read_rows(frame: pd.DataFrame, schema: Schema) -> Table:
    """A frame with its targets, and its group, time and weights where it has these columns.

    Where it lacks the weights that the schema names, every row counts alike; where it lacks the groups, every row is
    one. Both are said.

    Raises `DataError` as `read_features` does, for labels that are no class, and for weights below zero.
    """
    frame = named(frame)
    features = read_features(frame, schema)
    index = frame.index
    check_columns(frame, list(schema.target.names))
    target = read_target(index, {name: as_cells(frame[name]) for name in schema.target.names}, schema.target)
    lacking = np.array(target == GAP if target.ndim == 1 else np.isnan(target).any(axis=1), dtype=bool)
    if lacking.any():
        raise DataError(
            f"The target {listed(list(schema.target.names))} is missing in {where(index, lacking)}. A target is never "
            "imputed: fill it in, or leave out these rows."
        )
    for i, name in enumerate(schema.target.names if target.ndim == 2 else ()):
        _check_finite(index, name, target[:, i])
    group, time, weights = (
        None if name is None or name not in frame else read(name, frame[name])
        for name, read in ((schema.group, _group), (schema.time, read_time), (schema.weights, _weights))
    )
    if schema.group is not None and group is None:
        notice(f"The table has no column '{schema.group}' of groups: intervals resample its rows one by one.")
    if schema.weights is not None and weights is None:
        notice(f"The table has no column '{schema.weights}' of weights: every row counts alike.")
        weights = np.ones(len(frame))
    return Table(schema, features.numbers, features.codes, features.rows, target, group, time, weights)


def check_columns(frame: pd.DataFrame, needed: list[str]) -> None:
    """Refuse a frame without some column that is needed."""
    lacking = [name for name in needed if name not in frame]
    if not lacking:
        return
    noun = "column" if len(lacking) == 1 else "columns"
    near = did_you_mean(lacking[0], map(str, frame.columns))
    mend = near if near.startswith(" Did") else ""
    raise DataError(
        f"The table lacks {noun} {listed(lacking)}, which the model was trained on; it has "
        f"{listed(list(map(str, frame.columns)))}. Rename or add what is missing.{mend}"
    )


def read_time(name: str, column: "pd.Series[Any]") -> Float[np.ndarray, " row"]:
    """Times as numbers: numbers as they are, dates (ISO, such as 2024-01-31) as seconds.

    >>> read_time("day", pd.Series(["1970-01-02", "1970-01-01"])).tolist()
    [86400.0, 0.0]

    Raises `DataError` for any other text, and missing times.
    """
    cells = as_cells(column)
    missing = missing_cells(cells)
    if missing.any():
        raise DataError(
            f"The time '{name}' is missing in {where(column.index, missing)}. Fill it in, or drop these rows."
        )
    numbers = as_numbers(cells)
    if not np.isnan(numbers.value).any():
        return numbers.value
    times = pd.to_datetime(pd.Series(as_texts(cells), dtype=object), format="ISO8601", utc=True, errors="coerce")
    undated = times.isna().to_numpy()
    unread = undated if undated.mean() < np.isnan(numbers.value).mean() else np.isnan(numbers.value)
    if unread.any():
        first = cells[int(np.flatnonzero(unread)[0])]
        raise DataError(
            f"The time '{name}' holds {first!r} in {where(column.index, unread)}, but times are numbers in every row, "
            "or dates as 2024-01-31 or 2024-01-31T18:30 in every row. Write it so, and its order is certain."
        )
    return (times - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy(np.float64)


def _group(name: str, column: "pd.Series[Any]") -> Shaped[np.ndarray, " row"]:
    cells = as_cells(column)
    if (missing := missing_cells(cells)).any():
        raise DataError(
            f"The group '{name}' is missing in {where(column.index, missing)}. Fill it in, or drop these rows."
        )
    return np.asarray(cells)


def _weights(name: str, column: "pd.Series[Any]") -> Float[np.ndarray, " row"]:
    numbers = as_numbers(as_cells(column))
    bad = ~np.isfinite(numbers.value) | (numbers.value < 0)
    if bad.any():
        first = as_cells(column)[int(np.flatnonzero(bad)[0])]
        held = "are missing" if numbers.missing[bad][0] else f"hold {first!r}"
        raise DataError(
            f"The weights '{name}' {held} in {where(column.index, bad)}. A weight is a number, 0 or larger, in every "
            "row: correct these cells, or leave off --weights (a file to judge needs no such column)."
        )
    if not numbers.value.any():
        raise DataError(
            f"The weights '{name}' are 0 in every row, so that no row counts. Leave off --weights (a file to judge "
            "needs no such column)."
        )
    return numbers.value


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose columns are named by texts, each once, and that has rows.

    >>> named(pd.DataFrame({0: [1.5]})).columns.tolist()
    ['0']

    Raises `DataError` for a name that several columns have, and for a frame without examples.
    """
    frame = frame if all(isinstance(name, str) for name in frame.columns) else frame.rename(columns=str)
    if repeated := frame.columns[frame.columns.duplicated()].unique().tolist():
        raise DataError(f"The frame has several columns of one name: {listed(repeated)}. Give each its own name.")
    if frame.empty:
        raise DataError(f"The frame is empty: 0 rows, {counted(len(frame.columns), 'column')}. It needs examples.")
    return frame


def _check_finite(index: pd.Index, name: str, value: Float[np.ndarray, " row"]) -> None:
    infinite = np.isinf(value)
    if infinite.any():
        raise DataError(
            f"Column '{name}' is infinite, or too large for a number, in {where(index, infinite)}. Correct these cells."
        )


def _refuse_gaps(index: pd.Index, names: list[str], gaps: np.ndarray, missing: str) -> None:
    lacking = [i for i in range(len(names)) if gaps[:, i].any()]
    if not lacking:
        return
    told = ", ".join(f"'{names[i]}' {gaps[:, i].sum():,} ({where(index, gaps[:, i], 3)})" for i in lacking[:5])
    cells = f"{counted(int(gaps.sum()), 'cell')} {'is' if gaps.sum() == 1 else 'are'}"
    raise DataError(
        f"{cells} missing: {told}. The model was trained with --missing {missing}, which has no value "
        "for them: fill them in, leave out these rows, or train with --missing impute."
    )
