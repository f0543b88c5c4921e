"""What pairs of texts and recordings with transcripts have in common as sources: an input, and a target to put out."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.core.nest import Nest
from thalweg.core.tokens import NO_TARGET
from thalweg.data.length_batches import by_length, count_by_length, padded_share
from thalweg.data.pair_encoding import EncodedPairs


class TargetedExamples(ABC):
    """Frozen dataclasses of a `frame` with a row for each example that was read, of which `ids` are the source's own.

    Training batches hold `batch_size` examples of like lengths, or as many as keep count times (longest input + longest
    target, with its `END`) within `tokens`. A subclass gives what is read, how it is encoded and how it is fitted.
    """

    frame: pd.DataFrame
    encoding: Any
    ids: Int[np.ndarray, " example"]
    batch_size: int | None
    merge_single: bool
    tokens: int | None
    encoded: Any
    """All that was read, as an `EncodedPairs`."""

    POSITIONS: ClassVar[tuple[str, int]]
    """What `tokens` counts, and a usual number of them."""
    KEPT: ClassVar[tuple[str, ...]] = ("encoded",)
    """What is worked out once for all sources of what was read."""

    def __post_init__(self) -> None:
        if self.tokens is not None and (type(self.tokens) is not int or self.tokens < 1):
            counted, usual = self.POSITIONS
            raise RecipeError(
                f"tokens={self.tokens!r}, but it is how many {counted} a batch may have, padding and all: a whole "
                f"number of at least 1. Give for instance {usual}, or None to go by batch_size."
            )

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def inputs(self, places: Int[Tensor, " some"]) -> Any:
        """Some of the examples as a model reads them to be decoded: without `prefix`, padded to the longest of them."""

    @abstractmethod
    def references(self, places: Sequence[int]) -> list[list[str]]:
        """For each of these places the distinct targets that its input has in this source, its own first."""

    @abstractmethod
    def fit(self, train_ids: Any) -> Self:
        """The same examples, encoded by what `train_ids` alone hold."""

    @abstractmethod
    def check_labelled(self) -> None:
        """Raise `Unsupported` where there are no targets."""

    @property
    def labelled(self) -> bool:
        """Whether there are targets."""
        return self.encoding.schema.names[1] in self.frame.columns

    @property
    def rows(self) -> pd.DataFrame:
        """The examples as they were read, with all that stood beside them."""
        return self.frame.iloc[self.ids]

    @property
    def lengths(self) -> Int[np.ndarray, "example side"]:
        """The lengths of each input and target, the target's with its `END`."""
        source, y = self.encoded.source, self.encoded.y
        sides = [source.lengths, np.zeros_like(source.lengths) if y is None else y.lengths]
        return np.stack(sides, axis=1)[self.ids]

    @property
    def padding_share(self) -> float:
        """The share of the positions of an epoch of training that are padding."""
        return padded_share(self.lengths, self.ordered(1, torch.Generator().manual_seed(0)))

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        self.check_labelled()
        encoded: EncodedPairs = self.encoded
        assert encoded.prefix is not None
        assert encoded.y is not None
        for chunk in self.ordered(epoch, generator)[start:]:
            places = self.places(chunk)
            yield self.inputs(chunk) | {"prefix": encoded.prefix.padded(places)}, encoded.y.padded(places, NO_TARGET)

    def ordered(self, epoch: int, generator: torch.Generator | None) -> list[Tensor]:
        """The examples of each batch of an epoch, by their place in this source."""
        return by_length(self.lengths, self.batch_size, self.tokens, generator, self.merge_single)

    def formed_references(self) -> list[list[str]]:
        """All targets that the input of each example has, in the form that outputs have."""
        return [[self.encoding.formed(text) for text in own] for own in self.references(range(len(self)))]

    def batched(self, size: int | None, merge_single: bool = False) -> Self:
        return self.alike(batch_size=size, merge_single=merge_single)

    def budgeted(self, tokens: int | None) -> Self:
        """The same examples in batches of at most so many positions."""
        return self.alike(tokens=tokens)

    def count_batches(self) -> int:
        """The batches of an epoch of training, the same in every epoch."""
        return count_by_length(self.lengths, self.batch_size, self.tokens, self.merge_single)

    def take(self, ids: Any) -> Self:
        return self.alike(ids=self.ids[np.asarray(ids, dtype=np.int64)])

    def dealt(self, held: Iterable[Int[np.ndarray, " _some"]]) -> list[Self | None]:
        """The splits of these examples, fitted to the first, which is train; None for one without examples."""
        parts = list(held)
        fitted = self.fit(parts[0])
        fitted.encoded  # noqa: B018 - once for all splits
        return [fitted.take(ids) if len(ids) else None for ids in parts]

    def places(self, chunk: Int[Tensor, " some"]) -> Int[Tensor, " some"]:
        """The places of some examples among all that were read."""
        return torch.from_numpy(self.ids)[chunk]

    def alike(self, **changes: Any) -> Self:
        """The same examples otherwise chosen or batched; what was worked out of all that was read is kept."""
        own: Any = self
        source: Self = replace(own, **changes)
        source.__dict__.update({name: self.__dict__[name] for name in self.KEPT if name in self.__dict__})
        return source

    def encoded_by(self, encoding: Any) -> Self:
        """The same examples in another encoding."""
        source = self.alike(encoding=encoding)
        source.__dict__.pop("encoded", None)
        return source
