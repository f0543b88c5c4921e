r"""What a decoder keeps of the tokens so far: the keys and values of its self-attention, of all beams of an example.

A step adds a key and a value for each beam and looks at those of all steps. Beams share their past, and which one goes
on from which changes at every step; caches with a row for each beam are copied each time. Here the keys of all beams of
an example stand side by side and are never moved. Each beam has a row of what is added to its scores, 0 where it may
look and $-\infty$ where it may not, and that row alone is taken over from the beam that it goes on from. There are
`beams` times as many products, which are a small part of a step; copies are not (bench/decoding.py).
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Key = Float[Tensor, "batch heads key dim"]
Past = Float[Tensor, "batch heads past dim"]
FIRST_ROOM = 64
"""Steps that a cache has room for at first; it doubles when they are full."""


class Cache(NamedTuple):
    """Keys and values of every layer, `(batch, heads, room x beams, d)`; those of a step stand together.

    `taken` steps are filled. `seen` is `(batch, 1, beams, room x beams)`, 0 or minus infinity, and None for one beam,
    which sees everything. `longest` is how many steps will be asked for, None where that is not known. Steps write into
    the tensors, except where gradients are wanted.

    >>> cache = Cache.empty(torch.zeros(3, 4, 0, 5), layers=1).spread(2, longest=9).opened()
    >>> keys, _ = cache.added(0, torch.ones(3, 4, 2, 5), torch.ones(3, 4, 2, 5))
    >>> keys.shape, cache.mask()[0, 0]
    (torch.Size([3, 4, 2, 5]), tensor([[0., -inf],
            [-inf, 0.]]))
    """

    layers: list[tuple[Tensor, Tensor]]
    seen: Tensor | None
    taken: int
    beams: int
    room: int
    longest: int | None

    @staticmethod
    def empty(nothing: Key, layers: int) -> "Cache":
        """Before the first step, with one beam; `nothing` are the keys of a layer."""
        return Cache([(nothing, nothing)] * layers, None, 0, 1, 0, None)

    def spread(self, beams: int, longest: int) -> "Cache":
        """With `beams` beams in place of one, which have their past in common."""
        layers = [
            (
                keys[:, :, : self.taken].repeat_interleave(beams, 2),
                values[:, :, : self.taken].repeat_interleave(beams, 2),
            )
            for keys, values in self.layers
        ]
        return Cache(layers, None, self.taken, beams, 0, longest).opened()

    def opened(self) -> "Cache":
        """With room for one more step."""
        if self.taken < self.room:
            return self
        room = max(FIRST_ROOM, 2 * self.room, self.taken + 1)
        if self.longest is not None and self.longest > self.taken:
            room = min(room, self.longest)
        return self._replace(room=room, seen=self._seen_in(room))

    def added(self, layer: int, keys: Key, values: Key) -> tuple[Past, Past]:
        """Keys and values of a layer up to this step's, which are given: one of each beam."""
        start, end = self.taken * self.beams, (self.taken + 1) * self.beams
        old = self.layers[layer]
        if torch.is_grad_enabled():
            self.layers[layer] = (
                torch.cat([old[0][:, :, :start], keys], 2),
                torch.cat([old[1][:, :, :start], values], 2),
            )
            return self.layers[layer]
        if old[0].shape[2] < end:
            length = self.room * self.beams
            old = (_lengthened(old[0], start, keys, length), _lengthened(old[1], start, values, length))
            self.layers[layer] = old
        old[0][:, :, start:end], old[1][:, :, start:end] = keys, values
        return old[0][:, :, :end], old[1][:, :, :end]

    def mask(self) -> Float[Tensor, "batch 1 beam key"] | None:
        """What is added to the scores of this step."""
        return None if self.seen is None else self.seen[..., : (self.taken + 1) * self.beams]

    def examples(self, rows: Int[Tensor, " row"]) -> Int[Tensor, " batch"] | None:
        """Which examples these rows are of; None where all are still there."""
        every = len(rows) == len(self.layers[0][0]) * self.beams
        return None if every else rows[:: self.beams] // self.beams

    def follow(self, rows: Int[Tensor, " row"]) -> "Cache":
        """That of these rows, as in `thalweg.core.decoder.BeamDecoder`."""
        examples = self.examples(rows)
        layers = self.layers
        if examples is not None:
            layers = [(keys.index_select(0, examples), values.index_select(0, examples)) for keys, values in layers]
        return self._replace(layers=layers, seen=self._seen_by(rows, examples))

    def _seen_by(self, rows: Tensor, examples: Tensor | None) -> Tensor | None:
        """What these rows may look at: in the past what those they go on from could, in steps to come themselves."""
        if self.seen is None:
            return None
        past = self.seen[..., : self.taken * self.beams].flatten(0, 2).index_select(0, rows)
        seen = self.seen if examples is None else self.seen.index_select(0, examples)
        seen[..., : past.shape[1]] = past.view(*seen.shape[:3], -1)
        return seen

    def _seen_in(self, room: int) -> Tensor | None:
        """What each beam may look at: what it could so far, and itself in every step to come."""
        if self.beams == 1:
            return None
        keys = self.layers[0][0]
        own = keys.new_full((self.beams, self.beams), -math.inf).fill_diagonal_(0.0)
        seen = own.repeat(1, room)[None, None].repeat(len(keys), 1, 1, 1)
        if self.seen is not None:
            seen[..., : self.seen.shape[3]] = self.seen
        return seen


def _lengthened(tensor: Tensor, used: int, like: Tensor, length: int) -> Tensor:
    longer = like.new_empty(*tensor.shape[:2], length, tensor.shape[3])
    longer[:, :, :used] = tensor[:, :, :used]
    return longer
