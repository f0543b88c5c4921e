"""A table as a source of batches: encoded once, subsets and folds by row, statistics fitted to the rows of training."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from thalweg.core.arrays import ArraySource
from thalweg.core.nest import Nest, leaves
from thalweg.data.columns import parse
from thalweg.data.encoding import Encoding, fit_encoding
from thalweg.data.inference import Roles, without_missing
from thalweg.data.places import each_place
from thalweg.data.schema import Schema
from thalweg.data.table import Table, check_columns, read_rows


@dataclass(frozen=True, repr=False)
class TableSource:
    """Rows of a table as batches `(x, y)`, or `(x, (y, w))` where the schema has a column of weights.

    `ids` are rows of `frame` and of `table`, the same rows as numbers; they are encoded once, when first asked for. It
    keeps core's protocols `Source`, `Indexed`, `Batched`, `Described`, `Grouped`, `Named`, `Fitted` and `Restoring`.

    >>> from thalweg.data.inference import infer_roles, infer_schema
    >>> frame = pd.DataFrame({"size": [1, 2, 3, 6], "kind": list("abab")})
    >>> frame, schema = infer_schema(frame, infer_roles(list(frame), "kind"))
    >>> source = TableSource.of(frame, fit_encoding(read_rows(frame, schema)))
    >>> source, source.meta([0, 3])["label"].tolist()
    (TableSource(4 rows, inputs 1, classification, outputs 2), ['a', 'b'])
    """

    frame: pd.DataFrame
    table: Table
    encoding: Encoding
    ids: Int[np.ndarray, " example"]
    batch_size: int | None = 32
    merge_single: bool = False

    @classmethod
    def of(cls, frame: pd.DataFrame, encoding: Encoding) -> "TableSource":
        """All rows of a frame in a given encoding, to evaluate on; categories that training never saw are said.

        Raises `DataError` for missing columns, labels that are no class, and whatever else cannot be read.
        """
        schema, frame = encoding.schema, frame.rename(columns=str)
        if schema.missing == "drop":
            names = [column.name for column in schema.columns]
            check_columns(frame, [*names, *schema.target.names])
            roles = Roles(schema.target.names, features=tuple(names))
            frame = without_missing(frame, roles, parse(frame, [*names, *schema.target.names]), "drop")
        table = read_rows(frame, schema)
        encoding.announce_unseen(frame, table)
        return cls(frame, table, encoding, np.arange(len(table)))

    @classmethod
    def fitted(cls, frame: pd.DataFrame, schema: Schema) -> "TableSource":
        """All rows of a frame, in the encoding that is fitted to all of them."""
        table = read_rows(frame, schema)
        return cls(frame, table, fit_encoding(table), np.arange(len(table)))

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.encoding.input_shape))
        return f"TableSource({len(self)} rows, inputs {shape}, {self.encoding.task}, outputs {self.encoding.outputs})"

    @property
    def schema(self) -> Schema:
        """The schema of the table."""
        return self.table.schema

    @property
    def rows(self) -> pd.DataFrame:
        """The rows as they were read, with all their columns."""
        return self.frame.iloc[self.ids]

    @property
    def feature_names(self) -> list[str]:
        """The name of every input, in order."""
        return self.encoding.feature_names

    @cached_property
    def arrays(self) -> ArraySource:
        """The rows as tensors."""
        rows = self.table.take(self.ids)
        x, y = self.encoding.encode(rows), self.encoding.encode_target(rows)
        data = (x, y) if rows.weights is None else (x, (y, torch.as_tensor(rows.weights, dtype=x.dtype)))
        return ArraySource(data, self.batch_size, self.merge_single)

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        return self.arrays.batches(epoch, start, generator)

    def ordered(self, epoch: int, generator: torch.Generator | None) -> list[Tensor]:
        """The rows of each batch of an epoch, by their place in `arrays`."""
        return self.arrays.ordered(epoch, generator)

    def batched(self, size: int | None, merge_single: bool = False) -> Self:
        source = replace(self, batch_size=size, merge_single=merge_single)
        source.__dict__["arrays"] = self.arrays.batched(size, merge_single)  # encoded once for all runs over a split
        return source

    def count_batches(self) -> int:
        """The batches of an epoch of training."""
        return self.arrays.count_batches()

    def take(self, ids: Any) -> Self:
        return replace(self, ids=self.ids[np.asarray(ids, dtype=np.int64)])

    def fit(self, train_ids: Any) -> Self:
        """The same rows, encoded with the means, deviations and seen categories of `train_ids` alone."""
        return replace(self, encoding=fit_encoding(self.table, self.ids[np.asarray(train_ids, dtype=np.int64)]))

    def meta(self, ids: Any) -> dict[str, Any]:
        """Of each of these rows the "label" (classes only), "group" and "time" where given, and "row", its place."""
        rows = self.table.take(self.ids[np.asarray(ids, dtype=np.int64)])
        known = {"label": self._labels(rows), "group": rows.group, "time": rows.time, "row": rows.rows.to_numpy()}
        return {name: value for name, value in known.items() if value is not None}

    def where(self, ids: Any) -> list[str]:
        """The line of the file that each of these rows begins on, or the name of the row in the frame."""
        return each_place(self.table.rows[self.ids[np.asarray(ids, dtype=np.int64)]])

    def scale_of(self, input: int) -> tuple[float, float] | None:
        """The mean and the deviation by which an input was scaled; None for what is no column of numbers."""
        encoding = self.encoding
        if self.schema.layout is not None or not 0 <= input < len(encoding.means) or not encoding.scales[input] > 0:
            return None
        return encoding.means[input], encoding.scales[input]

    @property
    def group_name(self) -> str | None:
        """The column of groups."""
        return self.encoding.schema.group

    def restore(self, values: Nest) -> Nest:
        """Outputs or targets in the target's own units; of targets with weights the targets alone."""
        if isinstance(values, tuple):
            target, weights = values
            return self.restore(target), weights
        return self.encoding.restore(values)

    def fingerprint(self) -> str:
        """A hash of the encoding and of the rows as a model sees them."""
        digest = hashlib.sha256(json.dumps(self.encoding.to_json()).encode())
        for tensor in leaves(self.arrays.data):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _labels(self, rows: Table) -> np.ndarray | None:
        if rows.target is None or self.encoding.task == "regression":
            return None
        classes = rows.target if rows.target.ndim == 1 else rows.target.argmax(1)
        return np.asarray(self.encoding.labels)[classes]
