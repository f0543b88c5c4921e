"""Threads: one for small networks, whose layers are done before a second thread has begun; all for large ones.

The rule is by the multiplications of a forward pass, not by a clock, so that it is the same each time. On a busy
machine threads wait for one another at every layer: a training of a second took twenty (docs/log.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

SMALL = 2**23
"""Multiplications of a forward pass up to which one thread is as fast as several."""


@dataclass
class Work:
    """The multiplications that a block has counted; 0 where nothing was counted."""

    total: int = 0
    handles: list[Any] = field(default_factory=list, repr=False)


@contextmanager
def counting(model: nn.Module) -> Iterator[Work]:
    """Count what the layers with weights multiply in a block: for each number they give, the weights that go into it.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> with counting(net) as work:
    ...     _ = net(torch.ones(5, 3))
    >>> work.total == 5 * (3 * 4 + 4 * 2)
    True
    """
    work = Work()
    for module in model.modules():
        if any(True for _ in module.parameters(recurse=False)) and not isinstance(module, nn.Embedding):
            try:
                work.handles.append(module.register_forward_hook(partial(_count, work)))
            except (RuntimeError, TypeError):  # a scripted module takes no hooks
                continue
    try:
        yield work
    finally:
        for handle in work.handles:
            handle.remove()


def _count(work: Work, module: nn.Module, inputs: Any, output: Any) -> None:
    given = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(given, Tensor):
        return
    for weight in module.parameters(recurse=False):
        bias = weight.dim() > 2 and weight.shape == given.shape[1:]
        if weight.dim() > 1 and not bias:  # a matrix or a filter: every row of it gives one number
            places = given.numel() // max(_rows(module, weight, given), 1)
            work.total += places * weight.numel()


def _rows(module: nn.Module, weight: Tensor, given: Tensor) -> int:
    """The numbers that are given at one place: channels of a convolution, units of a linear layer; all of an example
    where each has weights of its own.
    """
    if isinstance(module, nn.modules.conv._ConvNd):
        return int(module.out_channels)
    if weight.dim() > 2 and given.shape[1:].numel() == weight.shape[:-1].numel():
        return given.shape[1:].numel()
    return int(given.shape[-1]) if given.dim() else 1


@contextmanager
def fitting_threads(work: int) -> Iterator[None]:
    """One thread for a block whose forward passes are small; as many as there were for others and for unknown ones.

    >>> with fitting_threads(100):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    if not 0 < work <= SMALL or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
