"""Tensors in memory, or arrays in a file, as a source: batches are cut out by indexing, with no per-example work."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter, methodcaller
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from thalweg.core.errors import DataError
from thalweg.core.mapped import Mapped, Pages, file_behind
from thalweg.core.nest import Nest, count_examples, describe, leaves, map_columns, map_tensors, to_device
from thalweg.core.notices import notice
from thalweg.core.source import NUMBERED


@dataclass(frozen=True)
class ArraySource:
    """A nest of tensors, or of arrays in files (`Mapped`), that share axis 0, cut into batches.

    `numbers` are the places of these examples in the arrays that they were taken from, None where these are all.

    >>> source = ArraySource((torch.arange(5), torch.arange(5)), batch_size=2)
    >>> [x.tolist() for x, y in source.batches(1, 0, torch.Generator().manual_seed(0))]
    [[4, 0], [1, 3], [2]]
    >>> source.take([0, 2]).data[0]
    tensor([0, 2])
    """

    data: Nest
    batch_size: int | None
    merge_single: bool = False
    numbers: Int[Tensor, " example"] | None = field(default=None, repr=False, compare=False, kw_only=True)

    def __len__(self) -> int:
        return count_examples(self.data)

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        n = len(self)
        size = self.batch_size or n
        if generator is None and size >= n:
            yield from (map_tensors(methodcaller("clone"), self.data),)[start:]  # a model may write into its inputs
            return
        for chunk in cut(to_device(self._order(generator), self._device), size, self.merge_single)[start:]:
            yield map_tensors(partial(_rows, index=chunk), self.data)

    def ordered(self, epoch: int, generator: torch.Generator | None) -> list[Tensor]:
        """The examples of each batch of an epoch."""
        return cut(self._order(generator), self.batch_size or len(self), self.merge_single)

    def _order(self, generator: torch.Generator | None) -> Tensor:
        n = len(self)
        return torch.arange(n) if generator is None else torch.randperm(n, generator=generator)

    @property
    def _device(self) -> torch.device:
        """Where the tensors lie, the first of them where they lie apart: there the order of an epoch goes at once."""
        return next((leaf.device for leaf in leaves(self.data) if isinstance(leaf, Tensor)), torch.device("cpu"))

    def take(self, ids: Any) -> "ArraySource":
        index = torch.as_tensor(np.asarray(ids), dtype=torch.int64)
        return replace(self, data=map_tensors(itemgetter(index), self.data), numbers=self._numbered(index))

    def where(self, ids: Any) -> list[str]:
        """The places of these examples in the arrays as they were given, from 0."""
        return [f"{NUMBERED}{place}" for place in self._numbered(torch.as_tensor(np.asarray(ids))).tolist()]

    def _numbered(self, index: Tensor) -> Tensor:
        known = self.numbers is not None and len(self.numbers) == len(self)
        return self.numbers[index.cpu()] if known and self.numbers is not None else index.cpu()

    def meta(self, ids: Any) -> dict[str, Any]:
        """The class of each of these examples, where the targets are classes: folds spread them evenly."""
        y = self.data[1] if isinstance(self.data, tuple) and len(self.data) == 2 else None
        if not isinstance(y, Tensor) or not are_classes(y):
            return {}
        return {"label": y[torch.as_tensor(np.asarray(ids), dtype=torch.int64)].numpy(force=True)}

    def batched(self, size: int | None, merge_single: bool = False) -> "ArraySource":
        return replace(self, batch_size=size, merge_single=merge_single)

    def count_batches(self) -> int:
        """The batches of an epoch of training."""
        return count_batches(len(self), self.batch_size, self.merge_single)

    def joined(self, other: "ArraySource") -> "ArraySource":
        """The examples of both, the other's behind."""
        theirs = leaves(other.data)
        return replace(self, data=map_tensors(lambda own: torch.cat([own, next(theirs)]), self.data), numbers=None)


def _nowhere() -> Tensor:
    return torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class Drawn(ArraySource):
    """Arrays out of a larger whole, with some examples left out and some more than once.

    `origin` is the place of each in the whole, which had `whole` examples: by it copies stay together, and what stays
    lies where it lay, however the whole is dealt out.

    >>> drawn = Drawn.of(ArraySource(torch.tensor([5, 6, 7]), None), [0, 2, 2])
    >>> drawn.data, drawn.take([1]).origin, drawn.whole
    (tensor([5, 7, 7]), tensor([2]), 3)
    """

    origin: Int[Tensor, " example"] = field(default_factory=_nowhere)
    whole: int = 0

    @staticmethod
    def of(source: ArraySource, ids: Any) -> "Drawn":
        """The examples of a source at these places, which know them; places of places are those in the first whole."""
        if isinstance(source, Drawn):
            return source.take(ids)
        part = source.take(index := torch.as_tensor(np.asarray(ids), dtype=torch.int64))
        return Drawn(part.data, part.batch_size, part.merge_single, index, len(source), numbers=part.numbers)

    def take(self, ids: Any) -> "Drawn":
        index = torch.as_tensor(np.asarray(ids), dtype=torch.int64)
        data, numbers = map_tensors(itemgetter(index), self.data), self._numbered(index)
        return replace(self, data=data, numbers=numbers, origin=self.origin[index])

    def joined(self, other: ArraySource) -> ArraySource:
        """The examples of both, the other's behind: they are of one whole no longer."""
        return ArraySource(self.data, self.batch_size, self.merge_single).joined(other)


