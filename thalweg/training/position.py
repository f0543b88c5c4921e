"""Where a training stands: the epoch, the batches of it that are done, the running mean, and the random streams."""

from dataclasses import dataclass

from thalweg.core.randomness import Streams
from thalweg.training.tally import RunningMean


@dataclass
class Position:
    """Where a training stands within an epoch; `streams` and `gradient_norm` are those of one that was read back."""

    mean: RunningMean
    epoch: int = 1
    batch: int = 0
    seconds: float = 0.0
    streams: Streams | None = None
    gradient_norm: float | None = None
