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

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.nn.knobs import check_count

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
) -> Float[Tensor, "batch head length dim"]:
    r"""Attention in which a position sees itself and `window` positions back and, unless `causal`, as many ahead.

    $y_i = \sum_{|i - j| \le W} \mathrm{softmax}_j(s \, q_i \cdot k_j) \, v_j$ with $s$ = `scale`, $1 / \sqrt{d}$ where
    it is None. `lengths` says how many positions of each example count: further ones are padding, are seen by none, and
    their outputs are zeros. Time and memory grow as n W, forward and backward; gradients of gradients are what torch's
    attention has (none on CPU). Raises `RecipeError` for shapes that do not go together and a window that is no count.

    >>> q, k, v = torch.randn(3, 2, 4, 100, 8).unbind()
    >>> y = local_attention(q, k, v, 5, causal=True)
    >>> alone = scaled_dot_product_attention(q[:, :, 94:], k[:, :, 94:], v[:, :, 94:])
    >>> y.shape, bool(torch.allclose(y[:, :, -1], alone[:, :, -1], atol=1e-6))
    (torch.Size([2, 4, 100, 8]), True)
    """
    check_count("local_attention", "window", window, least=0)
    _check_shapes(query, key, value, lengths)
    back, ahead = window, 0 if causal else window
    block, padded = block_size(window), lengths is not None and not causal  # what is causal sees no padding after it
    if query.shape[2] < max(back + ahead + block, FEW * window if padded else 0):
        output = _dense(query, key, value, back, ahead, lengths, scale)
    elif lengths is None or causal:
        output = _blocks(query, key, value, back, ahead, block, scale)
    else:
        output = _padded_blocks(query, key, value, window, block, lengths, scale)
    if lengths is None:
        return output
    return output.masked_fill(~_counts(lengths, query.shape[2])[:, None, :, None], 0.0)


def block_size(window: int) -> int:
    """How many queries are done together: half a window, for few comparisons that are masked; not too few at a time.

    >>> [block_size(window) for window in (0, 16, 128, 1000)]
    [16, 16, 64, 128]
    """
    return max(LEAST_BLOCK, min(MOST_BLOCK, window // 2))


def _counts(lengths: Int[Tensor, " batch"], length: int) -> Bool[Tensor, "batch length"]:
    return torch.arange(length, device=lengths.device) < lengths[:, None]


def _band(queries: int, keys: int, shift: int, back: int, ahead: int, like: Tensor) -> Bool[Tensor, "queries keys"]:
    """Which keys each query sees, where query 0 stands at the position of key `shift`."""
    offset = torch.arange(keys, device=like.device) - torch.arange(queries, device=like.device)[:, None] - shift
    return (offset >= -back) & (offset <= ahead)


def _dense(
    query: Tensor, key: Tensor, value: Tensor, back: int, ahead: int, lengths: Tensor | None, scale: float | None
) -> Tensor:
    """Few positions: all are compared with all."""
    length = query.shape[2]
    if ahead == 0 and length <= back + 1:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    seen = _band(length, length, 0, back, ahead, query)
    if lengths is not None:
        itself = torch.eye(length, dtype=torch.bool, device=query.device)  # padding sees itself, lest a row be empty
        seen = (seen & _counts(lengths, length)[:, None, :] | itself)[:, None]
    return scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale)


def _blocks(
    query: Tensor, key: Tensor, value: Tensor, back: int, ahead: int, block: int, scale: float | None
) -> Tensor:
    """The first `back` queries, then blocks whose whole window lies inside the sequence, then what is left."""
    length = query.shape[2]
    blocks = (length - back - ahead) // block
    middle = blocks * block
    rest = length - back - middle
    first, inner, last = query.split([back, middle, rest], dim=2)
    outputs = []
    if back:
        outputs.append(_edge(first, key[:, :, : back + ahead], value[:, :, : back + ahead], 0, back, ahead, scale))
    outputs.append(_inner(inner, key, value, back, ahead, block, scale))
    if rest:
        start = length - rest - back
        outputs.append(_edge(last, key[:, :, start:], value[:, :, start:], back, back, ahead, scale))
    return torch.cat(outputs, dim=2)


def _edge(query: Tensor, key: Tensor, value: Tensor, shift: int, back: int, ahead: int, scale: float | None) -> Tensor:
    """Some queries, of which the first stands where key `shift` does, with all keys that any of them sees."""
    if shift == ahead == 0 < back:  # the first of a causal sequence see all before them
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    seen = _band(query.shape[2], key.shape[2], shift, back, ahead, query)
    return scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale)


def _inner(query: Tensor, key: Tensor, value: Tensor, back: int, ahead: int, block: int, scale: float | None) -> Tensor:
    """Whole blocks, a piece at once, as so many heads; block b sees keys from b B on, B + back + ahead of them."""
    batch, heads, middle, _ = query.shape
    seen = _band(block, block + back + ahead, back, back, ahead, query)
    keys, values = (_pieces(each[:, :, : middle + back + ahead], block, back + ahead) for each in (key, value))
    outputs = []
    for asked, *seeing in zip(query.split(_piece(block), dim=2), keys, values, strict=True):
        blocks = asked.reshape(batch * heads, -1, block, asked.shape[3])
        k, v = (each.reshape(batch * heads, -1, each.shape[3]).unfold(1, seen.shape[1], block).mT for each in seeing)
        output = scaled_dot_product_attention(blocks, k, v, attn_mask=seen, scale=scale)
        outputs.append(output.reshape(batch, heads, -1, v.shape[3]))
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


def _padded_blocks(
    query: Tensor, key: Tensor, value: Tensor, window: int, block: int, lengths: Tensor, scale: float | None
) -> Tensor:
    """Windows ahead that end where each example ends: a mask for every block, none for every head.

    All examples stand in one row, a window or more apart, so that blocks of all examples are one batch.
    """
    batch, length = len(query), query.shape[2]
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
    seen = ((counts | (at == position)) & _band(block, keys, window, window, window, query)).flatten(0, 1)[:, None]
    outputs, count = [], _piece(block) // block
    for asked, mask, *seeing in zip(
        queries.split(count), seen.split(count), *(_pieces(row, block, 2 * window) for row in rows), strict=True
    ):
        k, v = (each.unfold(1, keys, block).mT.transpose(0, 1) for each in seeing)
        outputs.append(scaled_dot_product_attention(asked, k, v, attn_mask=mask, scale=scale))
    output = torch.cat(outputs)
    return output.unflatten(0, (batch, blocks)).transpose(1, 2).flatten(2, 3)[:, :, :length]


def _check_shapes(query: Any, key: Any, value: Any, lengths: Any) -> None:
    shapes = [tuple(each.shape) for each in (query, key, value)]
    if any(len(shape) != 4 for shape in shapes) or shapes[1] != shapes[0] or shapes[2][:3] != shapes[0][:3]:
        raise RecipeError(
            f"local_attention was given query, key and value of shapes {shapes[0]}, {shapes[1]} and {shapes[2]}, but a "
            "window is over one sequence: give all three as (batch, head, length, dim), of the same length."
        )
    if lengths is not None and (lengths.dim() != 1 or len(lengths) != shapes[0][0] or lengths.is_floating_point()):
        raise RecipeError(
            f"local_attention: lengths has shape {tuple(lengths.shape)} and dtype {lengths.dtype}, but it is one whole "
            f"number for each of the {shapes[0][0]} examples. Give an int64 tensor of shape ({shapes[0][0]},)."
        )
