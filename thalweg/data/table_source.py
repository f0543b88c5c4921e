"""A table as a source of batches: encoded once, subsets and folds by row, statistics fitted to the rows of training."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.core.arrays import ArraySource
from thalweg.core.nest import Nest, leaves
from thalweg.data.encoding import Encoding, fit_encoding
from thalweg.data.inference import infer_roles, without_missing
from thalweg.data.schema import Schema
from thalweg.data.table import Table, check_columns, read_rows


@dataclass(frozen=True, repr=False)
class TableSource:
    """Rows of a table as batches `(x, y)`, or `(x, (y, w))` where the table has the schema's column of weights.

    `ids` are rows of `frame` and of `table`, the same rows as numbers; `arrays` holds those of `ids` encoded. It keeps
    core's protocols `Source`, `Indexed`, `Batched`, `Described`, `Fitted` and `Restoring`.

    >>> from thalweg.data.inference import infer_schema
    >>> frame = pd.DataFrame({"size": [1, 2, 3, 6], "kind": list("abab")})
    >>> schema = infer_schema(frame, infer_roles(list(frame), "kind"))
    >>> source = TableSource.of(frame, fit_encoding(read_rows(frame, schema)))
    >>> source, source.meta([0, 3])["label"].tolist()
    (TableSource(4 rows, inputs 1, classification, outputs 2), ['a', 'b'])
    """

    frame: pd.DataFrame
    table: Table
    encoding: Encoding
    ids: Int[np.ndarray, " example"]
    arrays: ArraySource

    @classmethod
    def of(cls, frame: pd.DataFrame, encoding: Encoding) -> "TableSource":
        """All rows of a frame in a given encoding, to evaluate on; categories that training never saw are said.

        Raises `DataError` for missing columns, labels that are no class, and whatever else cannot be read.
        """
        schema = encoding.schema
        if schema.missing == "drop":
            names = [column.name for column in schema.columns]
            check_columns(frame, [*names, *schema.target.names])
            roles = infer_roles(list(map(str, frame.columns)), schema.target.names, features=names)
            frame = without_missing(frame, roles, encoding.task, "drop")
        table = read_rows(frame, schema)
        encoding.announce_unseen(table, frame.index)
        return _encoded(frame, table, encoding)

    @classmethod
    def fitted(cls, frame: pd.DataFrame, schema: Schema) -> "TableSource":
        """All rows of a frame, in the encoding that is fitted to all of them."""
        table = read_rows(frame, schema)
        return _encoded(frame, table, fit_encoding(table))

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

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        return self.arrays.batches(epoch, start, generator)

    def batched(self, size: int | None, merge_single: bool = False) -> Self:
        return replace(self, arrays=self.arrays.batched(size, merge_single))

    def take(self, ids: Any) -> Self:
        index = np.asarray(ids, dtype=np.int64)
        return replace(self, ids=self.ids[index], arrays=self.arrays.take(index))

    def fit(self, train_ids: Any) -> Self:
        """The same rows, encoded with the means, deviations and seen categories of `train_ids` alone."""
        encoding = fit_encoding(self.table, self.ids[np.asarray(train_ids, dtype=np.int64)])
        data = _encode(self.table.take(self.ids), encoding)
        return replace(self, encoding=encoding, arrays=replace(self.arrays, data=data))

    def meta(self, ids: Any) -> dict[str, Any]:
        """Of each of these rows the "label" (classes only), "group" and "time" where given, and "row", its place."""
        rows = self.table.take(self.ids[np.asarray(ids, dtype=np.int64)])
        known = {"label": self._labels(rows), "group": rows.group, "time": rows.time, "row": rows.rows}
        return {name: value for name, value in known.items() if value is not None}

    def restore(self, values: Float[Tensor, "... outputs"]) -> Float[Tensor, "... outputs"]:
        """Outputs or targets in the target's own units."""
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


def _encoded(frame: pd.DataFrame, table: Table, encoding: Encoding) -> TableSource:
    return TableSource(frame, table, encoding, np.arange(len(table)), ArraySource(_encode(table, encoding), 32))


def _encode(table: Table, encoding: Encoding) -> Nest:
    x, y = encoding.encode(table), encoding.encode_target(table)
    return (x, y) if table.weights is None else (x, (y, torch.as_tensor(table.weights, dtype=x.dtype)))
