r"""The largest of many numbers and their places: exact, and of equal numbers the one in the earlier place first.

A row is cut into blocks, and only the $k$ blocks with the largest maxima are looked into: they hold the $k$ largest
numbers, for the maximum of any other block is below $k$ numbers. A vocabulary is then read once, and never sorted.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 32


def largest(
    values: Float[Tensor, "row place"], count: int
) -> tuple[Float[Tensor, "row rank"], Int[Tensor, "row rank"]]:
    """The `count` largest of each row (all where there are fewer), the largest first, and their places.

    >>> largest(torch.tensor([[1.0, 3.0, 2.0, 3.0]]), 3)
    (tensor([[3., 3., 2.]]), tensor([[1, 3, 2]]))
    """
    length = values.shape[1]
    count = min(count, length)
    if length < 4 * BLOCK * count:
        return ordered(values, count)
    blocks = ordered(maxima(values, BLOCK), count)[1].sort(1).values
    places = (blocks[:, :, None] * BLOCK + torch.arange(BLOCK, device=values.device)).flatten(1)
    within = values.gather(1, places.clamp(max=length - 1))
    if length % BLOCK:  # the last block is shorter
        within = within.masked_fill(places >= length, -torch.inf)
    found, inner = ordered(within, count)
    return found, places.gather(1, inner).clamp(max=length - 1)


def maxima(values: Float[Tensor, "row place"], size: int) -> Float[Tensor, "row block"]:
    """The largest of each block of so many numbers; the last block may be shorter.

    >>> maxima(torch.tensor([[1.0, 3.0, 2.0]]), 2)
    tensor([[3., 2.]])
    """
    whole = values.shape[1] // size * size
    found = values[:, :whole].unflatten(1, (-1, size)).amax(2)
    if whole == values.shape[1]:
        return found
    return torch.cat([found, values[:, whole:].amax(1, keepdim=True)], 1)


def ordered(
    values: Float[Tensor, "row place"], count: int
) -> tuple[Float[Tensor, "row rank"], Int[Tensor, "row rank"]]:
    """The `count` largest and their places, of at least so many that are compared as they are.

    >>> ordered(torch.tensor([[1.0, 3.0, 2.0, 3.0]]), 2)
    (tensor([[3., 3.]]), tensor([[1, 3]]))
    """
    if 2 * count < values.shape[1]:
        found, places = values.topk(count + 1)
        equal = (found[:, 1:] == found[:, :-1]) & (found[:, 1:] > -torch.inf)
        if not bool(equal.any()):
            return found[:, :count], places[:, :count]
        if values.dtype is torch.float32:  # topk orders equal ones as it likes
            places = _keyed(values, count)
            return values.gather(1, places), places
    found, places = values.sort(dim=1, descending=True, stable=True)
    return found[:, :count], places[:, :count]


def _keyed(values: Float[Tensor, "row place"], count: int) -> Int[Tensor, "row rank"]:
    """Places by whole numbers of 64 bits, no two of them equal: the number in the upper half, in the lower the place.

    The bits of a float, read as a whole number, are in the order of the floats, where the lower 31 bits of the negative
    ones are flipped.
    """
    last = values.shape[1] - 1
    bits = (values + 0.0).view(torch.int32)  # the sum makes 0 of -0
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys = (ordered.long() << 32) | torch.arange(last, -1, -1, device=values.device)
    return last - (keys.topk(count, dim=1).values & 0xFFFFFFFF)
