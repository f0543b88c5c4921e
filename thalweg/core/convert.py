"""Whatever a user calls a split, as a `Source`."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

from thalweg.core.arrays import ArraySource, as_columns, as_tensors, check_lengths
from thalweg.core.errors import DataError
from thalweg.core.examples import ExampleSource, Zipped, column_length
from thalweg.core.nodes import NodeSource, WholeSource, is_masked_graph
from thalweg.core.notices import notice
from thalweg.core.source import Batched, Source
from thalweg.core.stream import StreamSource

LOADING = (
    "num_workers",
    "pin_memory",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
    "persistent_workers",
)


@dataclass(frozen=True)
class Batching:
    """How a recipe wants its examples batched."""

    size: int | None = 32
    collate: Callable[[list[Any]], Any] | None = None


@dataclass(frozen=True)
class Deferred:
    """A split that is loaded when it is first asked for, as a run that was read back knows its data."""

    load: Callable[[], Any]


def loaded(split: Any) -> Any:
    """A split that can be looked at: of one that is deferred what it loads, any other as it is."""
    return split.load() if isinstance(split, Deferred) else split


def as_source(split: Any, name: str = "train", batching: Batching | None = None) -> Source:
    """A pair of tensors or arrays, a `Dataset`, a `DataLoader` or a `Source`, as a `Source`.

    >>> as_source((np.ones((5, 3)), [0, 1, 0, 1, 0]))
    ArraySource(data=...
    >>> len(as_source(TensorDataset(torch.ones(7, 2), torch.ones(7))))
    7

    Raises `DataError` for an empty split, arrays that do not share axis 0, text, iterators that can be read only once.
    """
    batching = batching or Batching()
    split = loaded(split)
    if isinstance(split, DataLoader):
        return _opened(split, name, batching)
    if isinstance(split, Source):
        _check_batches(split)
        return split.batched(batching.size) if isinstance(split, Batched) else split
    if isinstance(split, IterableDataset):
        if batching.size is None:
            raise DataError(f"The {name} split is a stream, which has no whole: give Recipe.batch_size a number.")
        loader = DataLoader(split, batch_size=batching.size, collate_fn=batching.collate)
        return StreamSource(loader, name)
    if isinstance(split, TensorDataset) and batching.collate is None:
        return _arrays(split.tensors, name, batching)
    if isinstance(split, tuple | dict):
        return _columns(split, name, batching)
    if isinstance(split, Iterator):
        raise DataError(
            f"The {name} split is a {type(split).__name__} that can be read only once, but every epoch reads it anew. "
            "Give a list, a DataLoader, or an IterableDataset whose __iter__ starts over."
        )
    if (
        isinstance(split, list)
        and len(split) in (2, 3)
        and all(isinstance(part, Tensor | np.ndarray) for part in split)
    ):
        raise DataError(f"The {name} split is a list of {len(split)} arrays. Inputs and targets are a tuple: (x, y).")
    if isinstance(split, str):
        raise DataError(
            f"The {name} split is the text {split!r}, but a split holds the examples themselves: (x, y), a Dataset or "
            "a loader. A data file is read by the command line: thalweg train FILE --target COLUMN."
        )
    if isinstance(split, Dataset) and not hasattr(split, "__len__"):
        raise DataError(
            f"The {name} split is a {type(split).__name__} without __len__, so nothing can be said of its order or "
            "size. Give it a __len__, or make it an IterableDataset."
        )
    if isinstance(split, Dataset | list) or (hasattr(split, "__getitem__") and hasattr(split, "__len__")):
        return _examples(split, name, batching)
    raise DataError(
        f"The {name} split is a {type(split).__name__}, but a split is a pair (x, y) of tensors or arrays, a Dataset, "
        "a DataLoader, or an object with batches(epoch, start, generator)."
    )


def _check_batches(split: Source) -> None:
    try:
        inspect.signature(split.batches).bind(1, 0, None)
    except TypeError as error:
        raise DataError(
            f"{type(split).__name__}.batches cannot be called with (epoch, start, generator): {error}. A source gives "
            "the batches of an epoch from batch number start on: def batches(self, epoch, start, generator)."
        ) from error


def _columns(columns: Any, name: str, batching: Batching) -> Source:
    if batching.size is None and batching.collate is None:
        whole = as_tensors(columns, name)
        if is_masked_graph(whole):
            if not bool((whole[1][1] != 0).any()):
                raise DataError(f"The mask of the {name} split selects no node. Mark the nodes that belong to it.")
            return NodeSource(whole[0], *whole[1])
        try:
            check_lengths(whole, name)
        except DataError:
            return WholeSource(whole)
        return ArraySource(whole, None)
    if batching.collate is None and not _ragged(columns):
        return _arrays(columns, name, batching)
    _check_columns(columns, name)
    return _examples(Zipped(columns), name, batching)


def _arrays(columns: Any, name: str, batching: Batching) -> ArraySource:
    data = as_columns(_stacked(columns), name)
    check_lengths(data, name)
    return ArraySource(data, batching.size)


def _examples(examples: Any, name: str, batching: Batching) -> ExampleSource:
    if len(examples) == 0:
        raise DataError(f"The {name} split is empty: a {type(examples).__name__} of length 0. It needs an example.")
    return ExampleSource(examples, batching.size, batching.collate or default_collate)


def _opened(loader: DataLoader[Any], name: str, batching: Batching) -> Source:
    """A map-style loader's dataset in our own order; any other loader as it is."""
    own_order = type(loader.batch_sampler) is not BatchSampler or loader.batch_size is None
    if isinstance(loader.dataset, IterableDataset) or own_order:
        if own_order and not isinstance(loader.dataset, IterableDataset):
            notice(f"The {name} loader decides its own batches: no subsets, no folds, no exact resume inside an epoch.")
        return StreamSource(loader, name)
    if len(loader.dataset) == 0:  # type: ignore[arg-type]
        raise DataError(f"The {name} loader's dataset is empty. It needs at least one example.")
    if name == "train" and loader.batch_size != batching.size:
        notice(f"The train loader brings its own batch size {loader.batch_size}; Recipe.batch_size is not used.")
    sampler, ids = loader.sampler, None
    plain = type(sampler) is SequentialSampler or (
        type(sampler) is RandomSampler and not sampler.replacement and sampler._num_samples is None
    )
    listed = isinstance(sampler, list | tuple | range | np.ndarray | Tensor)
    if isinstance(sampler, SubsetRandomSampler) or listed:
        own = sampler.indices if isinstance(sampler, SubsetRandomSampler) else sampler
        ids, plain = torch.as_tensor(own, dtype=torch.int64), True
    elif not plain and not isinstance(sampler, WeightedRandomSampler | RandomSampler):
        notice(f"The {name} loader's {type(sampler).__name__} draws the order; subsets and judging take every example.")
    shuffled = type(sampler) is not SequentialSampler and not listed
    if name == "train" and not shuffled:
        whose = "its sampler's" if listed else "the dataset's own"
        notice(f"The train loader does not shuffle (shuffle=False): examples come in {whose} order in every epoch.")
    return ExampleSource(
        loader.dataset,
        loader.batch_size,
        loader.collate_fn,
        ids,
        sampler=None if plain else sampler,  # type: ignore[arg-type]
        own_size=True,
        shuffled=shuffled,
        drop_last=loader.drop_last,
        loading={option: getattr(loader, option) for option in LOADING} if loader.num_workers else {},
    )


def _ragged(columns: Any) -> bool:
    """Whether some column is a list whose items differ in shape."""
    if isinstance(columns, tuple):
        return any(map(_ragged, columns))
    if isinstance(columns, dict):
        return any(map(_ragged, columns.values()))
    if not isinstance(columns, list):
        return False
    return len({np.shape(item) for item in columns}) > 1 if not _nested(columns) else True


def _nested(column: list[Any]) -> bool:
    """Whether the items are themselves lists of unequal lengths, which NumPy cannot give a shape."""
    try:
        for item in column:
            np.shape(item)
    except ValueError:
        return True
    return False


def _stacked(columns: Any) -> Any:
    """Lists of equal tensors as one tensor, which NumPy would read number by number."""
    if isinstance(columns, tuple) and not hasattr(columns, "_fields"):
        return tuple(map(_stacked, columns))
    if isinstance(columns, dict):
        return {key: _stacked(column) for key, column in columns.items()}
    if isinstance(columns, list) and columns and isinstance(columns[0], Tensor):
        return torch.stack(columns)
    return columns


def _check_columns(columns: Any, name: str) -> None:
    lengths = {column_length(column) for column in (columns.values() if isinstance(columns, dict) else columns)}
    if len(lengths) > 1:
        raise DataError(
            f"The {name} split has columns of lengths {sorted(lengths)}, but each example needs all of them."
        )