def are_classes(y: Tensor) -> bool:
    """Whether targets look like classes: whole numbers on one axis, few of them distinct."""
    return y.dim() == 1 and not y.is_floating_point() and len(y.unique()) <= max(20, len(y) // 10)


def count_batches(n: int, size: int | None, merge_single: bool = False, drop_last: bool = False) -> int:
    """How many batches n examples make.

    >>> count_batches(5, 2), count_batches(5, 2, merge_single=True), count_batches(5, 2, drop_last=True)
    (3, 2, 2)
    """
    size = size or n
    left = n % size
    shorter = n > size and ((merge_single and left == 1) or (drop_last and left > 0))
    return -(-n // size) - shorter


def cut(order: Tensor, size: int, merge_single: bool = False) -> list[Tensor]:
    """An order of examples in batches of `size`; a last batch of one joins the batch before it when asked.

    >>> [len(chunk) for chunk in cut(torch.arange(5), 2)], [len(chunk) for chunk in cut(torch.arange(5), 2, True)]
    ([2, 2, 1], [2, 3])
    """
    chunks = list(order.split(size))
    if merge_single and len(chunks) > 1 and len(chunks[-1]) == 1:
        chunks[-2:] = [torch.cat(chunks[-2:])]
    return chunks


def _rows(column: Tensor | Mapped, index: Tensor) -> Tensor:
    if isinstance(column, Mapped):
        return column.rows(index.cpu())
    return torch.index_select(column, 0, index.to(column.device))


def as_tensors(nest: Nest, split: str) -> Nest:
    """Arrays as tensors: floating NumPy arrays in torch's default type, integers as int64; tensors stay as they are.

    Raises `DataError` for arrays of text or objects.
    """
    return map_columns(partial(_as_tensor, split=split), nest)


def as_columns(nest: Nest, split: str) -> Nest:
    """The same, but arrays in a file stay there, to be read by the batch.

    One number for each example is read at once: the order of an epoch takes as much memory.
    """
    return map_columns(partial(_as_column, split=split), nest)


def _as_tensor(value: Any, split: str) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    array = np.asarray(value)
    converted = np.ascontiguousarray(array, dtype=_kept_as(array, split))
    return torch.from_numpy(converted if converted.flags.writeable else converted.copy())


def _as_column(value: Any, split: str) -> Tensor | Mapped:
    file = file_behind(value)
    if file is None or value.ndim < 2:
        return _as_tensor(value, split)
    if value.flags.f_contiguous and not value.flags.c_contiguous:
        notice(
            f"The {split} split's file {file.filename} holds an array of shape {value.shape} column by column (Fortran "
            "order), so that each example is read from many places. Write it anew with np.ascontiguousarray for speed."
        )
    return Mapped(np.asarray(value), _kept_as(value, split), Pages(file))


def _kept_as(array: np.ndarray, split: str) -> np.dtype[Any]:
    """The type in which numbers are trained on."""
    if array.dtype.kind == "f":
        return np.dtype(str(torch.get_default_dtype()).split(".")[1])
    if array.dtype.kind in "iu":
        return np.dtype(np.uint8 if array.dtype == np.uint8 else np.int64)
    if array.dtype.kind in "bc":
        return array.dtype.newbyteorder("=")
    raise DataError(
        f"The {split} split holds an array of {array.dtype} (first value {array.reshape(-1)[:1].tolist()}), but a "
        "network needs numbers. Encode text as integer classes, for instance with sklearn.preprocessing.LabelEncoder, "
        "or give the file itself to the command line, which encodes tables."
    )


def check_lengths(data: Nest, split: str) -> None:
    """Refuse tensors that do not share axis 0, and splits without examples."""
    lengths = [leaf.shape[0] if leaf.dim() else None for leaf in leaves(data)]
    if not lengths or None in lengths or len(set(lengths)) > 1:
        raise DataError(
            f"The {split} split holds {describe(data)}, whose tensors do not share axis 0, the examples. Every input "
            "and target needs one row for each example, and several inputs are a tuple, ((a, b), y), not a list; for a "
            "graph, or anything that is one batch as a whole, set batch_size=None."
        )
    if lengths[0] == 0:
        raise DataError(f"The {split} split is empty: {describe(data)}. It needs at least one example.")


def arrays_of(source: Any) -> ArraySource | None:
    """The pair of tensors that a source cuts its batches from; None where it is made otherwise.

    >>> arrays_of(ArraySource((torch.ones(3, 2), torch.ones(3)), 2)) is not None
    True
    """
    arrays = source if isinstance(source, ArraySource) else getattr(source, "arrays", None)
    if not isinstance(arrays, ArraySource) or not isinstance(arrays.data, tuple) or len(arrays.data) != 2:
        return None
    tensors = all(isinstance(part, Tensor) and part.device.type == "cpu" for part in arrays.data)
    return arrays if tensors and arrays.data[0].is_floating_point() else None
