"""One vector for a sequence: the mean, the largest, the first or the last of those of its positions."""

import math
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from thalweg.nn.knobs import check_choice
from thalweg.nn.masks import present


def pool_over(
    name: str, x: Float[Tensor, "batch length features"], lengths: Tensor | None = None
) -> Float[Tensor, "batch features"]:
    """The "mean", "max", "first" or "last" of the positions that are no padding; 0 where there are none.

    Raises `RecipeError` for another name.

    >>> import torch
    >>> x, lengths = torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2])
    >>> [pool_over(name, x, lengths).item() for name in ("mean", "max", "first", "last")]
    [2.0, 3.0, 1.0, 3.0]
    """
    check_choice("pool_over", "name", name, POOLS)
    if x.shape[1] == 0:
        return x.sum(1)
    if lengths is None:
        lengths = x.new_full((len(x),), x.shape[1]).long()
    pooled = POOLS[name](x, lengths)
    return pooled.masked_fill(~(lengths > 0)[:, None], 0.0)


def _mean(x: Tensor, lengths: Tensor) -> Tensor:
    there = present(lengths, x.shape[1])[..., None]
    return x.masked_fill(~there, 0.0).sum(1) / lengths.clamp(1, x.shape[1])[:, None]


def _max(x: Tensor, lengths: Tensor) -> Tensor:
    there = present(lengths, x.shape[1])[..., None]
    return x.masked_fill(~there, -math.inf).amax(1)


def _first(x: Tensor, lengths: Tensor) -> Tensor:
    return x[:, 0]


def _last(x: Tensor, lengths: Tensor) -> Tensor:
    place = (lengths.long() - 1).clamp(0, x.shape[1] - 1)[:, None, None]
    return x.gather(1, place.expand(-1, -1, x.shape[2])).squeeze(1)


POOLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mean": _mean, "max": _max, "first": _first, "last": _last}
