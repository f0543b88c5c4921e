r"""Scaled dot-product attention by the kernel that is quickest: for each query the mean of the values its key fits to.

$$ O = \mathrm{softmax}\big(Q K^\top / \sqrt d + B\big)\, V $$

over the keys that a mask allows (Vaswani et al., "Attention Is All You Need", 2017, equation 1), of queries, keys and
values `(batch, heads, length, d)`. $B$ is what relative positions add. torch's fused kernel needs memory for no
`query x key` matrix, which is what counts for long sequences. On a CPU in bfloat16 its backward pass is slow, and for
short sequences three plain products take its place.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from thalweg.nn.local_attention import local_attention
from thalweg.nn.masks import causal_mask

Heads = Float[Tensor, "batch heads query dim"]
MOST_KEYS = 1024
"""Up to so many keys, products of 16-bit numbers on a CPU are quicker than the fused kernel (bench/attention.py)."""


def attend(
    query: Float[Tensor, "batch heads query dim"],
    key: Float[Tensor, "batch heads key dim"],
    value: Float[Tensor, "batch heads key out"],
    *,
    mask: Bool[Tensor, "#batch #heads #query key"] | None = None,
    bias: Float[Tensor, "#batch #heads #query key"] | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    blind: bool = True,
) -> Float[Tensor, "batch heads query out"]:
    """What each query finds; zeros, and no gradient, for one that may look at no key.

    `mask` is True where a query may look, `bias` is added to the scores, `causal` keeps keys after the query from it
    (there are as many keys as queries then), and `dropout` silences that share of the weights. Where every query has a
    key, `blind=False` spares the care for those that have none.

    >>> query, key, value = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 3, 4), torch.tensor([[[[1.0], [3.0], [8.0]]]])
    >>> may = torch.tensor([[True, True, False], [False, False, False]])
    >>> attend(query, key, value, mask=may[None, None]).tolist()
    [[[[2.0], [0.0]]]]
    """
    by_products = query.device.type == "cpu" and query.itemsize == 2 and key.shape[2] <= MOST_KEYS
    if mask is None and bias is None and not (causal and by_products):
        if not by_products:
            return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=causal)
        return _weighted(_softmax(_scores(query, key)), value, dropout)
    mask, sees = _rows_with_keys(_joined(mask, causal, query.shape[2], query.device), blind)
    if by_products:
        output = _weighted(_softmax(_scores(query, key), mask, bias), value, dropout)
    else:
        output = F.scaled_dot_product_attention(query, key, value, _added(mask, bias, query), dropout_p=dropout)
    return output if sees is None else output.masked_fill(~sees, 0.0)


def weights_of(
    query: Float[Tensor, "batch heads query dim"],
    key: Float[Tensor, "batch heads key dim"],
    *,
    mask: Bool[Tensor, "#batch #heads #query key"] | None = None,
    bias: Float[Tensor, "#batch #heads #query key"] | None = None,
    causal: bool = False,
) -> Float[Tensor, "batch heads query key"]:
    """The weights that `attend` takes the mean by: each row sums to 1, that of a query without keys to 0.

    >>> weights_of(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), causal=True).tolist()
    [[[[1.0, 0.0], [0.5, 0.5]]]]
    """
    mask, sees = _rows_with_keys(_joined(mask, causal, query.shape[2], query.device), blind=True)
    weights = _softmax(_scores(query, key), mask, bias)
    return weights if sees is None else weights.masked_fill(~sees, 0.0)


def attend_near(
    query: Heads,
    key: Heads,
    value: Heads,
    window: int,
    causal: bool,
    lengths: Tensor | None = None,
    *,
    bias: Float[Tensor, "heads offset"] | None = None,
    dropout: float = 0.0,
) -> Heads:
    """`attend` where a query sees itself and `window` keys back, and as many ahead unless `causal`.

    `lengths` are those of the sequences; padding is not seen, and what its own queries find has no meaning. `bias` is a
    number for each offset from query to key, from the farthest back on.

    >>> value = torch.tensor([[[[1.0], [3.0], [8.0]]]])
    >>> attend_near(torch.zeros(1, 1, 3, 1), torch.zeros(1, 1, 3, 1), value, 1, causal=True).tolist()
    [[[[1.0], [2.0], [5.5]]]]
    """
    return local_attention(query, key, value, window, causal=causal, lengths=lengths, bias=bias, dropout=dropout)


def _joined(mask: Tensor | None, causal: bool, length: int, device: torch.device) -> Tensor | None:
    if not causal:
        return mask
    before = causal_mask(length, device=device)
    return before if mask is None else mask & before


def _rows_with_keys(mask: Tensor | None, blind: bool) -> tuple[Tensor | None, Tensor | None]:
    """The mask with every row without keys opened, whose softmax would be 0 / 0, and which rows had keys."""
    if mask is None or not blind:
        return mask, None
    sees = mask.any(-1, keepdim=True)
    return mask | ~sees, sees


def _added(mask: Tensor | None, bias: Tensor | None, query: Tensor) -> Tensor | None:
    """What torch's kernel takes for mask and bias: one tensor, added to the scores unless it is bool."""
    if bias is None:
        return mask
    bias = bias.to(query.dtype)
    return bias if mask is None else bias.masked_fill(~mask, -math.inf)


def _scores(query: Tensor, key: Tensor) -> Tensor:
    """The products of queries and keys over the root of their size, in one call."""
    queries, keys, scale = query.flatten(0, 1), key.flatten(0, 1).mT, 1 / math.sqrt(query.shape[3])
    return torch.baddbmm(query.new_zeros(()), queries, keys, beta=0, alpha=scale).unflatten(0, query.shape[:2])


def _softmax(scores: Tensor, mask: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(dim=-1)


def _weighted(weights: Tensor, value: Tensor, dropout: float) -> Tensor:
    weights = F.dropout(weights, dropout) if dropout else weights
    return torch.bmm(weights.flatten(0, 1), value.flatten(0, 1)).unflatten(0, weights.shape[:2])
