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
New = Float[Tensor, "two batch heads beam dim"]
Past = Float[Tensor, "batch heads past dim"]
FIRST_ROOM = 64
"""Steps that a cache has room for at first; it doubles when they are full."""


class Cache(NamedTuple):
    """Keys and values of every layer, `(2, batch, heads, room, d)`; those of a step stand together.

    `taken` steps are filled, with a place for each beam. `seen` is `(batch, 1, beams, room)`, 0 or minus infinity, and
    None for one beam, which sees everything. `longest` is how many steps will be asked for, None where that is not
    known. Steps write into the tensors, except where gradients are wanted.

    >>> cache = Cache.empty(torch.zeros(3, 4, 0, 5), layers=1).spread(2, longest=9).opened()
    >>> keys, _ = cache.added(0, torch.ones(2, 3, 4, 2, 5))
    >>> keys.shape, cache.mask()[0, 0]
    (torch.Size([3, 4, 2, 5]), tensor([[0., -inf],
            [-inf, 0.]]))
    """

    layers: list[Tensor]
    seen: Tensor | None
    taken: int
    beams: int
    longest: int | None

    @staticmethod
    def empty(nothing: Key, layers: int) -> "Cache":
        """Before the first step, with one beam; `nothing` are the keys of a layer."""
        return Cache([nothing.new_empty(2, *nothing.shape)] * layers, None, 0, 1, None)

    def spread(self, beams: int, longest: int) -> "Cache":
        """With `beams` beams in place of one, which have their past in common."""
        layers = [kept.narrow(3, 0, self.used).repeat_interleave(beams, 3) for kept in self.layers]
        wide = Cache(layers, None, self.taken, beams, longest)
        return wide._replace(seen=None if beams == 1 else wide._own(self.taken)).opened()

    def opened(self) -> "Cache":
        """With room for one more step."""
        end = self.used + self.beams
        if torch.is_grad_enabled():
            if self.seen is None or self.seen.shape[3] >= end:
                return self
            return self._replace(seen=torch.cat([self.seen, self._own(1)], 3))
        return self if self.layers[0].shape[3] >= end else self._longer()

    @property
    def used(self) -> int:
        """How many places are filled."""
        return self.taken * self.beams

    def added(self, layer: int, new: New) -> tuple[Past, Past]:
        """Keys and values of a layer up to this step's, which are given: one of each beam."""
        kept = self.layers[layer]
        if torch.is_grad_enabled():
            kept = self.layers[layer] = torch.cat([kept.narrow(3, 0, self.used), new], 3)
        else:
            kept.narrow(3, self.used, self.beams).copy_(new)
        keys, values = kept.narrow(3, 0, self.used + self.beams).unbind(0)
        return keys, values

    def mask(self) -> Float[Tensor, "batch 1 beam key"] | None:
        """What is added to the scores of this step."""
        return None if self.seen is None else self.seen.narrow(3, 0, self.used + self.beams)

    def examples(self, rows: Int[Tensor, " row"]) -> Int[Tensor, " batch"] | None:
        """Which examples these rows are of; None where all are still there."""
        every = len(rows) == self.layers[0].shape[1] * self.beams
        return None if every else rows[:: self.beams] // self.beams

    def follow(self, rows: Int[Tensor, " row"]) -> "Cache":
        """That of these rows, as in `thalweg.core.decoder.BeamDecoder`."""
        examples = self.examples(rows)
        layers = self.layers if examples is None else [kept.index_select(1, examples) for kept in self.layers]
        return self._replace(layers=layers, seen=self._seen_by(rows, examples))

    def _seen_by(self, rows: Tensor, examples: Tensor | None) -> Tensor | None:
        """What these rows may look at: in the past what those they go on from could, in steps to come themselves."""
        if self.seen is None:
            return None
        past = self.seen.narrow(3, 0, self.used).flatten(0, 2).index_select(0, rows)
        seen = self.seen if examples is None else self.seen.index_select(0, examples)
        seen.narrow(3, 0, self.used).copy_(past.view(*seen.shape[:3], -1))
        return seen

    def _own(self, steps: int) -> Float[Tensor, "batch 1 beam key"]:
        """What each beam may look at in steps of its own."""
        own = self.layers[0].new_full((self.beams, self.beams), -math.inf).fill_diagonal_(0.0)
        return own.repeat(1, steps).expand(self.layers[0].shape[1], 1, -1, -1)

    def _longer(self) -> "Cache":
        """With room for more steps."""
        steps = max(FIRST_ROOM, self.used // self.beams)
        if self.longest is not None and self.longest > self.taken:
            steps = min(steps, self.longest - self.taken)
        layers = [_lengthened(kept, self.used, self.used + steps * self.beams) for kept in self.layers]
        seen = None if self.seen is None else torch.cat([self.seen.narrow(3, 0, self.used), self._own(steps)], 3)
        return self._replace(layers=layers, seen=seen)


def _lengthened(kept: Tensor, used: int, length: int) -> Tensor:
    longer = kept.new_empty(*kept.shape[:3], length, kept.shape[4])
    longer.narrow(3, 0, used).copy_(kept.narrow(3, 0, used))
    return longer
