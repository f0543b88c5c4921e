"""What changes the numbers of an image and moves none: brightness, contrast, noise, a rectangle of nothing."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from thalweg.core.counter import normal
from thalweg.core.randomness import stream_seed

Images = Float[Tensor, "batch ..."]


@dataclass(frozen=True)
class Range:
    """Of each image: whether its numbers lie in [0, 1], where they stay then, and the unit of what is added.

    A row of a table has no range and no deviation of its own, for its columns are other things: its unit is 1.

    >>> Range.of(torch.tensor([[[0.0, 0.5]], [[-2.0, 2.0]]])).unit.flatten().tolist()
    [1.0, 2.0]
    >>> Range.of(torch.tensor([[0.0, 0.5], [-2.0, 2.0]])).unit.flatten().tolist()
    [1.0, 1.0]
    """

    within: Bool[Tensor, "batch ..."]
    unit: Float[Tensor, "batch ..."]

    @classmethod
    def of(cls, x: Images) -> "Range":
        """The unit is 1 for an image in [0, 1], else its own deviation."""
        flat = x.detach().reshape(len(x), -1)
        shape = (len(x),) + (1,) * (x.dim() - 1)
        if x.dim() <= 2:
            return cls(torch.zeros(shape, dtype=torch.bool, device=x.device), x.new_ones(shape))
        low, high = flat.aminmax(dim=1) if flat.shape[1] else (flat.new_zeros(len(x)),) * 2
        within = (low >= 0) & (high <= 1)
        unit = torch.ones_like(low) if bool(within.all()) else torch.where(within, 1, flat.std(1, correction=0))
        return cls(within.view(shape), unit.view(shape))

    def kept(self, x: Images) -> Images:
        """Images that were in [0, 1] cut off there, the others as they are."""
        cut = x.clamp(0, 1)
        return cut if bool(self.within.all()) else torch.where(self.within, cut, x)


def brightened(x: Images, range_: Range, drawn: Float[Tensor, "batch 2"], brightness: float, contrast: float) -> Images:
    r"""$m + (x - m)(1 + c\,u) + b\,v$ with the mean $m$ of each image; $u$ and $v$ in [-1, 1] come from `drawn`.

    >>> x = torch.tensor([[0.2, 0.4]])
    >>> brightened(x, Range.of(x), torch.tensor([[1.0, 0.5]]), brightness=0.1, contrast=0.5)
    tensor([[0.3000, 0.5000]])
    """
    moved, factor = ((2 * drawn - 1) * drawn.new_tensor([brightness, contrast])).to(x.dtype).unbind(1)
    shape = range_.unit.shape
    factor, added = 1 + factor.view(shape), moved.view(shape) * range_.unit
    if contrast:
        mean = x.mean(dim=tuple(range(1, x.dim())), keepdim=True)
        added = torch.addcmul(added, mean, 1 - factor)
    return range_.kept(torch.addcmul(added, x, factor) if contrast else x + added)


def noisy(x: Images, range_: Range, key: int, ids: Int[Tensor, " batch"], noise: float) -> Images:
    """Normal noise on every number, of deviation `noise` for an image in [0, 1], a share of its deviation for others.

    >>> x = torch.zeros(1, 2)
    >>> noisy(x, Range.of(x), 0, torch.arange(1), 0.1).shape
    torch.Size([1, 2])
    """
    drawn = normal(stream_seed(key, "noise"), ids.to(x.device), x[0].numel()).view(x.shape).to(x.dtype)
    return range_.kept(torch.addcmul(x, drawn, noise * range_.unit))


def cut_out(x: Images, drawn: Float[Tensor, "batch 2"], share: float) -> Images:
    """A rectangle of 0 with this share of each side, its middle at the place in [0, 1) that `drawn` gives.

    >>> cut_out(torch.ones(1, 1, 4, 4), torch.tensor([[0.5, 0.0]]), 0.5)[0, 0, 2]
    tensor([0., 1., 1., 1.])
    """
    inside = []
    for side, place in zip(x.shape[-2:], drawn.unbind(1), strict=True):
        length = round(share * side)
        first = (place * side).floor() - length // 2
        pixel = torch.arange(side, device=x.device)
        inside.append((pixel >= first[:, None]) & (pixel < first[:, None] + length))
    hole = inside[0][:, :, None] & inside[1][:, None, :]
    return x.masked_fill(hole if x.dim() == 3 else hole[:, None], 0.0)
