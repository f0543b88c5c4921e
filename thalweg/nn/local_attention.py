r"""Local attention: each position sees a window of its neighbours, at a cost that grows with the length alone.

$$ y_i = \sum_{j \in N(i)} \mathrm{softmax}_j\Big(\frac{q_i \cdot k_j}{\sqrt{d}}\Big) v_j,
\qquad N(i) = \{i - W, \dots, i\} \ \text{(causal)} \quad \text{or} \quad \{i - W, \dots, i + W\} $$

Full attention compares all n positions with all n. Here the queries are cut into blocks of B, and those of a block are
compared with the B + W (causal) or B + 2W keys that any of them sees: n (B + W) comparisons in place of n n, and the
same holds for memory. It is exact: what lies in a block's keys and outside a query's window is masked. The idea is that
of sliding windows in Longformer (Beltagy, Peters & Cohan 2020, section 3.1) and of the local layers of Image
Transformer (Parmar et al. 2018); here in one call of torch's fused attention, whose batch is the blocks:

    queries    W | B | B | B | ... | rest          the first and the last few are done apart,
    keys      [------]                             so that one mask does for all the blocks between
                  [------]                         windows overlap: they are views, not copies

The gradients of overlapping windows are no views: of W = 2 B each key has three before they are added up. So blocks are
taken in pieces of `PIECE` positions, and the backward pass holds those of one piece at a time.

Layers see W further each: after L of them a position depends on L W to its left.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.nn.knobs import check_count
from thalweg.nn.masks import check_lengths, present

LEAST_BLOCK, MOST_BLOCK, PIECE = 16, 128, 2048
FEW = 5
"""Below so many windows a mask for all pairs costs less than one for each block."""


@no_type_check
def local_attention(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch head length dim"],
    value: Float[Tensor, "batch head length dim"],
    window: int,
    *,
    causal: bool = False,
    lengths: Int[Tensor, " batch"] | None = None,
    scale: float | None = None,
    bias: Float[Tensor, "head offset"] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "batch head length dim"]:
    r"""Attention in which a position sees itself and `window` positions back and, unless `causal`, as many ahead.

    $y_i = \sum_{|i - j| \le W} \mathrm{softmax}_j(s \, q_i \cdot k_j + b_{j - i}) \, v_j$ with $s$ = `scale`,
    $1 / \sqrt{d}$ where it is None, and `bias` a number for each head and offset $j - i$, from $-W$ to $W$, or to 0 if
    `causal`; `dropout` silences that share of the weights. `lengths` says how many positions of each example count:
    further ones are padding, are seen by none, and their outputs are zeros. Time and memory grow as n W, forward and
    backward; gradients of gradients are what torch's attention has (none on CPU). Raises `RecipeError` for shapes that
    do not go together and a window that is no count.

    >>> q, k, v = torch.randn(3, 2, 4, 100, 8).unbind()
    >>> y = local_attention(q, k, v, 5, causal=True)
    >>> alone = scaled_dot_product_attention(q[:, :, 94:], k[:, :, 94:], v[:, :, 94:])
    >>> y.shape, bool(torch.allclose(y[:, :, -1], alone[:, :, -1], atol=1e-6))
    (torch.Size([2, 4, 100, 8]), True)
    """
    check_count("local_attention", "window", window, least=0)
    _check_shapes(query, key, value, lengths)
    near = _Near(window, 0 if causal else window, scale, bias, dropout)
    _check_bias(bias, query.shape[1], near)
    block, padded = block_size(window), lengths is not None and not causal  # what is causal sees no padding after it
    if query.shape[2] < max(near.back + near.ahead + block, FEW * window if padded else 0):
        output = _dense(query, key, value, near, lengths)
    elif lengths is None or causal:
        output = _blocks(query, key, value, near, block)
    else:
        output = _padded_blocks(query, key, value, near, block, lengths)
    if lengths is None:
        return output
    return output.masked_fill(~present(lengths, query.shape[2])[:, None, :, None], 0.0)


def block_size(window: int) -> int:
    """How many queries are done together: half a window, for few comparisons that are masked; not too few at a time.

    >>> [block_size(window) for window in (0, 16, 128, 1000)]
    [16, 16, 64, 128]
    """
    return max(LEAST_BLOCK, min(MOST_BLOCK, window // 2))


class _Near(NamedTuple):
    """What a query sees, how its scores are made, and which share of the weights is silenced."""

    back: int
    ahead: int
    scale: float | None
    bias: Tensor | None
    dropout: float

    def band(self, queries: int, keys: int, shift: int, like: Tensor) -> Bool[Tensor, "queries keys"]:
        """Which keys each query sees, where query 0 stands at the position of key `shift`."""
        offset = _offsets(queries, keys, shift, like)
        return (offset >= -self.back) & (offset <= self.ahead)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, seen: Tensor, shift: int, copies: int = 0) -> Tensor:
        """What queries find among the keys that they see.

        The second axis holds heads; or blocks, where the first holds the heads of so many examples (`copies`).
        """
        mask = seen
        if self.bias is not None:
            place = (_offsets(query.shape[2], key.shape[2], shift, query) + self.back).clamp(0, self.back + self.ahead)
            added = self.bias.to(query.dtype)[:, place]
            added = added.repeat(copies, 1, 1)[:, None] if copies else added
            mask = added.masked_fill(~seen, -torch.inf)
        return scaled_dot_product_attention(query, key, value, mask, self.dropout, scale=self.scale)

    def attend_before(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`attend` where each query sees all keys up to itself."""
        if self.bias is not None:
            return self.attend(query, key, value, self.band(query.shape[2], key.shape[2], 0, query), 0)
        return scaled_dot_product_attention(query, key, value, dropout_p=self.dropout, is_causal=True, scale=self.scale)


