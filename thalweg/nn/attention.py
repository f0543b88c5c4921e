r"""Self-attention: every position looks at all others, and decides by what they hold how much it takes from each.

With the inputs as the columns of $I$,

$$ Q = W_q I, \quad K = W_k I, \quad V = W_v I, \quad A = K^\top Q, \quad
   A' = \mathrm{softmax}(A / \sqrt d) \text{ over the keys}, \quad O = V A' . $$

$W_q$, $W_k$ and $W_v$ are all that is learned, whatever the length. `SelfAttention` is that, line by line.
`MultiHeadAttention` has several heads side by side, each with a $d$-th of the width and a relation of its own to look
for, and a matrix that joins them (Vaswani et al., "Attention Is All You Need", 2017, section 3.2.2). Where heads are
made in two steps, $q = W_q x$ and then $q_1 = W_{q,1}\, q$, the two matrices are one, $W_{q,1} W_q$: that of the head.
"""

import math
from functools import reduce
from operator import and_
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.nn.attend import attend, attend_near, weights_of
from thalweg.nn.knobs import check_choice, check_count, check_dropout
from thalweg.nn.light import part
from thalweg.nn.masks import band_mask, causal_mask, check_lengths, described, padding_mask, present
from thalweg.nn.positions import ATTENDED, RelativeBias, rotated

Sequences = Float[Tensor, "batch length features"]
Found = Float[Tensor, "batch length width"]
Head = Float[Tensor, "batch heads length dim"]


class SelfAttention(nn.Module):
    r"""Self-attention as it is written: one head, three matrices, `(batch, length, inputs) -> (batch, length, width)`.

    Padding (`lengths`) is not looked at, and its own output is 0; `mask` `(batch, 1, query, key)` is True where a query
    may look. A query without any key gets zeros. This is what the fast `MultiHeadAttention` is compared with. Raises
    `RecipeError` for counts below 1.

    >>> attention = SelfAttention(3, 5)
    >>> attention(torch.randn(2, 7, 3)).shape, {name: tuple(p.shape) for name, p in attention.named_parameters()}
    (torch.Size([2, 7, 5]), {'query': (5, 3), 'key': (5, 3), 'value': (5, 3)})
    """

    def __init__(self, inputs: int, width: int | None = None) -> None:
        super().__init__()
        width = inputs if width is None else width
        check_count("SelfAttention", "inputs", inputs)
        check_count("SelfAttention", "width", width)
        self.query, self.key, self.value = (nn.Parameter(torch.empty(width, inputs)) for _ in range(3))
        for weight in self.parameters():
            nn.init.xavier_uniform_(weight)

    def extra_repr(self) -> str:
        width, inputs = self.query.shape
        return f"{inputs}, {width}"

    def attention(
        self, values: Sequences, lengths: Tensor | None = None, *, mask: Tensor | None = None
    ) -> Float[Tensor, "batch query key"]:
        """What each query takes from each key: $A'$ with a row for each query."""
        return self._scores(values.mT, lengths, mask).mT

    def forward(self, values: Sequences, lengths: Tensor | None = None, *, mask: Tensor | None = None) -> Found:
        """What each position has found."""
        I = values.mT  # noqa: E741 - the name it has in the formula
        V = self.value @ I
        O = V @ self._scores(I, lengths, mask)  # noqa: E741
        return O.mT if lengths is None else O.mT * present(lengths, values.shape[1])[..., None]

    def _scores(self, I: Tensor, lengths: Tensor | None, mask: Tensor | None) -> Float[Tensor, "batch key query"]:  # noqa: E741
        Q = self.query @ I
        K = self.key @ I
        A = K.mT @ Q
        may = torch.ones_like(A, dtype=torch.bool).mT if mask is None else mask[:, 0].expand(A.mT.shape)
        if lengths is not None:
            may = may & padding_mask(lengths, I.shape[2])[:, 0]
        A = (A / math.sqrt(len(self.query))).masked_fill(~may.mT, -math.inf)
        nothing = ~may.any(2)[:, None]
        return A.masked_fill(nothing, 0.0).softmax(dim=1).masked_fill(nothing, 0.0)


