"""How good the classes of positions are, as words have tags."""

from typing import Any

import torch
from torch import nn

from thalweg.core.errors import RecipeError
from thalweg.core.nest import describe
from thalweg.core.objective import Losses, apply, objective, pair
from thalweg.core.tokens import NO_TARGET


@objective
def tag_accuracy(model: nn.Module, batch: Any) -> Losses:
    """The share of positions whose likeliest class is the target's: of a batch `(x, y)` the share of each sequence.

    The model gives logits `(batch, length, classes)`, `y` is `(batch, length)`, -100 where there is no target. The
    weight of a sequence is how many positions have one, so that the weighted mean is the share of all positions, and
    an interval resamples whole sequences. Positions whose logits hold NaN count NaN.

    >>> batch = (torch.tensor([[[2.0, 0.0], [2.0, 0.0], [2.0, 0.0]]]), torch.tensor([[0, 1, -100]]))
    >>> tag_accuracy(nn.Identity(), batch)
    Losses(value=tensor([0.5000]), weight=tensor([2.]), unit=None)

    Raises `RecipeError` for shapes that do not agree.
    """
    x, y = pair(batch)
    output = apply(model, x)
    if output.dim() != 3 or tuple(y.shape) != tuple(output.shape[:2]):
        raise RecipeError(
            f"tag_accuracy got an output {describe(output)} and a target {describe(y)}, but logits (batch, length, "
            "classes) go with class numbers (batch, length). For one class a sequence measure accuracy."
        )
    logits = output.detach().to(torch.promote_types(output.dtype, torch.float32))
    counted = (y != NO_TARGET).to(logits.dtype)
    hits = torch.where(logits.isnan().any(2), torch.nan, (logits.argmax(2) == y).to(logits.dtype))
    weight = counted.sum(1)
    return Losses(torch.where(counted > 0, hits, 0).sum(1) / weight.clamp(min=1), weight=weight)
