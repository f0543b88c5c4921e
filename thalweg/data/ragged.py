"""Ragged sequences kept flat: all values one behind the other, and where each sequence begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor


@dataclass(frozen=True, repr=False, eq=False)
class Ragged:
    """Sequences of any lengths: `values[offsets[i] : offsets[i + 1]]` is the i-th.

    >>> ragged = Ragged.of([[5, 6, 7], [8]], np.int64)
    >>> ragged.padded(torch.tensor([1, 0]))
    tensor([[8, 0, 0],
            [5, 6, 7]])
    """

    values: Shaped[np.ndarray, " position ..."]
    offsets: Int[np.ndarray, " bound"]

    @classmethod
    def of(cls, sequences: Sequence[Any], dtype: Any = None) -> Self:
        """Arrays or lists one behind the other; vectors at each position share their length."""
        arrays = [np.asarray(one, dtype=dtype) for one in sequences]
        lengths = np.array([len(one) for one in arrays], dtype=np.int64)
        return cls.cut(np.concatenate(arrays) if arrays else np.zeros(0, dtype), lengths)

    @classmethod
    def cut(cls, values: Shaped[np.ndarray, " position ..."], lengths: Int[np.ndarray, " sequence"]) -> Self:
        """Values that lie one behind the other already."""
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"Ragged({len(self):,} sequences, {len(self.values):,} values)"

    def __getitem__(self, i: int) -> Shaped[np.ndarray, " position ..."]:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    @cached_property
    def lengths(self) -> Int[np.ndarray, " sequence"]:
        """The length of each sequence."""
        return np.diff(self.offsets)

    def take(self, ids: Int[np.ndarray, " some"]) -> Self:
        """Some of the sequences, one behind the other."""
        lengths = self.lengths[ids]
        begins = np.repeat(self.offsets[ids] - np.cumsum(lengths) + lengths, lengths)
        return type(self).cut(self.values[begins + np.arange(lengths.sum())], lengths)

    def shortened(self, longest: int) -> Self:
        """The same sequences, each of `longest` positions at most."""
        if not len(self) or self.lengths.max() <= longest:
            return self
        lengths = np.minimum(self.lengths, longest)
        begins = np.repeat(self.offsets[:-1] - np.cumsum(lengths) + lengths, lengths)
        return type(self).cut(self.values[begins + np.arange(lengths.sum())], lengths)

    def filled(self, value: Any) -> Self:
        """The same sequences, but an empty one has this one value."""
        empty = np.flatnonzero(self.lengths == 0)
        if not len(empty):
            return self
        values = np.insert(self.values, self.offsets[empty], value, axis=0)
        return type(self).cut(values, np.maximum(self.lengths, 1))

    def padded(self, ids: Int[Tensor, " some"], padding: int = 0) -> Shaped[Tensor, "some length ..."]:
        """Some of the sequences as one tensor, as long as the longest of them, padding behind the others."""
        values, offsets = self._tensors(padding)
        begins = offsets[ids]
        lengths = offsets[ids + 1] - begins
        steps = torch.arange(int(lengths.max()) if len(ids) else 0)
        places = torch.where(steps < lengths[:, None], begins[:, None] + steps, len(values) - 1)
        return values.index_select(0, places.flatten()).view(*places.shape, *values.shape[1:])

    def _tensors(self, padding: int) -> tuple[Tensor, Tensor]:
        """The values with one of padding behind them, and the offsets; kept, for batches are many."""
        if padding not in self._kept:
            last = np.full_like(self.values, padding, shape=(1, *self.values.shape[1:]))
            self._kept[padding] = torch.from_numpy(np.concatenate([self.values, last]))
        return self._kept[padding], self._bounds

    @cached_property
    def _kept(self) -> dict[int, Tensor]:
        return {}

    @cached_property
    def _bounds(self) -> Int[Tensor, " bound"]:
        return torch.from_numpy(self.offsets)
