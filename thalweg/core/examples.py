"""Examples one by one as a source: a `Dataset`, a list of ragged examples, an opened `DataLoader`."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, WeightedRandomSampler, default_collate

from thalweg.core.arrays import count_batches, cut
from thalweg.core.keyed import JUDGING, Collate, Keyed, told_of_workers
from thalweg.core.nest import Nest
from thalweg.core.source import NUMBERED


class KnownExamples(Dataset[Any], ABC):
    """A data set that knows more of an example than its tensors say: folds and held-out parts are dealt by it."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def meta(self, ids: Any) -> dict[str, Any]:
        """What is known of these examples, one array each: "label", "group" (a speaker, a patient), "time"."""


@dataclass(frozen=True)
class ExampleSource:
    """Anything with a length and `[index]`, collated into batches.

    `sampler` is a foreign one that draws the order of training itself (a weighted one, for instance), or None for a
    fresh permutation in every epoch; `shuffled=False` keeps the examples in their own order. `own_size` says that the
    batch size came with a `DataLoader` and is kept; `loading` holds what else it was given: workers, pinned memory.
    """

    examples: Any
    batch_size: int | None
    collate: Collate = default_collate
    ids: Tensor | None = None
    sampler: Sampler[int] | None = None
    shuffled: bool = True
    drop_last: bool = False
    merge_single: bool = False
    own_size: bool = False
    loading: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.examples) if self.ids is None else len(self.ids)

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        chunks = [chunk.tolist() for chunk in self.ordered(epoch, generator)[start:]]
        yield from self._load(chunks, generator)

    def ordered(self, epoch: int, generator: torch.Generator | None) -> list[Tensor]:
        """The examples of each batch of an epoch, by their place in the data set."""
        size = self.batch_size or len(self)
        training = generator is not None
        chunks = cut(self._order(epoch, generator), size, self.merge_single and training)
        if self.drop_last and training and len(chunks) > 1 and len(chunks[-1]) < size:
            chunks.pop()
        return chunks

    def take(self, ids: Any) -> "ExampleSource":
        index = torch.as_tensor(np.asarray(ids), dtype=torch.int64)
        return replace(self, ids=index if self.ids is None else self.ids[index], sampler=self._narrowed(index))

    def meta(self, ids: Any) -> dict[str, Any]:
        """What the data set knows of these examples; {} where it is an ordinary one."""
        if not isinstance(self.examples, KnownExamples):
            return {}
        places = np.asarray(ids, dtype=np.int64)
        return self.examples.meta(places if self.ids is None else self.ids.numpy()[places])

    def where(self, ids: Any) -> list[str]:
        """Where the data set says that these examples are, else their places in it, from 0."""
        places = np.asarray(ids, dtype=np.int64)
        places = places if self.ids is None else self.ids.numpy()[places]
        found = getattr(self.examples, "where", None) if isinstance(self.examples, KnownExamples) else None
        return found(places) if found is not None else [f"{NUMBERED}{place}" for place in places.tolist()]

    def batched(self, size: int | None, merge_single: bool = False) -> "ExampleSource":
        return replace(self, batch_size=self.batch_size if self.own_size else size, merge_single=merge_single)

    def count_batches(self) -> int | None:
        """The batches of an epoch of training: as many as the sampler draws, where there is one."""
        drawn = len(self) if self.sampler is None else _length(self.sampler)
        return None if drawn is None else count_batches(drawn, self.batch_size, self.merge_single, self.drop_last)

    def _order(self, epoch: int, generator: torch.Generator | None) -> Tensor:
        """The examples of an epoch by their place in the data set; a sampler draws places among this source's own."""
        own = torch.arange(len(self.examples)) if self.ids is None else self.ids
        if generator is None or not (self.shuffled or self.sampler is not None):
            return own
        if self.sampler is None:
            return own[torch.randperm(len(own), generator=generator)]
        sampler = copy.deepcopy(self.sampler)  # one with a state of its own begins each run anew
        if hasattr(sampler, "generator"):
            sampler.generator = generator
        if callable(set_epoch := getattr(sampler, "set_epoch", None)):
            set_epoch(epoch)
        return own[torch.tensor(list(sampler), dtype=torch.int64)]

    def _narrowed(self, index: Tensor) -> Sampler[int] | None:
        """The sampler of a subset: a weighted one keeps its weights, of any other nothing is known."""
        if not isinstance(self.sampler, WeightedRandomSampler):
            return None
        drawn = max(1, round(self.sampler.num_samples * len(index) / len(self)))
        return WeightedRandomSampler(self.sampler.weights[index].tolist(), drawn, self.sampler.replacement)

    def _load(self, chunks: list[list[int]], generator: torch.Generator | None) -> Iterator[Nest]:
        key = JUDGING if generator is None else generator.initial_seed()
        keyed = Keyed(self.examples, self.collate, key)
        if not self.loading.get("num_workers"):
            yield from map(keyed.batch, chunks)
            return
        loader = DataLoader(keyed, batch_sampler=chunks, collate_fn=_as_it_is, generator=generator, **self.loading)
        yield from told_of_workers(loader)


def _length(sampler: Sampler[int]) -> int | None:
    try:
        return len(sampler)  # type: ignore[arg-type]
    except TypeError:
        return None


def _as_it_is(batch: Any) -> Any:
    """The collate function of a loader whose data set gives whole batches."""
    return batch


@dataclass(frozen=True)
class Zipped(Sequence[Any]):
    """Columns as examples: `Zipped(([a, b], y))[1]` is `(b, y[1])`; what ragged sequences are kept in.

    >>> Zipped(([[1], [2, 3]], [0, 1]))[1]
    ([2, 3], 1)
    """

    columns: Any

    def __len__(self) -> int:
        return column_length(self.columns)

    def __getitem__(self, index: Any) -> Any:
        return _pick(self.columns, int(index))


def column_length(columns: Any) -> int:
    """The number of examples in a nest of columns, read from the first one."""
    first = columns
    while isinstance(first, tuple | dict):
        first = next(iter(first.values())) if isinstance(first, dict) else first[0]
    return len(first)


def _pick(columns: Any, index: int) -> Any:
    if isinstance(columns, tuple):
        return tuple(_pick(column, index) for column in columns)
    if isinstance(columns, dict):
        return {key: _pick(column, index) for key, column in columns.items()}
    return columns[index]
