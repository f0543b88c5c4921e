"""One position at a time: a layer of the Transformer's decoder with all that many steps look up looked up once.

A step of a small batch is a hundred short operations. To call each through its module takes as long as the operation
itself; so what a layer consists of becomes plain functions here, once for every output (`thalweg.nn.light`). A layer of
another type, or one with hooks, is called as it is.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.nn.attend import attend
from thalweg.nn.attention import MultiHeadAttention
from thalweg.nn.decoder_layer import DecoderLayer, Memory
from thalweg.nn.decoding_cache import Cache
from thalweg.nn.light import Function, for_many_steps, is_plain
from thalweg.nn.positions import SinusoidalPositions, angles, sinusoidal, turned
from thalweg.nn.sequence_norm import SequenceNorm

Rows = Float[Tensor, "row width"]
FIRST_WAVES = 64


class LayerStep:
    """A layer of the decoder for one more position of each beam; `(row, width)` in and out.

    >>> layer = LayerStep(DecoderLayer(16, heads=4).eval())
    >>> memory = Memory.of(torch.randn(2, 5, 16), None, [layer.cross])
    >>> with torch.no_grad():
    ...     cache = Cache.empty(memory.layers[0][0][:, :, :0], layers=1).spread(3, longest=9).opened()
    ...     layer(torch.randn(6, 16), cache, 0, memory)[0].shape
    torch.Size([6, 16])
    """

    def __init__(self, layer: DecoderLayer) -> None:
        self.attention: MultiHeadAttention = layer.attention
        self.cross: MultiHeadAttention = layer.cross
        self.heads, self.size = self.attention.heads, self.attention.width // self.attention.heads
        self.pre = layer.order == "pre"
        self.dropout = layer.dropout if layer.training else None
        self.norms = [norm_of_rows(norm) for norm in (layer.first_norm, layer.second_norm, layer.third_norm)]
        self.projections, self.joined = (for_many_steps(x) for x in (self.attention.projections, self.attention.output))
        self.queries = for_many_steps(self.cross.projections, 0, self.cross.width)
        self.joined_across = for_many_steps(self.cross.output)
        self.feed_forward = [
            for_many_steps(part) for part in layer.feed_forward if not (type(part) is nn.Dropout and not part.training)
        ]

    def __call__(self, rows: Rows, cache: Cache, index: int, memory: Memory) -> tuple[Rows, Tensor]:
        """The stream after this layer, number `index` of the decoder, and what the memory was asked, the queries."""
        first, second, third = self.norms
        if self.pre:
            rows = rows + self._dropped(self._look_back(first(rows), cache, index))
            found, asked = self._look_across(second(rows), memory, index)
            rows = rows + self._dropped(found)
            return rows + self._dropped(self._fed_forward(third(rows))), asked
        rows = first(rows + self._dropped(self._look_back(rows, cache, index)))
        found, asked = self._look_across(rows, memory, index)
        rows = second(rows + self._dropped(found))
        return third(rows + self._dropped(self._fed_forward(rows))), asked

    def _dropped(self, rows: Tensor) -> Tensor:
        return rows if self.dropout is None else self.dropout(rows)

    def _fed_forward(self, rows: Tensor) -> Tensor:
        for part in self.feed_forward:
            rows = part(rows)
        return rows

    def _look_back(self, rows: Tensor, cache: Cache, index: int) -> Tensor:
        attention, beams = self.attention, cache.beams
        joint = self.projections(rows).view(-1, beams, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        query, new = joint[0], joint[1:]
        if attention.positions == "rotary":
            angle = angles(1, self.size, query, cache.taken)
            query, new = turned(query, angle), torch.stack([turned(new[0], angle), new[1]])
        keys, values = cache.added(index, new)
        bias = cache.mask()
        if attention.relative is not None:
            distances = attention.relative(1, cache.taken + 1, cache.taken).repeat_interleave(beams, 3)
            bias = distances if bias is None else bias + distances
        dropout = attention.dropout if attention.training else 0.0
        found = attend(query, keys, values, bias=bias, dropout=dropout)
        return self.joined(found.transpose(1, 2).reshape(rows.shape))

    def _look_across(self, rows: Tensor, memory: Memory, index: int) -> tuple[Tensor, Tensor]:
        keys, values = memory.layers[index]
        asked = self.queries(rows).view(len(keys), -1, self.heads, self.size).transpose(1, 2)
        dropout = self.cross.dropout if self.cross.training else 0.0
        found = attend(asked, keys, values, bias=memory.bias, dropout=dropout)
        output = self.joined_across(found.transpose(1, 2).reshape(rows.shape))
        if memory.blind is None:
            return output, asked
        return output.view(len(keys), -1, rows.shape[1]).masked_fill(memory.blind, 0.0).view(rows.shape), asked


class Placed:
    """Positions for vectors that come one by one: those of waves are computed once for many steps.

    >>> Placed(SinusoidalPositions())(torch.zeros(5, 16), 70).shape
    torch.Size([5, 16])
    """

    def __init__(self, positions: nn.Module | None) -> None:
        self.positions = positions
        self.waves: Tensor | None = None

    def __call__(self, rows: Rows, place: int) -> Rows:
        """The vectors with the position `place`, the same for all."""
        if self.positions is None:
            return rows
        if not (type(self.positions) is SinusoidalPositions and is_plain(self.positions)):
            output: Tensor = self.positions(rows[:, None], place)[:, 0]
            return output
        if self.waves is None or len(self.waves) <= place:
            self.waves = sinusoidal(max(FIRST_WAVES, 2 * place), rows.shape[1], rows)
        return rows + self.waves[place]


def norm_of_rows(norm: SequenceNorm) -> Function:
    """A norm as a function of `(row, width)`.

    >>> norm_of_rows(SequenceNorm("layer", 3))(torch.randn(2, 3)).shape
    torch.Size([2, 3])
    """
    inner = norm.norm
    if type(inner) is not nn.LayerNorm or not (is_plain(norm) and is_plain(inner)):
        return lambda rows: norm(rows[:, None])[:, 0]
    shape, weight, bias, eps = inner.normalized_shape, inner.weight, inner.bias, inner.eps
    return lambda rows: torch.layer_norm(rows, shape, weight, bias, eps)
