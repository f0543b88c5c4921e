"""The encoding: what training learned of a table, and with it the way from rows to tensors and from outputs back.

A number $x$ becomes $(x - m) / s$ with the mean $m$ and the standard deviation $s$ of the training rows; a category
becomes one of as many zeros and ones as the schema has values; a missing number becomes 0, its mean, and a one in a
column of its own. What training rows never showed encodes as zeros: a category that is not among them, a number that
is constant among them. A number to predict is scaled likewise, and `restore` gives it back in its own units.

An image is kept as it is, with one mean and one deviation for all its pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from thalweg.core.errors import DataError
from thalweg.core.notices import notice
from thalweg.data.cells import as_cells, as_texts
from thalweg.data.encoded_target import EncodedTarget, as_floats
from thalweg.data.places import listed, where
from thalweg.data.schema import Column, Kind, Schema, TargetKind
from thalweg.data.table import GAP, Table, read_features, read_rows

Ids = Int[np.ndarray, " _example"]


@dataclass(frozen=True)
class Encoding(EncodedTarget):
    """A schema with the statistics of the rows that were trained on: all that prediction needs.

    `seen` marks, for each column of categories, those that training rows hold.

    >>> from thalweg.data.schema import Column, Kind, Target
    >>> schema = Schema((Column("size", Kind.NUMBER),), Target(("y",), TargetKind.NUMBERS))
    >>> encoding = Encoding(schema, (2.0,), (4.0,), (), (10.0,), (5.0,))
    >>> encoding.inputs(pd.DataFrame({"size": [2, 10]})), encoding.restore(torch.tensor([[1.0]]))
    (tensor([[0.],
            [2.]]), tensor([[15.]], dtype=torch.float64))
    >>> Encoding.from_json(encoding.to_json()) == encoding
    True
    """

    schema: Schema
    means: tuple[float, ...]
    scales: tuple[float, ...]
    seen: tuple[tuple[bool, ...], ...]
    target_means: tuple[float, ...] = ()
    target_scales: tuple[float, ...] = ()

    @property
    def feature_names(self) -> list[str]:
        """The name of every input, in order: "size", "size (missing)", "kind=a"."""
        schema = self.schema
        names = [column.name for column in schema.numbers]
        names += [f"{column.name} (missing)" for column in schema.numbers if column.gaps]
        for column in schema.categories:
            names += [f"{column.name}={category}" for category in column.categories]
            names += [f"{column.name} (missing)"] if column.gaps else []
        return names

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example: `(features,)`, or `(channel, height, width)`."""
        return self.schema.layout or (self.width,)

    @property
    def width(self) -> int:
        """How many inputs an example has."""
        return len(self.feature_names)

    def inputs(self, frame: pd.DataFrame) -> Float[Tensor, "batch ..."]:
        """The inputs of a frame's rows; categories that training never saw are zeros, and said.

        Raises `DataError` for missing columns (did you mean), text among numbers, missing cells that cannot be imputed.
        """
        table = read_features(frame, self.schema)
        self.announce_unseen(frame.rename(columns=str), table)
        return self.encode(table)

    def targets(self, frame: pd.DataFrame) -> Shaped[Tensor, "batch ..."]:
        """The targets of a frame's rows: int64 classes, a distribution over classes, or scaled numbers `(batch, d)`.

        Raises `DataError` for labels that are no class, and missing targets.
        """
        return self.encode_target(read_rows(frame, self.schema))

    def encode(self, table: Table) -> Float[Tensor, "batch ..."]:
        """The inputs of a table that was read by this schema."""
        means, scales = np.array(self.means), np.array(self.scales)
        scaled = np.zeros_like(table.numbers)
        with np.errstate(over="ignore"):
            np.divide(table.numbers - means, scales, out=scaled, where=(scales > 0) & ~np.isnan(table.numbers))
        self._check_range(table, scaled)
        if self.schema.layout is not None:
            return as_floats(scaled).reshape(len(table), *self.schema.layout)
        gaps = [np.isnan(table.numbers[:, i]) for i, column in enumerate(self.schema.numbers) if column.gaps]
        slots = [self._slots(i, table.codes[:, i]) for i in range(len(self.schema.categories))]
        return as_floats(np.concatenate([scaled, *(gap[:, None] for gap in gaps), *slots], axis=1))

    def encode_target(self, table: Table) -> Shaped[Tensor, "batch ..."]:
        """The targets of a table that was read by this schema."""
        assert table.target is not None
        return self.encode_values(table.target)

    def announce_unseen(self, frame: pd.DataFrame, table: Table) -> None:
        """Say which rows of a frame hold what training never saw: categories, and gaps in columns that had none."""
        for i, column in enumerate(self.schema.categories):
            codes = table.codes[:, i]
            unseen = ~np.array([*self.seen[i], False, True])[codes]
            if unseen.any():
                texts = as_texts(as_cells(frame[column.name]))
                values = list(dict.fromkeys(str(texts[row]) for row in np.flatnonzero(unseen)))
                notice(
                    f"Column '{column.name}' holds {listed(values, 3)} in {where(frame.index, unseen, 3)}, which no "
                    f"training row does: {unseen.sum():,} of {len(unseen):,} rows are encoded without it, as zeros."
                )
            self._announce_gaps(frame, column, codes == GAP)
        for i, column in enumerate(self.schema.numbers):
            self._announce_gaps(frame, column, np.isnan(table.numbers[:, i]))

    def _check_range(self, table: Table, scaled: Float[np.ndarray, "row number"]) -> None:
        far = np.abs(scaled) > torch.finfo(torch.get_default_dtype()).max
        if far.any():
            row, i = np.argwhere(far)[0]
            raise DataError(
                f"Column '{self.schema.numbers[i].name}' holds {table.numbers[row, i]:g} in "
                f"{where(table.rows, far[:, i])}, too far from the training rows to be scaled. Correct it, or put the "
                "column on a logarithmic scale."
            )

    def _announce_gaps(self, frame: pd.DataFrame, column: Column, gap: Bool[np.ndarray, " row"]) -> None:
        if gap.any() and not column.gaps:
            notice(
                f"Column '{column.name}' is missing in {where(frame.index, gap, 3)}, as it never was in training: "
                f"{'the mean of the training rows' if column.kind is Kind.NUMBER else 'no category'} is taken."
            )

    def to_json(self) -> dict[str, Any]:
        """The encoding in plain values, floats exact."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Encoding":
        """The encoding that `to_json` wrote, also after it went through a file.

        Raises `ValueError` for statistics that are not those of the schema's columns.
        """
        schema = Schema.from_json(plain["schema"])
        numbers = 1 if schema.layout else len(schema.numbers)
        targets = len(schema.target.names) if schema.target.kind is TargetKind.NUMBERS else 0
        counts = {"means": numbers, "scales": numbers, "target_means": targets, "target_scales": targets}
        floats = {name: numbers_of(name, plain[name], count) for name, count in counts.items()}
        seen = tuple(tuple(map(bool, marks)) for marks in plain["seen"])
        if [len(marks) for marks in seen] != [len(column.categories) for column in schema.categories]:
            raise ValueError(f"'seen' marks other categories than those of {len(schema.categories)} columns")
        return cls(schema, seen=seen, **floats)

    def _slots(self, i: int, codes: Int[np.ndarray, " row"]) -> Bool[np.ndarray, "row slot"]:
        """One column of zeros and ones for each category, and one for gaps where the schema has them."""
        column = self.schema.categories[i]
        count = len(column.categories)
        slot = np.where((codes == GAP) & column.gaps, count, codes)
        known = np.array([*self.seen[i], *([True] if column.gaps else [])], dtype=bool)
        return (slot[:, None] == np.arange(count + column.gaps)) & known


def numbers_of(name: str, values: Any, count: int) -> tuple[float, ...]:
    """Statistics out of a file, one for each column.

    Raises `ValueError` for what is none.
    """
    if not isinstance(values, list | tuple) or len(values) != count:
        raise ValueError(f"'{name}' is {str(values)[:40]}, but {count} numbers are due")
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        raise ValueError(f"'{name}' is {str(values)[:40]}, not all of it numbers")
    return tuple(map(float, values))


def fit_encoding(table: Table, train_ids: Ids | None = None) -> Encoding:
    """The encoding with the statistics of these rows alone.

    >>> from thalweg.data.schema import Column, Kind, Target
    >>> schema = Schema((Column("size", Kind.NUMBER),), Target(("y",), TargetKind.NUMBERS))
    >>> frame = pd.DataFrame({"size": [1.0, 3.0, 100.0], "y": [0.0, 10.0, -70.0]})
    >>> fit_encoding(read_rows(frame, schema), np.array([0, 1])).means
    (2.0,)
    """
    rows = table if train_ids is None else table.take(train_ids)
    schema = table.schema
    columns = [rows.numbers] if schema.layout is not None else list(rows.numbers.T)
    means, scales = statistics(columns)
    seen = tuple(
        tuple(np.isin(np.arange(len(column.categories)), rows.codes[:, i]).tolist())
        for i, column in enumerate(schema.categories)
    )
    if schema.target.kind is not TargetKind.NUMBERS or rows.target is None:
        return Encoding(schema, means, scales, seen)
    target_means, target_scales = statistics(list(rows.target.T))
    return Encoding(schema, means, scales, seen, target_means, tuple(scale or 1.0 for scale in target_scales))


def statistics(columns: Sequence[Float[np.ndarray, "..."]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each column without its gaps; a deviation of 0 where it is constant or empty.

    >>> statistics([np.array([1.0, 3.0]), np.array([5.0, 5.0])])
    ((2.0, 5.0), (1.0, 0.0))
    """
    pairs = [_mean_and_deviation(column[~np.isnan(column)]) for column in columns]
    return tuple(mean for mean, _ in pairs), tuple(scale for _, scale in pairs)


def _mean_and_deviation(known: Float[np.ndarray, " value"]) -> tuple[float, float]:
    if len(known) == 0:
        return 0.0, 0.0
    if known.min() == known.max():
        return float(known[0]), 0.0
    size = float(np.abs(known).max())  # numbers near 1e300 have no square
    return float(np.mean(known / size)) * size, float(np.std(known / size)) * size