class MultiHeadAttention(nn.Module):
    """Attention with several heads, `(batch, length, inputs) -> (batch, length, width)`, of one sequence or on another.

    `attention(values, lengths)` is self-attention; `attention(values, lengths, memory=..., memory_lengths=...)` lets
    the positions of `values` look at those of `memory`. Padding is not looked at, and its own output is 0. `mask`,
    `(batch, heads, query, key)` or what broadcasts to it, is True where a query may look (`thalweg.nn.masks`); one
    without any key gets zeros. The length may be any.

    - `inputs`: features of what comes in, where that is not `width`.
    - `positions`: None, "relative" or "rotary" (`thalweg.nn.positions`). Without positions, or some added to the
      inputs, the order of the keys is not seen.
    - `window`: a query sees itself and so many keys back, and as many ahead unless `causal`.
    - `causal`: keys after the query are not seen.
    - `dropout`: the share of the weights silenced in training; `bias`: whether the projections have biases.

    >>> attention = MultiHeadAttention(16, heads=4)
    >>> x, lengths = torch.randn(2, 7, 16), torch.tensor([7, 3])
    >>> attention(x, lengths).shape, attention.attention(x, lengths).shape
    (torch.Size([2, 7, 16]), torch.Size([2, 4, 7, 7]))
    >>> attention(x, memory=torch.randn(2, 5, 16)).shape
    torch.Size([2, 7, 16])

    Raises `RecipeError` for knobs out of their range, for inputs, lengths and masks of another shape, and where a
    window, an order or positions are asked for between two sequences, which share no positions.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        inputs: int | None = None,
        positions: str | None = None,
        window: int | None = None,
        causal: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        inputs = width if inputs is None else inputs
        check_heads("MultiHeadAttention", width, heads, positions)
        check_count("MultiHeadAttention", "inputs", inputs)
        if window is not None:
            check_count("MultiHeadAttention", "window", window, least=0)
        check_dropout("MultiHeadAttention", dropout)
        self.width, self.heads, self.inputs = width, heads, inputs
        self.positions, self.window, self.causal, self.dropout = positions, window, causal, dropout
        self.relative = RelativeBias(heads, causal=causal) if positions == "relative" else None
        self.projections = nn.Linear(inputs, 3 * width, bias=bias)
        """Of queries, keys and values, in this order, head by head."""
        self.output = nn.Linear(width, width, bias=bias)
        for weight in self.projections.weight.chunk(3):
            nn.init.xavier_uniform_(weight)
        for layer in (self.projections, self.output):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def extra_repr(self) -> str:
        said = {"positions": self.positions, "window": self.window, "causal": self.causal, "dropout": self.dropout}
        return ", ".join([f"{self.width}, heads={self.heads}", *(f"{k}={v!r}" for k, v in said.items() if v)])

    @no_type_check
    def forward(
        self,
        values: Sequences,
        lengths: Tensor | None = None,
        *,
        memory: Sequences | None = None,
        memory_lengths: Tensor | None = None,
        mask: Bool[Tensor, "#batch #heads #query key"] | None = None,
    ) -> Found:
        """What each position has found."""
        self._check(values, lengths, memory, memory_lengths, mask)
        query, key, value = self._projected(values, memory)
        dropout = self.dropout if self.training else 0.0
        blind = mask is not None or memory is not None
        if self.window is not None and not blind:
            near = None if self.relative is None else self.relative.near(self.window)
            found = attend_near(query, key, value, self.window, self.causal, lengths, bias=near, dropout=dropout)
        else:
            may = self._mask(values, lengths if memory is None else memory_lengths, memory, mask)
            bias, causal = self._bias(values), self.causal and may is None
            found = attend(query, key, value, mask=may, bias=bias, causal=causal, dropout=dropout, blind=blind)
        output = self.joined(found)
        if blind and may is not None:
            output = output.masked_fill(~may.any(-1).any(1)[..., None], 0.0)
        return output if lengths is None else output.masked_fill(~present(lengths, values.shape[1])[..., None], 0.0)

    @no_type_check
    def attention(
        self,
        values: Sequences,
        lengths: Tensor | None = None,
        *,
        memory: Sequences | None = None,
        memory_lengths: Tensor | None = None,
        mask: Bool[Tensor, "#batch #heads #query key"] | None = None,
    ) -> Float[Tensor, "batch heads query key"]:
        """The attention maps: what each query takes from each key, a row for each query that sums to 1.

        The rows of padding, and of a query without keys, are 0.
        """
        self._check(values, lengths, memory, memory_lengths, mask)
        query, key, _ = self._projected(values, memory)
        may = self._mask(values, lengths if memory is None else memory_lengths, memory, mask)
        maps = weights_of(query, key, mask=may, bias=self._bias(values), causal=self.causal and may is None)
        return maps if lengths is None else maps * present(lengths, values.shape[1])[:, None, :, None]

    def projected(self, values: Sequences) -> tuple[Head, Head, Head]:
        """Queries, keys and values of one sequence: views of one product, before rotary positions."""
        query, key, value = self._split(self.projections(values), 3)
        return query, key, value

    def queries(self, values: Sequences) -> Head:
        """The queries of positions that look at a memory."""
        return self._split(part(self.projections, values, 0, self.width), 1)[0]

    def keys_and_values(self, memory: Sequences) -> tuple[Head, Head]:
        """The keys and values of a memory."""
        key, value = self._split(part(self.projections, memory, self.width, 3 * self.width), 2)
        return key, value

    def joined(self, found: Head) -> Found:
        """What the heads have found as one, by the output's matrix."""
        output: Tensor = self.output(found.transpose(1, 2).flatten(2))
        return output

    def _projected(self, values: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if memory is not None:
            return self.queries(values), *self.keys_and_values(memory)
        query, key, value = self.projected(values)
        return (rotated(query), rotated(key), value) if self.positions == "rotary" else (query, key, value)

    def _split(self, joint: Tensor, count: int) -> list[Tensor]:
        parts = joint.unflatten(2, (count, self.heads, self.width // self.heads)).unbind(2)
        return [part.transpose(1, 2) for part in parts]

    def _bias(self, values: Tensor) -> Tensor | None:
        return None if self.relative is None else self.relative(values.shape[1], values.shape[1])

    def _mask(
        self, values: Tensor, key_lengths: Tensor | None, memory: Tensor | None, mask: Tensor | None
    ) -> Tensor | None:
        """What may be looked at; None where that is everything, but for the causal order.

        In self-attention the queries of padding may look at something too, so that no row of the softmax is empty: what
        they find is not used.
        """
        masks = [] if mask is None else [mask]
        if key_lengths is not None and memory is not None:
            masks.append(padding_mask(key_lengths, memory.shape[1]))
        elif key_lengths is not None:
            masks.append(padding_mask(key_lengths.clamp(min=1), values.shape[1]))
        if self.window is not None:
            masks.append(band_mask(values.shape[1], self.window, self.causal, device=values.device))
        elif self.causal and masks:
            masks.append(causal_mask(values.shape[1], device=values.device))
        return reduce(and_, masks) if masks else None

    def _check(self, values: Any, lengths: Any, memory: Any, memory_lengths: Any, mask: Any) -> None:
        for name, x, its_lengths in (("values", values, lengths), ("memory", memory, memory_lengths)):
            if name == "memory" and x is None:
                continue
            if not isinstance(x, Tensor) or x.dim() != 3 or x.shape[2] != self.inputs or not x.is_floating_point():
                raise RecipeError(
                    f"MultiHeadAttention: {name} are {described(x)}, but must be real numbers of shape (batch, length, "
                    f"{self.inputs}). Build it with inputs= the features that come in; tokens are embedded first."
                )
            if its_lengths is not None:
                check_lengths("MultiHeadAttention", its_lengths, len(x))
        if memory is not None and (self.causal or self.window is not None or self.positions is not None):
            raise RecipeError(
                "MultiHeadAttention: it was built with a causal order, a window or positions, which two sequences do "
                "not share, and given a memory. Build the attention on a memory without them."
            )
        if memory is not None and len(memory) != len(values):
            raise RecipeError(
                f"MultiHeadAttention: there are {len(memory)} sequences in the memory for {len(values)} values. Give "
                "one for each, such as memory.expand(len(values), -1, -1)."
            )
        shape = (len(values), self.heads, values.shape[1], (values if memory is None else memory).shape[1])
        if mask is not None and not (isinstance(mask, Tensor) and mask.dtype == torch.bool and _fits(mask, shape)):
            raise RecipeError(
                f"MultiHeadAttention: the mask is {described(mask)}, but must be bool and broadcast to (batch, heads, "
                f"query, key), here {shape}, True where a query may look. Masks from thalweg.nn.masks are so; torch's "
                "are the other way round: ~mask."
            )


def _fits(mask: Tensor, shape: tuple[int, ...]) -> bool:
    return mask.dim() == 4 and all(own in (1, side) for own, side in zip(mask.shape, shape, strict=True))


def check_heads(where: str, width: int, heads: int, positions: str | None) -> None:
    """Raise `RecipeError` unless `heads` divide `width`, into parts of an even size where these are rotated in pairs.

    >>> check_heads("encoder", 10, 4, None)
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: encoder: heads is 4, which does not divide a width of 10. Give for instance
    heads=5, or width=12.
    """
    check_count(where, "width", width)
    check_count(where, "heads", heads)
    check_choice(where, "positions", positions, (None, *ATTENDED))
    parts = heads * 2 if positions == "rotary" else heads
    if width % parts:
        why = " into parts of an even size, as rotary positions need" if positions == "rotary" else ""
        each = parts // heads
        fitting = [count for count in range(1, width + 1) if width % (count * each) == 0]
        near = f"heads={min(fitting, key=lambda count: (abs(count - heads), -count))}, or " if fitting else ""
        raise RecipeError(
            f"{where}: heads is {heads}, which does not divide a width of {width}{why}. Give for instance "
            f"{near}width={math.ceil(width / parts) * parts}."
        )
