"""A source whose batches are augmented while it trains, and plain where it is judged.

What an example gets depends on the seed, the epoch and the example alone: a run that goes on in the middle of an epoch
goes on to the same bits, and an example keeps what it gets in folds and subsets, and in batches of any size.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from thalweg.core.arrays import ArraySource
from thalweg.core.convert import Batching, as_source, loaded
from thalweg.core.description import differences as how_they_differ
from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RecipeError, Unsupported
from thalweg.core.fingerprint import UNKNOWN, fingerprint
from thalweg.core.nest import Nest, count_examples, describe, leaves, map_tensors
from thalweg.core.randomness import stream_seed, untouched
from thalweg.core.source import Batched, Counted, Indexed, Ordered, Restoring, Source, Splits
from thalweg.data.augmentation import Augment
from thalweg.data.mixup import mixable
from thalweg.data.numbered import NumberedExamples

Order = Callable[[int, torch.Generator | None], list[Tensor]]
PLACES = 2**32
"""Examples of a stream are numbered by their batch and their place in it, of which there are fewer."""


@no_type_check
@dataclass(frozen=True, repr=False)
class Augmented(NumberedExamples):
    """Pairs `(x, y)`, a `Dataset`, a `DataLoader` or a source, whose batches `augment` changes in training.

    Judging reads the examples as they are, so that train and validation loss are of one kind. With `copies` nothing
    changes from epoch to epoch: each example is trained on as it is, and so many times more, each time with changes of
    its own that are drawn once; examples and copies stay on one side of every fold. An example that a sampler draws
    twice in an epoch is changed twice in the same way.

    `numbers` are the examples' own numbers where this is a subset, by the places that the source gives them.

    >>> data = Augmented((torch.rand(7, 1, 8, 8), torch.arange(7) % 2), Augment(rotate=15), copies=2)
    >>> data, len(data), len(data.take([0, 3]))
    (Augmented(7 examples, Augment(rotate=15), copies=2), 7, 2)
    >>> sum(len(x) for x, y in data.batches(1, 0, torch.Generator().manual_seed(0)))
    21

    Raises `Unsupported` for a stream, or another source that cannot name its examples (`augment` takes these),
    `RecipeError` for what is no `Augment`, and, in training, `DataError` for batches that are no pairs.
    """

    source: Any
    augment: Augment
    copies: int = 0
    numbers: Int[Tensor, " place"] | None = None

    def __post_init__(self) -> None:
        source = _opened(self.source)
        _check(source, self.augment, self.copies)
        if not isinstance(source, Indexed) or _order_of(source) is None:
            raise Unsupported(
                f"The split is a {type(source).__name__}, which cannot name the examples of a batch: it needs __len__, "
                "take and ordered. thalweg.data.augment(splits, ...) augments it by the places of its batches."
            )
        if self.copies and getattr(source, "sampler", None) is not None:
            raise Unsupported(
                "copies= are drawn in an order of their own, but the loader has a sampler. Leave one out."
            )
        object.__setattr__(self, "source", source)

    def __repr__(self) -> str:
        more = f", copies={self.copies}" if self.copies else ""
        return f"Augmented({len(self)} examples, {self.augment}{more})"

    @property
    def batch_size(self) -> int | None:
        """The batch size, where the source has one."""
        size: int | None = getattr(self.source, "batch_size", None)
        return size

    @cached_property
    def multiplied(self) -> ArraySource:
        """The examples and their copies, behind them in the same order."""
        batches = list(self.source.batches(0, 0, None))
        x, y = (_joined([_pair(batch)[part] for batch in batches]) for part in (0, 1))
        ids = self.own_numbers()
        made = [self.augment(x, y, self.key_of_copy(copy), ids) for copy in range(1, self.copies + 1)]
        own = mixable(y, len(x), self.augment.classes, x.dtype) if self.augment.mixup else y
        whole = _joined([(x, own), *made])
        return ArraySource(whole, self.batch_size, getattr(self.source, "merge_single", False))

    @staticmethod
    def key_of_copy(copy: int) -> int:
        """The key by which a copy is drawn, the first being 1."""
        return stream_seed(0, "copies", copy)

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        if generator is None:
            yield from self.source.batches(epoch, start, None)
            return
        if self.copies:
            yield from self.multiplied.batches(epoch, start, generator)
            return
        key = generator.initial_seed()
        with untouched():  # a sampler that draws from the global stream draws the same once more
            chunks = self.order_of(self.source, epoch, generator.clone_state())[start:]
        for chunk, batch in zip(chunks, self.source.batches(epoch, start, generator), strict=True):
            yield self.augment(*_pair(batch), key, self.numbered(chunk))

    def ordered(self, epoch: int, generator: torch.Generator | None) -> list[Tensor]:
        """The examples of each batch of an epoch, copies by the places of what they are copies of."""
        if generator is None or not self.copies:
            return self.order_of(self.source, epoch, generator)
        return [chunk % len(self) for chunk in self.multiplied.ordered(epoch, generator)]

    def batched(self, size: int | None, merge_single: bool = False) -> "Augmented":
        other = super().batched(size, merge_single)
        if other is not self and "multiplied" in self.__dict__:  # made once for all runs over a split
            other.__dict__["multiplied"] = self.multiplied.batched(other.batch_size, merge_single)
        return other

    def count_batches(self) -> int | None:
        """The batches of an epoch of training."""
        return self.multiplied.count_batches() if self.copies else super().count_batches()

    def differences(self, other: "Augmented") -> list[str]:
        """How two differ, a line each."""
        names = ("augment", "copies", "source")
        return [line for name in names for line in how_they_differ(name, getattr(self, name), getattr(other, name))]

    def fingerprint(self) -> str:
        """A hash of the examples and of what is done to them."""
        parts = [fingerprint(part) for part in (self.source, self.augment, self.copies, self.numbers)]
        return UNKNOWN if UNKNOWN in parts else fingerprint(parts)

    @staticmethod
    def order_of(source: Any, epoch: int, generator: torch.Generator | None) -> list[Tensor]:
        """The examples of each batch of a source, or of its sampler, by their places."""
        order = _order_of(source)
        assert order is not None
        return order(epoch, generator)


@dataclass(frozen=True)
class AugmentedStream:
    """A source that cannot name its examples, whose batches are augmented in training by their places in the epoch.

    >>> class Noise:
    ...     def batches(self, epoch, start, generator):
    ...         for _ in range(start, 3):
    ...             yield torch.zeros(5, 1, 4, 4), torch.zeros(5)
    >>> stream = AugmentedStream(Noise(), Augment(flip=True))
    >>> len(list(stream.batches(1, 1, torch.Generator())))
    2
    """

    source: Any
    augment: Augment

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        own = None if generator is None else generator.initial_seed()
        for number, batch in enumerate(self.source.batches(epoch, start, generator), start):
            if own is None:
                yield batch
                continue
            x, y = _pair(batch)
            yield self.augment(x, y, own, torch.arange(count_examples(x)) + number * PLACES)

    def restore(self, values: Nest) -> Nest:
        """Outputs or targets in the target's own units."""
        return self.source.restore(values) if isinstance(self.source, Restoring) else values

    def batched(self, size: int | None, merge_single: bool = False) -> "AugmentedStream":
        if not isinstance(self.source, Batched):
            return self
        return replace(self, source=self.source.batched(size, merge_single))

    def count_batches(self) -> int | None:
        """The batches of an epoch, None where only reading it would tell."""
        return self.source.count_batches() if isinstance(self.source, Counted) else None

    def plain(self) -> Source:
        """The examples as they are."""
        source: Source = self.source
        return source

    def around(self, source: Any) -> "AugmentedStream":
        """The same of another source."""
        return replace(self, source=source)

    def differences(self, other: "AugmentedStream") -> list[str]:
        """How two differ, a line each."""
        return [
            line
            for name in ("augment", "source")
            for line in how_they_differ(name, vars(self)[name], vars(other)[name])
        ]


