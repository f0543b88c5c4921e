"""The running mean of the loss over an epoch, summed where the losses are, read once."""

import torch

from thalweg.core.objective import Losses


class RunningMean:
    """The mean of the losses of the batches so far, each counted by the weight of its batch.

    >>> mean = RunningMean(torch.device("cpu"))
    >>> mean.add(Losses(torch.tensor(1.0), weight=32.0))
    >>> mean.add(Losses(torch.tensor(4.0), weight=16.0))
    >>> mean.value()
    2.0
    """

    def __init__(self, device: torch.device) -> None:
        exact = torch.float32 if device.type == "mps" else torch.float64
        self.total = torch.zeros((), device=device, dtype=exact)
        self.weight: torch.Tensor | float = 0.0

    def add(self, losses: Losses) -> None:
        """Count a batch; nothing is read from the device."""
        weight = losses.total_weight()
        mean = losses.mean().detach()
        if isinstance(weight, float):
            self.total.add_(mean, alpha=weight)
        else:
            self.total.add_(mean * weight)
        self.weight = self.weight + weight

    def value(self) -> float | None:
        """The mean; None before the first batch, or where a loop of the user's own never asks for the objective."""
        weight = float(self.weight)
        return float(self.total) / weight if weight else None
