r"""Normalization of padded sequences: what is padding is in no statistic, so that more of it changes nothing.

Layer and RMS norm look at one position at a time. Batch and power norm take their statistics over all positions of all
sequences: here over those that are there. In a causal network that is a leak. Batch norm's mean and variance are of all
positions, the later ones too, so that in training the output at a position depends on what comes after it; power norm's
do so in its first steps, and in its backward pass.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from thalweg.nn.knobs import check_choice
from thalweg.nn.normalization import normalization

SEQUENCE_NORMS = ("layer", "batch", "power", "rms")


class SequenceNorm(nn.Module):
    """A norm of that name for `(batch, length, features)`, with a mask `(batch, length)`: True where no padding is.

    "layer", "batch", "power" or "rms". What comes out at padding has no meaning. Raises `RecipeError` for another name.

    >>> norm = SequenceNorm("batch", 3)
    >>> x, mask = torch.randn(2, 5, 3), torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    >>> norm(x, mask)[mask].mean(0).abs().max() < 1e-6
    tensor(True)
    """

    def __init__(self, name: str, features: int) -> None:
        super().__init__()
        check_choice("SequenceNorm", "name", name, SEQUENCE_NORMS)
        self.name, self.norm = name, normalization(name, features)

    def forward(
        self, x: Float[Tensor, "batch length features"], mask: Bool[Tensor, "batch length"] | None = None
    ) -> Float[Tensor, "batch length features"]:
        """The normalized sequences."""
        if self.name == "batch" and mask is not None and self.training:
            return _batch_norm_where(mask, x, self.norm)
        output: Tensor
        if self.name == "batch":
            output = self.norm(x.flatten(0, 1)).view(x.shape)
        else:
            output = self.norm(x, mask) if self.name == "power" else self.norm(x)
        return output


def _batch_norm_where(mask: Tensor, x: Tensor, norm: Any) -> Tensor:
    r"""Batch norm by the mean and variance of the positions that are there, which also move its running values."""
    there = mask[..., None]
    x = x.to(norm.weight.dtype)
    count = mask.sum()
    mean = x.masked_fill(~there, 0.0).sum((0, 1)) / count.clamp(min=1)
    centered = (x - mean).masked_fill(~there, 0.0)
    variance = centered.square().sum((0, 1)) / count.clamp(min=1)
    with torch.no_grad():
        rate = norm.momentum * (count > 0)
        unbiased = variance * count / (count - 1).clamp(min=1)
        norm.running_mean += rate * (mean - norm.running_mean)
        norm.running_var += rate * (unbiased - norm.running_var)
        norm.num_batches_tracked += 1
    return torch.addcmul(norm.bias, centered * (variance + norm.eps).rsqrt(), norm.weight)
