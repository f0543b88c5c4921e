"""What sources of examples of different lengths have in common: training batches of like lengths."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.data.length_batches import by_length, count_by_length, padded_share


class BatchedByLength(ABC):
    """Frozen dataclasses of examples that have lengths.

    Training batches hold `batch_size` examples of like lengths, or as many as keep count times longest within `tokens`.
    A subclass says what the examples are, which of those that were read it has, and how they are fitted.
    """

    batch_size: int | None
    merge_single: bool
    tokens: int | None
    encoded: Any
    """All that was read, as a model sees it."""

    POSITIONS: ClassVar[tuple[str, int]] = ("positions", 4096)
    """What `tokens` counts, and a usual number of them."""
    KEPT: ClassVar[tuple[str, ...]] = ("encoded",)
    """What is worked out once, however examples are batched."""

    def __post_init__(self) -> None:
        if self.tokens is not None and (type(self.tokens) is not int or self.tokens < 1):
            counted, usual = self.POSITIONS
            raise RecipeError(
                f"tokens={self.tokens!r}, but it is how many {counted} a batch may have, padding and all: a whole "
                f"number of at least 1. Give for instance {usual}, or None to go by batch_size."
            )

    @property
    @abstractmethod
    def lengths(self) -> Int[np.ndarray, "example ..."]:
        """The length of each example, or those of its input and its target."""

    @abstractmethod
    def fit(self, train_ids: Any) -> Self:
        """The same examples, encoded by what `train_ids` alone hold."""

    @abstractmethod
    def take(self, ids: Any) -> Self:
        """Some of the examples."""

    @property
    def padding_share(self) -> float:
        """The share of the positions of an epoch of training that are padding."""
        return padded_share(self.lengths, self.ordered(1, torch.Generator().manual_seed(0)))

    def ordered(self, epoch: int, generator: torch.Generator | None) -> list[Tensor]:
        """The examples of each batch of an epoch, by their place in this source."""
        return by_length(self.lengths, self.batch_size, self.tokens, generator, self.merge_single)

    def batched(self, size: int | None, merge_single: bool = False) -> Self:
        return self.alike(batch_size=size, merge_single=merge_single)

    def budgeted(self, tokens: int | None) -> Self:
        """The same examples in batches of at most so many positions."""
        return self.alike(tokens=tokens)

    def count_batches(self) -> int:
        """The batches of an epoch of training, the same in every epoch."""
        return count_by_length(self.lengths, self.batch_size, self.tokens, self.merge_single)

    def dealt(self, held: Iterable[Int[np.ndarray, " _some"]]) -> list[Self | None]:
        """The splits of these examples, fitted to the first, which is train; None for one without examples."""
        parts = list(held)
        fitted = self.fit(parts[0])
        fitted.encoded  # noqa: B018 - once for all splits
        return [fitted.take(ids) if len(ids) else None for ids in parts]

    def alike(self, **changes: Any) -> Self:
        """The same examples with other fields, none of which what is `KEPT` hangs on."""
        own: Any = self
        source: Self = replace(own, **changes)
        source.__dict__.update({name: self.__dict__[name] for name in self.KEPT if name in self.__dict__})
        return source
