"""What pairs of texts and recordings with transcripts have in common as sources: an input, and a target to put out."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from thalweg.core.nest import Nest
from thalweg.core.tokens import NO_TARGET
from thalweg.data.batched_by_length import BatchedByLength
from thalweg.data.pair_encoding import EncodedPairs


class TargetedExamples(BatchedByLength):
    """Frozen dataclasses of a `frame` with a row for each example that was read, of which `ids` are the source's own.

    What they have worked out of all that was read, `encoded` (an `EncodedPairs`) among it, all sources of it share. The
    length of a batch is that of its longest input and its longest target, with its `END`.
    """

    frame: pd.DataFrame
    encoding: Any
    ids: Int[np.ndarray, " example"]

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def inputs(self, places: Int[Tensor, " some"]) -> Any:
        """Some of the examples as a model reads them to be decoded: without `prefix`, padded to the longest of them."""

    @abstractmethod
    def references(self, places: Sequence[int]) -> list[list[str]]:
        """For each of these places the distinct targets that its input has in this source, its own first."""

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

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        self.check_labelled()
        encoded: EncodedPairs = self.encoded
        assert encoded.prefix is not None
        assert encoded.y is not None
        for chunk in self.ordered(epoch, generator)[start:]:
            places = self.places(chunk)
            yield self.inputs(chunk) | {"prefix": encoded.prefix.padded(places)}, encoded.y.padded(places, NO_TARGET)

    def formed_references(self) -> list[list[str]]:
        """All targets that the input of each example has, in the form that outputs have."""
        return [[self.encoding.formed(text) for text in own] for own in self.references(range(len(self)))]

    def take(self, ids: Any) -> Self:
        return self.alike(ids=self.ids[np.asarray(ids, dtype=np.int64)])

    def places(self, chunk: Int[Tensor, " some"]) -> Int[Tensor, " some"]:
        """The places of some examples among all that were read."""
        return torch.from_numpy(self.ids)[chunk]

    def encoded_by(self, encoding: Any) -> Self:
        """The same examples in another encoding."""
        source = self.alike(encoding=encoding)
        source.__dict__.pop("encoded", None)
        return source
