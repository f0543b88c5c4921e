"""A Parquet file of numbers as a stream: read by row groups, shuffled by row groups and within a window of them.

In an epoch of training the groups come in an order that the generator draws; so many of them as the window holds lie in
memory at a time, and their rows are dealt in an order that it draws too. What lies before a batch to resume at is never
read: how many rows a group has is said at the end of the file.
"""

import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.core.arrays import as_tensors
from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.wording import counted

Pair = tuple[Tensor, Tensor]
Left = tuple[list[Pair], int, list[int]]


@dataclass(frozen=True)
class ParquetSource:
    """Batches `(x, y)` of a Parquet file: `x` the columns `features` (None: all but the target), `y` the target.

    A target given by name is `(batch,)`, classes where it holds whole numbers; a list of them `(batch, targets)`.
    `window` row groups are in memory at a time; `groups` are those that belong to this source (None: all). It has no
    subsets of rows: `of_groups` gives some groups alone, to validate on for instance.

        source = ParquetSource("t.parquet", target="y", window=16)
        train, validation = source.of_groups(range(90)), source.of_groups(range(90, 100))

    Raises `DataError` for a file that cannot be read, columns that are not there or hold no numbers, and, when they are
    read, for missing or infinite cells; `RecipeError` for a window or groups that cannot be.
    """

    path: str | Path
    target: str | Sequence[str]
    features: Sequence[str] | None = None
    window: int = 8
    groups: tuple[int, ...] | None = None
    batch_size: int | None = 32
    merge_single: bool = False

    def __post_init__(self) -> None:
        if self.window < 1:
            raise RecipeError(
                f"window={self.window}, but at least 1 row group is in memory at a time, such as window=8."
            )
        with _opened(self.path) as file:
            schema, total = file.schema_arrow, file.num_row_groups
            counts = [file.metadata.row_group(group).num_rows for group in range(total)]
        targets = self._targets()
        features = [name for name in schema.names if name not in targets] if self.features is None else self.features
        _check_columns(self.path, schema, [*features, *targets])
        if not features:
            raise DataError(f"{self.path} has no column beside the target. Inputs are columns of numbers.")
        groups = tuple(range(total)) if self.groups is None else self.groups
        if any(not 0 <= group < total for group in groups):
            raise RecipeError(f"groups={list(groups)}, but {self.path} has {counted(total, 'row group')}, from 0 on.")
        groups = tuple(group for group in groups if counts[group])
        if not groups:
            raise DataError(f"{self.path} has no rows. It needs at least one example.")
        object.__setattr__(self, "features", tuple(features))
        object.__setattr__(self, "groups", groups)
        object.__setattr__(self, "_rows", [counts[group] for group in groups])

    def __len__(self) -> int:
        return sum(self._counts())

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Pair]:
        counts, places = self._counts(), list(range(len(self._counts())))
        if generator is not None:
            places = torch.randperm(len(places), generator=generator).tolist()
        edges = self._edges()[start:]
        held, first = list[Pair](), 0  # rows from number `first` of the epoch on
        for at in range(0, len(places), self.window):
            window = places[at : at + self.window]
            size = sum(counts[place] for place in window)
            order = None if generator is None else torch.randperm(size, generator=generator)
            if len(edges) < 2 or first + _length(held) + size <= edges[0]:
                first += size
                continue
            held.append(self._window(window, order))
            held, first, edges = yield from _dealt(held, first, edges)

    def batched(self, size: int | None, merge_single: bool = False) -> "ParquetSource":
        return replace(self, batch_size=size, merge_single=merge_single)

    def count_batches(self) -> int:
        """The batches of an epoch."""
        return len(self._edges()) - 1

    def of_groups(self, groups: Sequence[int]) -> "ParquetSource":
        """Some row groups of the file alone, by their numbers in it."""
        return replace(self, groups=tuple(map(int, groups)))

    def fingerprint(self) -> str:
        """A hash of the file's end, which holds the places, lengths and extremes of all columns, and of the choices."""
        said = (self.target, self.features, self.window, self.groups, self.batch_size, self.merge_single)
        with Path(self.path).open("rb") as file:
            file.seek(-8, 2)
            length = int.from_bytes(file.read(4), "little")
            file.seek(-8 - length, 2)
            return hashlib.sha256(file.read() + repr(said).encode()).hexdigest()

    def _targets(self) -> list[str]:
        return [self.target] if isinstance(self.target, str) else list(self.target)

    def _counts(self) -> list[int]:
        """The rows of each group."""
        return vars(self)["_rows"]

    def _edges(self) -> list[int]:
        """Where batches begin, and where the last one ends."""
        total = len(self)
        edges = [*range(0, total, self.batch_size or total), total]
        if self.merge_single and len(edges) > 2 and edges[-1] - edges[-2] == 1:
            del edges[-2]
        return edges

    def _window(self, places: list[int], order: Tensor | None) -> Pair:
        """The rows of some groups, in their own order or another."""
        assert self.groups is not None
        with _opened(self.path) as file:
            parts = [self._group(file, self.groups[place]) for place in places]
        x, y = (torch.cat(column) for column in zip(*parts, strict=True))
        return (x, y) if order is None else (x[order], y[order])

    def _group(self, file: Any, group: int) -> Pair:
        targets = self._targets()
        table = file.read_row_group(group, columns=[*(self.features or ()), *targets])
        x = np.stack([_numbers(self.path, group, table, name) for name in self.features or ()], 1)
        columns = [_numbers(self.path, group, table, name) for name in targets]
        y = columns[0] if isinstance(self.target, str) else np.stack(columns, 1)
        return as_tensors((x.astype(np.float64), y), "Parquet")