def _offsets(queries: int, keys: int, shift: int, like: Tensor) -> Int[Tensor, "queries keys"]:
    return torch.arange(keys, device=like.device) - torch.arange(queries, device=like.device)[:, None] - shift


def _dense(query: Tensor, key: Tensor, value: Tensor, near: _Near, lengths: Tensor | None) -> Tensor:
    """Few positions: all are compared with all."""
    length = query.shape[2]
    if near.ahead == 0 and length <= near.back + 1:
        return near.attend_before(query, key, value)
    seen = near.band(length, length, 0, query)
    if lengths is not None:
        itself = torch.eye(length, dtype=torch.bool, device=query.device)  # padding sees itself, lest a row be empty
        seen = (seen & present(lengths, length)[:, None, :] | itself)[:, None]
    return near.attend(query, key, value, seen, 0)


def _blocks(query: Tensor, key: Tensor, value: Tensor, near: _Near, block: int) -> Tensor:
    """The first `back` queries, then blocks whose whole window lies inside the sequence, then what is left."""
    length, back, ahead = query.shape[2], near.back, near.ahead
    blocks = (length - back - ahead) // block
    middle = blocks * block
    rest = length - back - middle
    first, inner, last = query.split([back, middle, rest], dim=2)
    outputs = []
    if back:
        outputs.append(_edge(first, key[:, :, : back + ahead], value[:, :, : back + ahead], 0, near))
    outputs.append(_inner(inner, key, value, near, block))
    if rest:
        start = length - rest - back
        outputs.append(_edge(last, key[:, :, start:], value[:, :, start:], back, near))
    return torch.cat(outputs, dim=2)


def _edge(query: Tensor, key: Tensor, value: Tensor, shift: int, near: _Near) -> Tensor:
    """Some queries, of which the first stands where key `shift` does, with all keys that any of them sees."""
    if shift == near.ahead == 0 < near.back:  # the first of a causal sequence see all before them
        return near.attend_before(query, key, value)
    return near.attend(query, key, value, near.band(query.shape[2], key.shape[2], shift, query), shift)


