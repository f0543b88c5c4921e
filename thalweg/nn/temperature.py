"""Temperature scaling: softer or sharper probabilities with the same ranking of classes."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.errors import RecipeError


class Temperature(nn.Module):
    r"""A model whose logits are divided by a temperature: $p = \mathrm{softmax}(z / T)$.

    `value` above 1 lowers confidence, below 1 raises it, and no prediction changes (Guo et al., "On Calibration of
    Modern Neural Networks", 2017, equation 9). Fit it on validation logits by `thalweg.measure.temperature`. Raises
    `RecipeError` for a value that is not positive and finite.

    >>> cooled = Temperature(nn.Identity(), 2.0)
    >>> cooled(torch.tensor([[4.0, 0.0]]))
    tensor([[2., 0.]])
    """

    value: Tensor

    def __init__(self, model: nn.Module, value: float) -> None:
        super().__init__()
        if not (value > 0 and math.isfinite(value)):
            raise RecipeError(
                f"Temperature: value is {value!r}, but logits are divided by it, so it must be positive and finite. "
                "Fit it by thalweg.measure.temperature(logits, target), or give 1.0 to change nothing."
            )
        self.model = model
        self.register_buffer("value", torch.tensor(float(value)))

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        logits: Tensor = self.model(*inputs, **named)
        return logits / self.value