def _length(held: list[Pair]) -> int:
    return sum(len(y) for _, y in held)


def _dealt(held: list[Pair], first: int, edges: list[int]) -> Generator[Pair, None, Left]:
    """The batches that lie in the rows at hand; returns what is left of these, and where it begins."""
    x, y = (torch.cat(column) for column in zip(*held, strict=True))
    done = 0
    for begin, end in pairwise(edges):
        if end > first + len(y):
            break
        yield x[begin - first : end - first].clone(), y[begin - first : end - first].clone()
        done += 1
    edges = edges[done:]
    kept = max(edges[0] - first, 0)
    return [(x[kept:], y[kept:])], first + kept, edges


def _opened(path: str | Path) -> Any:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError(f"{path} is a Parquet file, which needs pyarrow to be read: pip install pyarrow.") from None
    try:
        return ParquetFile(path)
    except FileNotFoundError:
        raise DataError(f"There is no file {path}. Give a Parquet file.") from None
    except (ArrowException, OSError) as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise DataError(
            f"{path} cannot be read as Parquet: {said}. Write it again, or give a file in Parquet."
        ) from None


def _check_columns(path: str | Path, schema: Any, names: list[str]) -> None:
    from pyarrow import types

    for name in names:
        if name not in schema.names:
            raise DataError(f"{path} has no column '{name}'.{did_you_mean(name, schema.names)}")
        kind = schema.field(name).type
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
            raise DataError(
                f"{path}: the column '{name}' holds {kind}, but a stream reads numbers. Leave it out (features=[...]), "
                "or write it as numbers."
            )


def _numbers(path: str | Path, group: int, table: Any, name: str) -> np.ndarray:
    column = table.column(name)
    missing = column.null_count
    values = np.empty(0) if missing else column.to_numpy()
    values = values.astype(np.int64) if values.dtype.kind == "b" else values
    bad = 0 if missing or values.dtype.kind != "f" else int((~np.isfinite(values)).sum())
    if missing or bad:
        what = counted(missing, "missing cell") if missing else f"{counted(bad, 'value')} not finite"
        raise DataError(
            f"{path}: the column '{name}' has {what} in row group {group}. Training needs finite numbers: fill them "
            "in, or leave the rows out, before the file is written."
        )
    return values
