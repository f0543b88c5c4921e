r"""Frames stacked: neighbours become one position, so that a long sequence of vectors becomes a shorter one.

$$ s_i = [x_{k i}; x_{k i + 1}; \ldots; x_{k i + k - 1}] $$

A second of speech is a hundred frames and some ten sounds: what attends to every frame has ten times the places to
choose from, and a recurrent state ten times the way. That $k$ frames are read at once and passed over as far is the low
frame rate of Pundak & Sainath, "Lower Frame Rate Neural Network Acoustic Models" (2016).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def stacked(
    values: Float[Tensor, "batch length features"], lengths: Int[Tensor, " batch"] | None, count: int
) -> tuple[Float[Tensor, "batch positions stacked"], Int[Tensor, " batch"] | None]:
    """Every `count` neighbours as one position, zeros behind the last, and how many positions there are then.

    >>> values = torch.arange(10.0).view(1, 5, 2)
    >>> stacked(values, torch.tensor([3]), 2)
    (tensor([[[0., 1., 2., 3.],
             [4., 5., 0., 0.],
             [0., 0., 0., 0.]]]), tensor([2]))
    """
    if lengths is not None:
        there = torch.arange(values.shape[1], device=values.device) < lengths.to(values.device)[:, None]
        values = values.masked_fill(~there[..., None], 0.0)
    values = F.pad(values, (0, 0, 0, -values.shape[1] % count))
    return values.unflatten(1, (values.shape[1] // count, count)).flatten(2), shortened(lengths, count)


def shortened(lengths: Int[Tensor, " batch"] | None, count: int) -> Int[Tensor, " batch"] | None:
    """How many positions so many frames have, stacked by `count`; a last one that is not full is one too.

    >>> shortened(torch.tensor([0, 3, 4, 5]), 4)
    tensor([0, 1, 1, 2])
    """
    return None if lengths is None else (lengths + count - 1) // count
