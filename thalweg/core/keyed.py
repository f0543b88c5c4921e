"""Batches of examples whose random numbers are a function of (seed, epoch, example).

Whoever fetches an example, in whichever process and after whatever else, gets the same crop or noise. The streams that
are keyed are the global ones, Python's, NumPy's, and torch's on the CPU, and those that the data set and its transforms
keep as attributes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from thalweg.core.errors import DataError, RunError
from thalweg.core.generators import generator_state, own_generators, seed_generator, set_generator
from thalweg.core.nest import Nest, as_tuples
from thalweg.core.randomness import Streams, cpu_marks, restore_marks, seed_cpu, stream_seed, untouched

Collate = Callable[[list[Any]], Nest]
JUDGING = stream_seed(0, "judging")
"""The key of splits that are judged: the same in every epoch, so that losses can be compared."""


@dataclass
class Keyed(Dataset[Any]):
    """A data set that gives whole batches by the places of their examples.

    Streams are seeded for each example only where examples draw at all, which a batch that moves them shows: it is then
    fetched once more.

    >>> import random
    >>> class Noisy(list):
    ...     def __getitem__(self, index):
    ...         return super().__getitem__(index) + random.random()
    >>> keyed = Keyed(Noisy(range(9)), default_collate, key=1)
    >>> keyed.batch([4, 7])[1] == keyed.batch([7])[0]
    tensor(True)
    """

    examples: Any
    collate: Collate
    key: int
    draws: bool = False
    first: bool = True
    own: list[Any] = field(init=False, repr=False)
    """Sources of random numbers that the examples and the collate function keep."""

    def __post_init__(self) -> None:
        self.own = own_generators((self.examples, self.collate))

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, ids: list[int]) -> Nest:
        """What the workers of a `DataLoader` call."""
        return self.batch(ids)

    def batch(self, ids: list[int]) -> Nest:
        """The batch of some examples; the global streams are left as they were."""
        if not self.draws:
            whole = Streams.now() if self.first else None
            self.first, before, own = False, cpu_marks(), self._states()
            batch = self._collated([self.examples[index] for index in ids])
            if cpu_marks() == before and all(map(_same, self._states(), own)):
                return batch
            self.draws = True
            restore_marks(before)
            if whole is not None:  # with what marks leave out: the second of two numbers that NumPy draws at once
                whole.restore()
            self._restore(own)
        own = self._states()
        try:
            with untouched():
                return self._seeded(ids)
        finally:
            self._restore(own)

    def _seeded(self, ids: list[int]) -> Nest:
        examples = []
        for index in ids:
            self._seed("example", index)
            examples.append(self.examples[index])
        self._seed("collate", *ids[:1])
        return self._collated(examples)

    def _seed(self, *purpose: str | int) -> None:
        seed_cpu(stream_seed(self.key, *purpose))
        for place, source in enumerate(self.own):
            seed_generator(source, stream_seed(self.key, "own", place, *purpose))

    def _states(self) -> list[Any]:
        return [generator_state(source) for source in self.own]

    def _restore(self, states: list[Any]) -> None:
        for source, state in zip(self.own, states, strict=True):
            set_generator(source, state)

    def _collated(self, examples: list[Any]) -> Nest:
        try:
            batch = self.collate(examples)
            return as_tuples(batch) if self.collate is default_collate else batch
        except (RuntimeError, TypeError, ValueError) as error:
            if self.collate is not default_collate:
                raise
            mend = "Examples of different lengths need a `collate` that pads them, for instance with "
            mend += "torch.nn.utils.rnn.pad_sequence: Recipe(collate=...)."
            if isinstance(error, TypeError):
                mend = (
                    "Have an example give tensors, arrays or numbers, or make the batch yourself: Recipe(collate=...)."
                )
            raise DataError(f"Examples could not be put into one batch: {error}. {mend}") from error


def _same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def told_of_workers(loader: "DataLoader[Any]") -> Iterator[Nest]:
    """The batches of a loader with workers; one that died is an error with a mend.

    Raises `RunError` where a worker was killed, which is most often for want of memory.
    """
    try:
        yield from loader
    except RuntimeError as error:
        if not is_of_a_worker(error):
            raise
        raise worker_died(error) from error
    except (ConnectionError, EOFError) as error:  # it died while it handed over a batch
        if not loader.num_workers or "Caught " in str(error):  # by the data set's own code
            raise
        raise worker_died(f"DataLoader worker (pid unknown) is gone: {error}") from error


def is_of_a_worker(error: BaseException) -> bool:
    """Whether torch says that a loader's worker has died, which it may say at any moment, in any line."""
    return isinstance(error, RuntimeError) and not isinstance(error, RunError) and "DataLoader worker" in str(error)


def worker_died(error: BaseException | str) -> RunError:
    """The error for a loader's worker that was killed, with a mend."""
    return RunError(
        f"{str(error).splitlines()[0].rstrip('. ')}. A worker that is killed is most often out of memory: take "
        "fewer workers (num_workers), smaller batches, or num_workers=0, which shows the error itself."
    )