def _inner(query: Tensor, key: Tensor, value: Tensor, near: _Near, block: int) -> Tensor:
    """Whole blocks, a piece at once, as so many heads; block b sees keys from b B on, B + back + ahead of them."""
    batch, heads, middle, _ = query.shape
    overlap = near.back + near.ahead
    seen = near.band(block, block + overlap, near.back, query)
    keys, values = (_pieces(each[:, :, : middle + overlap], block, overlap) for each in (key, value))
    outputs = []
    for asked, *seeing in zip(query.split(_piece(block), dim=2), keys, values, strict=True):
        blocks = asked.reshape(batch * heads, -1, block, asked.shape[3])
        k, v = (each.reshape(batch * heads, -1, each.shape[3]).unfold(1, seen.shape[1], block).mT for each in seeing)
        outputs.append(near.attend(blocks, k, v, seen, near.back, copies=batch).reshape(batch, heads, -1, v.shape[3]))
    return torch.cat(outputs, dim=2)


def _piece(block: int) -> int:
    """How many positions make a piece: whole blocks."""
    return max(1, PIECE // block) * block


def _pieces(x: Float[Tensor, "*row length dim"], block: int, overlap: int) -> list[Tensor]:
    """Keys or values of each piece of queries, with the `overlap` that follows them, as views of one tensor."""
    piece, length = _piece(block), x.shape[-2] - overlap
    whole = length // piece * piece
    pieces = list(x[..., : whole + overlap, :].unfold(-2, piece + overlap, piece).mT.unbind(-3)) if whole else []
    return pieces if whole == length else [*pieces, x[..., whole:, :]]


def _padded_blocks(query: Tensor, key: Tensor, value: Tensor, near: _Near, block: int, lengths: Tensor) -> Tensor:
    """Windows ahead that end where each example ends: a mask for every block, none for every head.

    All examples stand in one row, a window or more apart, so that blocks of all examples are one batch.
    """
    batch, length, window = len(query), query.shape[2], near.back
    blocks = -(-length // block) + -(-window // block)
    slot, keys = blocks * block, block + 2 * window
    queries = pad(query, (0, 0, 0, slot - length)).unflatten(2, (blocks, block)).transpose(1, 2).flatten(0, 1)
    rows = (
        pad(pad(each, (0, 0, 0, slot - length)).transpose(0, 1).flatten(1, 2), (0, 0, window, window))
        for each in (key, value)
    )
    position = torch.arange(slot, device=query.device).view(blocks, block, 1)
    at = position[:, :1] - window + torch.arange(keys, device=query.device)
    counts = (at >= 0) & (at < lengths.view(batch, 1, 1, 1))
    seen = ((counts | (at == position)) & near.band(block, keys, window, query)).flatten(0, 1)[:, None]
    outputs, count = [], _piece(block) // block
    for asked, mask, *seeing in zip(
        queries.split(count), seen.split(count), *(_pieces(row, block, 2 * window) for row in rows), strict=True
    ):
        k, v = (each.unfold(1, keys, block).mT.transpose(0, 1) for each in seeing)
        outputs.append(near.attend(asked, k, v, mask, window))
    output = torch.cat(outputs)
    return output.unflatten(0, (batch, blocks)).transpose(1, 2).flatten(2, 3)[:, :, :length]


def _check_bias(bias: Any, heads: int, near: _Near) -> None:
    if bias is not None and tuple(bias.shape) != (heads, near.back + 1 + near.ahead):
        raise RecipeError(
            f"local_attention: the bias has shape {tuple(bias.shape)}, but it is a number for each head and each "
            f"offset that a query sees. Give it as ({heads}, {near.back + 1 + near.ahead})."
        )


def _check_shapes(query: Any, key: Any, value: Any, lengths: Any) -> None:
    shapes = [tuple(each.shape) for each in (query, key, value)]
    if any(len(shape) != 4 for shape in shapes) or shapes[1] != shapes[0] or shapes[2][:3] != shapes[0][:3]:
        raise RecipeError(
            f"local_attention was given query, key and value of shapes {shapes[0]}, {shapes[1]} and {shapes[2]}, but a "
            "window is over one sequence: give all three as (batch, head, length, dim), of the same length."
        )
    if lengths is not None:
        check_lengths("local_attention", lengths, shapes[0][0])
