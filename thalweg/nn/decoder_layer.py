r"""A layer of the Transformer's decoder: attention to what was put out so far, attention to the input, a small network.

    stream -> (masked self-attention -> add & norm -> cross-attention -> add & norm -> feed-forward -> add & norm)

(Vaswani et al., "Attention Is All You Need", 2017, section 3.1.) As there, with `order="post"`, each of the three is
$x := \mathrm{norm}(x + F(x))$; with `order="pre"` it is $x := x + F(\mathrm{norm}(x))$. In training all positions go
through at once. In decoding they come one by one, for several beams of an example side by side, and a step computes
what is new alone (`thalweg.nn.decoder_step`): keys and values of earlier positions are in the cache, those of the input
were made once, for all steps and all beams.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from thalweg.nn.attend import weights_of
from thalweg.nn.attention import MultiHeadAttention
from thalweg.nn.encoder import feed_forward_of
from thalweg.nn.knobs import check_choice
from thalweg.nn.masks import padding_mask, present
from thalweg.nn.sequence_norm import SEQUENCE_NORMS, SequenceNorm

Stream = Float[Tensor, "batch length width"]
Source = Float[Tensor, "batch source width"]


class Memory(NamedTuple):
    """What the input is to the decoder while it puts out: for each layer its keys and values, `(batch, heads, key, d)`.

    `bias` is 0 where there is an input and minus infinity at padding, None where there is no padding; `blind` are
    examples without any input, None where all have some.

    >>> memory = Memory.of(torch.randn(2, 5, 16), torch.tensor([5, 0]), [MultiHeadAttention(16, heads=4)])
    >>> memory.layers[0][0].shape, memory.blind.flatten()
    (torch.Size([2, 4, 5, 4]), tensor([False,  True]))
    """

    layers: list[tuple[Tensor, Tensor]]
    bias: Float[Tensor, "batch 1 1 key"] | None
    blind: Bool[Tensor, "batch 1 1"] | None

    @staticmethod
    def of(memory: Source, lengths: Tensor | None, attentions: Sequence[Any]) -> "Memory":
        """What is made of `(batch, key, width)` for these attentions; examples without input may look at padding."""
        layers = [attention.keys_and_values(memory) for attention in attentions]
        if lengths is None or bool((lengths >= memory.shape[1]).all()):
            return Memory(layers, None, None)
        may = padding_mask(lengths.clamp(min=1), memory.shape[1])
        bias = torch.zeros_like(may, dtype=memory.dtype).masked_fill(~may, -math.inf)
        blind = (lengths <= 0)[:, None, None]
        return Memory(layers, bias, blind if bool(blind.any()) else None)

    def attended(self, queries: Float[Tensor, "batch heads beam d"]) -> tuple[Tensor, Tensor]:
        """What these queries of the last layer look at, the mean of its heads, and what is there: `(row, key)`."""
        weights = weights_of(queries, self.layers[-1][0], bias=self.bias).mean(1)
        there = torch.ones_like(weights, dtype=torch.bool)
        if self.bias is not None:
            there = there & (self.bias[:, 0] == 0)
        if self.blind is not None:
            there = there & ~self.blind
        return weights.masked_fill(~there, 0.0).flatten(0, 1), there.flatten(0, 1)


class DecoderLayer(nn.Module):
    """Self-attention that looks back, attention to a memory, and a feed-forward network, with a link around each.

    `layer(x, lengths, memory, memory_lengths)`: `(batch, length, width)` in and out. The knobs are those of
    `EncoderLayer`; `positions` are for self-attention. What comes out at padding has no meaning. Batch and power norm
    see later positions in training, as `thalweg.nn.sequence_norm` says. Raises `RecipeError` for a knob out of its
    range.

    >>> layer = DecoderLayer(16, heads=4)
    >>> layer(torch.randn(2, 7, 16), None, torch.randn(2, 5, 16), torch.tensor([5, 3])).shape
    torch.Size([2, 7, 16])
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        feed_forward: int | None = None,
        norm: str = "layer",
        order: str = "pre",
        positions: str | None = None,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("DecoderLayer", "norm", norm, SEQUENCE_NORMS)
        check_choice("DecoderLayer", "order", order, ("pre", "post"))
        self.order = order
        self.attention = MultiHeadAttention(width, heads, positions=positions, causal=True, dropout=dropout)
        self.cross = MultiHeadAttention(width, heads, dropout=dropout)
        self.feed_forward = feed_forward_of("DecoderLayer", width, feed_forward, activation, dropout)
        self.first_norm, self.second_norm, self.third_norm = (SequenceNorm(norm, width) for _ in range(3))
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def extra_repr(self) -> str:
        return f"order={self.order!r}"

    def forward(
        self, x: Stream, lengths: Tensor | None, memory: Source, memory_lengths: Tensor | None = None
    ) -> Stream:
        """The stream after the layer."""
        there = None if lengths is None else present(lengths, x.shape[1])
        x = self._around(self.first_norm, x, there, self.attention)
        x = self._around(
            self.second_norm, x, there, lambda z: self.cross(z, memory=memory, memory_lengths=memory_lengths)
        )
        return self._around(self.third_norm, x, there, self.feed_forward)

    def maps(
        self, x: Stream, lengths: Tensor | None, memory: Source, memory_lengths: Tensor | None = None
    ) -> Float[Tensor, "batch heads query key"]:
        """What each position looks at in the memory, for the stream that comes into the layer; 0 at padding."""
        there = None if lengths is None else present(lengths, x.shape[1])
        x = self._around(self.first_norm, x, there, self.attention)
        x = self.second_norm(x, there) if self.order == "pre" else x
        output: Tensor = self.cross.attention(x, lengths, memory=memory, memory_lengths=memory_lengths)
        return output

    def _around(
        self, norm: SequenceNorm, x: Tensor, there: Tensor | None, function: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """The link around a part of the layer, and its norm."""
        if self.order == "pre":
            return x + self.dropout(function(norm(x, there)))
        output: Tensor = norm(x + self.dropout(function(x)), there)
        return output