@no_type_check
def augment(splits: Splits, augment: Augment | None = None, *, copies: int = 0, **settings: Any) -> Splits:
    """The splits with an augmented train split; validation and test stay as they are.

    Either an `Augment`, or its settings: `augment(splits, rotate=15, flip=True)`. With `copies` each example is trained
    on as it is and so many times more (see `Augmented`), else it is changed anew in every epoch.

    >>> augment(Splits(train=(torch.rand(7, 1, 8, 8), torch.zeros(7))), rotate=15, flip=True).train
    Augmented(7 examples, Augment(flip=True, rotate=15))

    Raises what `Augment` and `Augmented` raise, and `RecipeError` where nothing is set, or both.
    """
    if not isinstance(splits, Splits):
        raise RecipeError(f"augment was given {describe(splits)}, but it takes thalweg.Splits(train=..., ...).")
    if (augment is None) == (not settings):
        raise RecipeError("augment takes either an Augment or its settings: augment(splits, rotate=15, flip=True).")
    chosen = Augment.of(settings) if augment is None else augment
    source = _opened(splits.train)
    if copies == 0 and (not isinstance(source, Indexed) or _order_of(source) is None):
        _check(source, chosen, copies)
        return replace(splits, train=AugmentedStream(source, chosen))
    return replace(splits, train=Augmented(source, chosen, copies))


def _opened(split: Any) -> Source:
    """The source itself, in its own batch size; of anything else that which a recipe would open it as."""
    split = loaded(split)
    return split if isinstance(split, Source) else as_source(split, "train", Batching())


def _order_of(source: Any) -> Order | None:
    """What says which examples the batches of a source hold; None where it does not."""
    return source.ordered if isinstance(source, Ordered) else None


def _check(source: Any, augment: Any, copies: Any) -> None:
    if not isinstance(augment, Augment):
        raise RecipeError(f"A split is augmented by {augment!r}, but it takes an Augment: Augment(rotate=15).")
    if not isinstance(copies, int) or isinstance(copies, bool) or copies < 0:
        raise RecipeError(f"copies={copies!r}, but it is how many more times each example is trained on, at least 0.")
    if isinstance(source, Augmented | AugmentedStream):
        raise RecipeError(
            f"The train split is augmented already, by {source.augment}. Name all that may happen in one Augment."
        )


def _pair(batch: Nest) -> tuple[Any, Nest]:
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    raise DataError(f"A batch is {describe(batch)}, but what is augmented is a pair (x, y). Leave augmentation out.")


def _joined(parts: list[Nest]) -> Nest:
    """Nests of one form, one behind the other."""
    rest = [leaves(part) for part in parts[1:]]
    return map_tensors(lambda first: torch.cat([first, *(next(each) for each in rest)]), parts[0])
