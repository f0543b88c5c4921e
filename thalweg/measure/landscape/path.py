"""A path through the weights: state dicts of one training, first to last, and a model that stands at one of them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.errors import DataError, RecipeError
from thalweg.measure.curvature.settings import trainable

State = Mapping[str, Tensor]
Stops = list[tuple[int, State]]
"""Weights with the epoch that they are of."""


def read_path(path: Any, model: nn.Module) -> Stops:
    """The states of a path with their epochs: those of a dict by epoch, else numbered from 0.

    A state is what `model.state_dict()` gives, or a model. Raises `RecipeError` for what is no path, for an empty one,
    and for weights of another model, `DataError` for weights that are not finite.

    >>> layer = nn.Linear(2, 1)
    >>> [epoch for epoch, _ in read_path({1: layer.state_dict(), 10: layer.state_dict()}, layer)]
    [1, 10]
    """
    if isinstance(path, Mapping) and all(isinstance(epoch, int) for epoch in path):
        pairs = sorted(path.items())
    elif isinstance(path, Iterable) and not isinstance(path, str | bytes | Mapping | Tensor | nn.Module):
        pairs = list(enumerate(path))
    else:
        raise RecipeError(
            f"The path is one {type(path).__name__}, but it is the weights of several epochs: a list of state dicts, "
            "first to last, or {epoch: state dict}."
        )
    if not pairs:
        raise RecipeError(
            "The path is empty. Give the weights of some epochs, first to last: copy.deepcopy(model.state_dict())."
        )
    parameters = trainable(model)
    return [(epoch, _state(state, epoch, parameters)) for epoch, state in pairs]


def vector(state: State, parameters: Mapping[str, Tensor]) -> Tensor:
    """The trained parameters of a state as one vector."""
    return torch.cat([state[name].detach().reshape(-1).to(p.device, p.dtype) for name, p in parameters.items()])


@contextmanager
def standing(model: nn.Module, state: State) -> Iterator[None]:
    """The model with the trained parameters and the buffers of a state; afterwards it has its own again.

    >>> layer, other = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> with standing(layer, other.state_dict()):
    ...     same = torch.equal(layer.weight, other.weight)
    >>> same, torch.equal(layer.weight, other.weight)
    (True, False)
    """
    places = [(parameter, parameter.data, state[name]) for name, parameter in trainable(model).items()]
    buffers = [
        (module, name, buffer, state[f"{prefix}.{name}".lstrip(".")])
        for prefix, module in model.named_modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and _fits(state.get(f"{prefix}.{name}".lstrip(".")), buffer)
    ]
    try:
        for parameter, data, tensor in places:
            parameter.data = tensor.detach().to(data.device, data.dtype, copy=True)
        for module, name, buffer, tensor in buffers:
            module._buffers[name] = tensor.detach().to(buffer.device, buffer.dtype, copy=True)
        yield
    finally:
        for parameter, data, _ in places:
            parameter.data = data
        for module, name, buffer, _ in buffers:
            module._buffers[name] = buffer


def _state(state: Any, epoch: int, parameters: Mapping[str, Tensor]) -> State:
    found = dict(state.state_dict()) if isinstance(state, nn.Module) else state
    if not isinstance(found, Mapping):
        raise RecipeError(
            f"Epoch {epoch} of the path is a {type(state).__name__}, but it is a state dict. Give a copy "
            "of model.state_dict()."
        )
    for name, parameter in parameters.items():
        if not _fits(found.get(name), parameter):
            has = f"has the shape {tuple(found[name].shape)}" if isinstance(found.get(name), Tensor) else "is not there"
            raise RecipeError(
                f"Epoch {epoch} of the path is of another model: {name!r} {has}, but the model's has "
                f"{tuple(parameter.shape)}. Give state dicts of this model."
            )
        if not bool(torch.isfinite(found[name]).all()):
            raise DataError(
                f"Epoch {epoch} of the path holds weights that are not finite, in {name!r}. Give the path up to where "
                "training diverged."
            )
    return found


def _fits(tensor: Any, like: Tensor) -> bool:
    return isinstance(tensor, Tensor) and tensor.shape == like.shape
