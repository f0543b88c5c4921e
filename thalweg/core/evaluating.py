"""Evaluation mode for a while: a model that is asked in the midst of its training leaves no trace of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def evaluating(model: Any) -> Iterator[list[nn.Module]]:
    """With all parts of a model in evaluation mode, each put back as it was; gives those that were not.

    The parts of one may be in different modes, such as frozen ones. What is no module stays what it is.

    >>> model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3).eval())
    >>> with evaluating(model) as parts:
    ...     len(parts), [part.training for part in model]
    (2, [False, False])
    >>> [part.training for part in model]
    [True, False]
    """
    parts = list(model.modules()) if isinstance(model, nn.Module) else []
    training = [part for part in parts if part.training]
    for part in training:
        part.training = False
    try:
        yield training
    finally:
        for part in training:
            part.training = True
