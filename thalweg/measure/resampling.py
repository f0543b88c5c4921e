"""What an interval has to know of a metric: how it is resampled, and whether zeros and ones are a share.

An interval asks a metric for its value on hundreds of resamples of the examples. Most of the work (which class is
guessed, the order of the scores) is the same for all of them, so a metric of the whole set may have a second form that
takes `counts`, a row for each draw with how often each example is in it, and gives a value for each draw.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Resampled = Callable[[Any, Any, Float[Tensor, "draw batch"]], Float[Tensor, " draw"]]


def resampled_by(resampled: Resampled) -> Callable[[Any], Any]:
    """Marks a metric with the form of it that takes counts, as its `resampled`.

    >>> @resampled_by(lambda output, target, counts: counts @ output / counts.sum(1))
    ... def mean(output, target): return output.mean()
    >>> resampling_of(mean)(torch.tensor([1.0, 4.0]), None, torch.tensor([[1.0, 1.0], [2.0, 0.0]]))
    tensor([2.5000, 1.0000])
    """

    def mark(metric: Any) -> Any:
        metric.resampled = resampled
        return metric

    return mark


def resampling_of(metric: Any) -> Resampled | None:
    """What `resampled_by` marked a metric with, None for any other metric.

    >>> resampling_of(torch.nn.functional.l1_loss) is None
    True
    """
    return getattr(metric, "resampled", None)


def an_error(metric: Any) -> Any:
    """Marks a metric whose values are errors, of which 0 and 1 are amounts like any other."""
    metric.share = False
    return metric


def is_share(metric: Any) -> bool:
    """Whether values of 0 and 1 say of each example that it is wrong or right; so they do but for `an_error`.

    >>> is_share(lambda output, target: (output == target).float())
    True
    """
    return bool(getattr(metric, "share", True))


@dataclass(frozen=True)
class Through:
    """A metric of what `view` makes of output and target; what it was marked with goes along.

    >>> first = Through(lambda output, target: (output - target).abs(), lambda *both: column(*both, place=0))
    >>> first(torch.tensor([[1.0, 7.0]]), torch.tensor([[3.0, 7.0]]))
    tensor([2.])
    """

    metric: Any
    view: Callable[[Any, Any], tuple[Any, Any]]

    def __call__(self, output: Any, target: Any) -> Any:
        return self.metric(*self.view(output, target))

    @property
    def share(self) -> bool:
        return is_share(self.metric)

    @property
    def resampled(self) -> Resampled | None:
        inner = resampling_of(self.metric)
        return None if inner is None else lambda output, target, counts: inner(*self.view(output, target), counts)


def unweighted(output: Any, target: Any) -> tuple[Any, Any]:
    """The view of a target that comes with a weight for each example, `(target, weight)`: the weight left aside."""
    return output, target[0]


def column(output: Tensor, target: Tensor, place: int) -> tuple[Tensor, Tensor]:
    """The view of one of several numbers to predict; of an output with variances too, the mean."""
    return output[:, place], target[:, place]


def once(examples: Tensor) -> Float[Tensor, "1 batch"]:
    """Each example counted once, as the set itself has it.

    >>> once(torch.tensor([3, 5]))
    tensor([[1., 1.]], dtype=torch.float64)
    """
    return torch.ones(1, len(examples), dtype=torch.float64, device=examples.device)
