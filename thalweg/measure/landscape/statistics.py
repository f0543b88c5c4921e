r"""The surface far from the weights, and what batch norm does there.

The running statistics are those of the last weights. Elsewhere the layers before a batch norm give other means and
variances, and to normalize by the old ones makes a loss that no training with these weights would have. So by default
batch norm takes the statistics of each evaluation batch, "batch", as in training; "running" takes the buffers as they
are. Li et al. 2018 leave the running ones and set the parameters of batch norm to rest; far away the two differ much.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from thalweg.core.errors import RecipeError
from thalweg.measure.curvature.opening import surface
from thalweg.measure.curvature.settings import NORMS
from thalweg.measure.curvature.surface import Surface
from thalweg.measure.looking import as_module

STATISTICS = ("batch", "running")


@contextmanager
def far_surface(
    model: nn.Module, objective: Any, batches: Any, statistics: str, **restraints: Any
) -> Iterator[Surface]:
    """The error surface with batch norm by the statistics named; nothing else differs from evaluation mode.

    Raises `RecipeError` for statistics of another name, and as `surface` does.

    >>> import torch
    >>> net = nn.Sequential(nn.BatchNorm1d(1, affine=False), nn.Linear(1, 1))
    >>> x = torch.tensor([[1.0], [5.0]])
    >>> loss = lambda output, y: net[0](x).square().mean() + 0 * output.sum()
    >>> for statistics in STATISTICS:
    ...     with far_surface(net, loss, (x, x), statistics) as at:
    ...         print(round(at.value(), 3), at.mode)
    1.0 evaluation mode (batch norm by the statistics of each batch)
    13.0 evaluation mode (batch norm by running statistics)
    """
    if statistics not in STATISTICS:
        raise RecipeError(
            f'statistics is {statistics!r}, but batch norm takes those of each batch, "batch", or "running" ones.'
        )
    places: list[tuple[nn.Module, str, Any]] = []
    if statistics == "batch":
        places = [
            (module, name, module._buffers[name])
            for module in as_module(model).modules()
            if isinstance(module, NORMS)
            for name in ("running_mean", "running_var")
            if module._buffers.get(name) is not None
        ]
    try:
        for module, name, _ in places:
            module._buffers[name] = None
        with surface(model, objective, batches, **restraints) as at:
            at.forget()  # the graph for second derivatives
            if places and not at.training:
                at.mode = at.mode.replace("running statistics", "the statistics of each batch")
            yield at
    finally:
        for module, name, buffer in places:
            module._buffers[name] = buffer
