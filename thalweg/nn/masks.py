"""Masks of attention: which keys a query may look at. True is "may", False is "may not".

A mask has a shape that broadcasts to `(batch, heads, query, key)`, and masks are joined by `&`. A query that may look
at nothing at all gets zeros.
"""

from typing import Any

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.tokens import PADDING
from thalweg.nn.knobs import check_count

Mask = Bool[Tensor, "#batch #heads query key"]


@no_type_check
def present(lengths: Any, length: int) -> Bool[Tensor, "batch length"]:
    """True where a sequence has a position, False where padding stands: at the end, from `lengths[i]` on.

    Lengths below 0 are taken as 0, those beyond `length` as `length`. Raises `RecipeError` for lengths that are not
    whole numbers, one for each sequence.

    >>> present(torch.tensor([1, 3, 0]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 1], [0, 0, 0]]
    """
    check_lengths("present", lengths)
    return torch.arange(length, device=lengths.device) < lengths[:, None]


@no_type_check
def padding_mask(lengths: Any, length: int) -> Bool[Tensor, "batch 1 1 key"]:
    """Keys that are no padding, `(batch, 1, 1, key)`, for sequences of these lengths padded to `length`.

    Raises what `present` raises.

    >>> padding_mask(torch.tensor([1, 3]), 3).shape
    torch.Size([2, 1, 1, 3])
    """
    return present(lengths, length)[:, None, None]


def causal_mask(length: int, *, device: torch.device | None = None) -> Bool[Tensor, "1 1 query key"]:
    """Keys that do not come after the query, `(1, 1, query, key)`: key j <= query i.

    >>> causal_mask(3)[0, 0].int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    place = torch.arange(length, device=device)
    return (place <= place[:, None])[None, None]


def band_mask(
    length: int, window: int, causal: bool = False, *, device: torch.device | None = None
) -> Bool[Tensor, "1 1 query key"]:
    """Keys near the query, `(1, 1, query, key)`: itself and `window` keys back, and as many ahead unless `causal`.

    Raises `RecipeError` for a window below 0.

    >>> band_mask(4, 1)[0, 0].int().tolist()
    [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    >>> band_mask(4, 1, causal=True)[0, 0].int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    """
    check_count("band_mask", "window", window, least=0)
    place = torch.arange(length, device=device)
    back = place[:, None] - place
    return ((back <= window) & (back >= (0 if causal else -window)))[None, None]


@no_type_check
def edge_mask(edges: Any, nodes: int) -> Bool[Tensor, "1 1 query key"]:
    """Keys that an edge leads from, `(1, 1, query, key)`, for `nodes` nodes in a graph: attention along edges alone.

    `edges` is `(2, edge)` int64: the node in row 1 may look at the node in row 0. There are no other edges: a node sees
    itself where `edges` has that loop, and an undirected edge stands there twice. Raises `RecipeError` for edges of
    another shape or type; torch raises for a node that is not there.

    >>> edge_mask(torch.tensor([[0, 1], [1, 2]]), 3)[0, 0].int().tolist()  # 0 -> 1 -> 2
    [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    """
    if not (isinstance(edges, Tensor) and edges.dtype == torch.int64 and edges.dim() == 2 and edges.shape[0] == 2):
        raise RecipeError(
            f"edge_mask was given {described(edges)}, but edges are int64 of shape (2, edge): in row 0 where each "
            "comes from, in row 1 where it leads. Transpose a list of pairs: torch.tensor(pairs).t()."
        )
    mask = torch.zeros(nodes, nodes, dtype=torch.bool, device=edges.device)
    seen = torch.ones((), dtype=torch.bool, device=edges.device)
    return mask.index_put((edges[1], edges[0]), seen)[None, None]


def without_padding(values: Shaped[Tensor, "batch length ..."], lengths: Any) -> Shaped[Tensor, "batch length ..."]:
    """The same with 0 where padding stands, whatever stood there; lengths may be None: there is none.

    >>> without_padding(torch.tensor([[4, 5], [6, 7]]), torch.tensor([2, 1]))
    tensor([[4, 5],
            [6, 0]])
    """
    if lengths is None:
        return values
    there = present(lengths, values.shape[1])
    return values.masked_fill(~there.view(*there.shape, *[1] * (values.dim() - 2)), 0)


def lengths_of(tokens: Int[Tensor, "batch length"]) -> Int[Tensor, " batch"]:
    """How many tokens each sequence has before its padding.

    >>> lengths_of(torch.tensor([[2, 5, 0], [2, 0, 0]]))
    tensor([2, 1])
    """
    return (tokens != PADDING).sum(1)


def check_lengths(where: str, lengths: Any, batch: int | None = None) -> None:
    """Raise `RecipeError` unless `lengths` are whole numbers, `(batch,)`.

    >>> check_lengths("encoder", torch.tensor([2.5]))
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: encoder: lengths are float32 of shape (1,), but ...
    """
    whole = isinstance(lengths, Tensor) and lengths.dtype in (torch.int64, torch.int32) and lengths.dim() == 1
    if whole and batch in (None, len(lengths)):
        return
    raise RecipeError(
        f"{where}: lengths are {described(lengths)}, but there is one whole number for each sequence, int64 of shape "
        f"({'batch' if batch is None else batch},). Leave lengths out where no sequence is padded."
    )


def described(value: Any) -> str:
    """What an error calls a value: type and shape of a tensor, else itself.

    >>> described(torch.zeros(2, 3)), described(None)
    ('float32 of shape (2, 3)', 'None')
    """
    if not isinstance(value, Tensor):
        return repr(value)
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
