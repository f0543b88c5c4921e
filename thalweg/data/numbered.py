"""Sources that change their examples while these are trained on: what augmented images and masked frames share.

What an example gets depends on the seed, the epoch and its number alone. It keeps its number in folds and subsets, and
where other examples come behind it.
"""

from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from thalweg.core.nest import Nest
from thalweg.core.source import NUMBERED, Batched, Counted, Described, Fitted, Found, Restoring, Source


class NumberedExamples:
    """A frozen dataclass of a `source` and the `numbers` of its examples, None where these are their places.

    A subclass gives `batches`, and `order_of` where its source orders its examples by another name.
    """

    source: Any
    numbers: Int[Tensor, " place"] | None

    def __len__(self) -> int:
        return len(self.source)

    @staticmethod
    def order_of(source: Any, epoch: int, generator: torch.Generator | None) -> list[Tensor]:
        """The examples of each batch of a source, by their places."""
        chunks: list[Tensor] = source.ordered(epoch, generator)
        return chunks

    def take(self, ids: Any) -> Self:
        """These examples alone; each keeps its number, and what it gets by it."""
        index = torch.as_tensor(np.asarray(ids), dtype=torch.int64)
        before, part = self.own_numbers(), self.source.take(index)
        places = torch.cat(self.order_of(part, 0, None))
        numbers = torch.zeros(int(places.max()) + 1 if len(places) else 0, dtype=torch.int64)
        numbers[places] = before[index]
        return self._with(part, numbers)

    def meta(self, ids: Any) -> dict[str, Any]:
        """What the source knows of these examples."""
        return self.source.meta(ids) if isinstance(self.source, Described) else {}

    def where(self, ids: Any) -> list[str]:
        """Where the source says that these examples are, else their places in it, from 0."""
        if isinstance(self.source, Found):
            return self.source.where(ids)
        return [f"{NUMBERED}{place}" for place in np.asarray(ids).tolist()]

    def fit(self, train_ids: Any) -> Self:
        """The same examples, encoded with statistics of `train_ids` alone, where the source has any."""
        return self._with(self.source.fit(train_ids), self.numbers) if isinstance(self.source, Fitted) else self

    def restore(self, values: Nest) -> Nest:
        """Outputs or targets in the target's own units."""
        return self.source.restore(values) if isinstance(self.source, Restoring) else values

    def batched(self, size: int | None, merge_single: bool = False) -> Self:
        if not isinstance(self.source, Batched):
            return self
        return self._with(self.source.batched(size, merge_single), self.numbers)

    def count_batches(self) -> int | None:
        """The batches of an epoch of training."""
        return self.source.count_batches() if isinstance(self.source, Counted) else None

    def plain(self) -> Source:
        """The examples as they are."""
        source: Source = self.source
        return source

    def around(self, source: Any) -> Self:
        """The same of a source that holds these examples in their order; each keeps its number, those behind go on."""
        if self.numbers is None:
            return self._with(source, None)
        own = self.own_numbers()
        rest = torch.arange(len(source) - len(own)) + (int(own.max()) + 1 if len(own) else 0)
        return self._with(source, torch.cat([own, rest]))

    def own_numbers(self) -> Int[Tensor, " example"]:
        """The number of each example, in their order."""
        return self.numbered(torch.cat(self.order_of(self.source, 0, None)))

    def numbered(self, places: Int[Tensor, " some"]) -> Int[Tensor, " some"]:
        """The numbers of the examples at these places of the source."""
        return places if self.numbers is None else self.numbers[places]

    def _with(self, source: Any, numbers: Tensor | None) -> Self:
        changed: Any = self
        made: Self = replace(changed, source=source, numbers=numbers)
        return made
