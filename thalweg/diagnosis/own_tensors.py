"""What a network holds itself, beside torch's layers: learned positions, class tokens, buffers, tied weights."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from thalweg.diagnosis.resizing import Sizes
from thalweg.diagnosis.tracing import sized


def own_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor, bool]]:
    """Parameters and buffers that belong to no layer of torch's, by name, and whether they are buffers.

    >>> net = nn.Sequential(nn.Linear(2, 3))
    >>> net.register_parameter("scale", nn.Parameter(torch.ones(3)))
    >>> [(name, buffer) for name, _, buffer in own_tensors(net)]
    [('scale', False)]
    """
    layers = {id(own) for _, module in sized(model) for own in (*module.parameters(), *module.buffers())}
    for buffer, named in ((False, model.named_parameters()), (True, model.named_buffers())):
        yield from ((name, own, buffer) for name, own in named if id(own) not in layers and own.dim() > 0)


def redraw(model: nn.Module, name: str, shape: Sizes) -> None:
    """Give a tensor another shape: a buffer is laid out again and again, a parameter drawn with its mean and spread."""
    path, _, key = name.rpartition(".")
    module = model.get_submodule(path)
    own = getattr(module, key)
    if not isinstance(own, nn.Parameter):
        times = [-(-new // old) for new, old in zip(shape, own.shape, strict=True)]
        setattr(module, key, own.repeat(times)[tuple(map(slice, shape))].clone())
        return
    with torch.no_grad():
        drawn = torch.randn(shape, dtype=own.dtype, device=own.device)
        setattr(module, key, nn.Parameter(own.mean() + own.std(correction=0) * drawn, own.requires_grad))


def shared(model: nn.Module) -> list[list[str]]:
    """The names under which one parameter is known, for each that has several."""
    names = dict[int, list[str]]()
    for name, own in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(own), []).append(name)
    return [several for several in names.values() if len(several) > 1]


def tie(model: nn.Module, several: list[list[str]]) -> None:
    """Make one again what was one parameter; a shape that differs is told by the sizes themselves."""
    for first, *others in several:
        own = model.get_parameter(first)
        for name in others:
            path, _, key = name.rpartition(".")
            module = model.get_submodule(path)
            if getattr(module, key).shape != own.shape:
                raise ValueError(f"{first} and {name} are one parameter, and cannot be of two shapes.")
            setattr(module, key, own)


def lazy(model: nn.Module) -> bool:
    """Whether a model waits for its first batch to know its sizes."""
    return any(is_lazy(own) for own in (*model.parameters(), *model.buffers()))
