"""A trace of a network: which layers one run on a batch calls, and which of them meet the output.

Nothing is read of the program. A layer meets the output where the loss depends on what it gives without another layer
in between that mixes, which the graph of gradients tells; its outer side is the data's, and stays as it is.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.nest import Nest, to_device
from thalweg.core.objective import Moment
from thalweg.core.randomness import generator
from thalweg.core.step import Step
from thalweg.diagnosis.resizing import Sizes, kind_of, mixes
from thalweg.training import Recipe

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Layer:
    """A layer that was called: its name, the sizes of its inputs, that of its output, and whether it meets the loss."""

    name: str
    inner: Sizes
    outer: int | None
    last: bool


@dataclass(frozen=True)
class Trace:
    """The layers in the order of their first call, and the shapes of what the network itself gave."""

    layers: tuple[Layer, ...]
    output: Shapes

    @property
    def mixing(self) -> list[Layer]:
        """The layers that mix, norms left out."""
        return [layer for layer in self.layers if layer.outer is not None]


def traced(recipe: Recipe, model: nn.Module, batch: Nest) -> Trace | None:
    """One run of a model of the recipe on a batch, in training; None where it fails.

    >>> from thalweg.core.source import Splits
    >>> x, y = torch.ones(5, 3), torch.ones(5, 2)
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    >>> trace = traced(Recipe(data=Splits(train=(x, y)), model=lambda: net, objective=nn.MSELoss()), net, (x, y))
    >>> [(layer.name, layer.outer, layer.last) for layer in trace.layers], trace.output
    ([('0', 4, False), ('1', None, False), ('2', 2, True)], ((5, 2),))
    """
    called, made, output = dict[str, nn.Module](), dict[Any, str](), list[Any]()
    handles = [model.register_forward_hook(lambda module, inputs, given: output.append(given))]
    for name, module in sized(model):
        handles.append(module.register_forward_hook(partial(_note, called, made, name)))
    try:
        minimized = forward(Step(model, recipe.objective), batch, training=True)
    finally:
        for handle in handles:
            handle.remove()
    if minimized is None:
        return None
    last = _nearest(minimized, made)
    if not last and (mixing := [name for name, module in called.items() if mixes(module)]):
        last = {mixing[-1]}
    return Trace(tuple(_layer(name, called[name], name in last) for name in called), shapes(output[:1]))


def sized(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers that can be of another size, by their names; what is inside of one is no layer of its own.

    >>> [name for name, _ in sized(nn.TransformerEncoderLayer(4, 2))]
    ['self_attn', 'linear1', 'linear2', 'norm1', 'norm2']
    """
    inside: set[nn.Module] = set()
    for name, module in model.named_modules():
        if module not in inside and kind_of(module) is not None:
            inside.update(module.children())
            yield name, module


def forward(step: Step, batch: Nest, *, training: bool) -> Tensor | None:
    """What the step minimizes on a batch, on the processor; None where the user's own code fails."""
    cpu = torch.device("cpu")
    try:
        moment = Moment(training=training, generator=generator(0, "trial"))
        minimized: Tensor = step.to(cpu).train(training)(to_device(batch, cpu), moment)[0]
    except Exception:  # a user's own code: sizes that do not fit are told by assertions and missing keys too
        return None
    return minimized


def shapes(output: Any) -> Shapes:
    """The shapes of all tensors in what a network gives.

    >>> shapes((torch.ones(2, 3), {"more": torch.ones(5)}))
    ((2, 3), (5,))
    """
    return tuple(tuple(tensor.shape) for tensor in tensors(output))


def tensors(output: Any) -> Iterator[Tensor]:
    """All tensors in tuples (packed sequences are such), lists and dictionaries."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        yield from tensors(list(output.values()))
    elif isinstance(output, tuple | list):
        for one in output:
            yield from tensors(one)


def _note(
    called: dict[str, nn.Module], made: dict[Any, str], name: str, module: nn.Module, inputs: Any, output: Any
) -> None:
    called.setdefault(name, module)
    if mixes(module):
        made.update({tensor.grad_fn: name for tensor in tensors(output) if tensor.grad_fn is not None})


def _nearest(minimized: Tensor, made: dict[Any, str]) -> set[str]:
    """The layers that are met first on the way back from what is minimized."""
    return {made[node] for node in graph_back(minimized, stops=made) if node in made}


def graph_back(minimized: Tensor, stops: Container[Any] = ()) -> Iterator[Any]:
    """The nodes of the graph of gradients on the way back from what is minimized, each once, and none behind `stops`.

    >>> weight = torch.ones(2, requires_grad=True)
    >>> [type(node).__name__ for node in graph_back((2 * weight).sum())]
    ['SumBackward0', 'MulBackward0', 'AccumulateGrad']
    """
    seen, ahead = set[Any](), [minimized.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        if node not in stops:
            ahead += [before for before, _ in node.next_functions]


def _layer(name: str, module: nn.Module, last: bool) -> Layer:
    kind = kind_of(module)
    assert kind is not None
    return Layer(name, kind.inner(module), kind.outer(module), last)
