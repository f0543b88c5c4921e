r"""Saturation: where an activation is so flat that hardly any gradient comes through.

A function $f$ of each number is told by its behaviour: its slope is measured along a line from -30 to 30, and it
saturates where that falls below a hundredth of the steepest at both ends (sigmoid, tanh, their hard versions, ReLU6,
one of a user's own). A number $z$ is saturated where

$$ |f'(z)| < 10^{-2} \max |f'|, $$

and a unit where that holds for most of the examples. A softmax is saturated for an example that gives one place more
than .99.
"""

from collections.abc import Callable
from math import nan
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

FLAT = 1e-2
"""The slope below which a number is saturated, as a share of the steepest."""
MOST = 0.9
"""A unit is saturated where so large a share of the examples are."""
REACH, PLACES = 30.0, 1201
BOUNDED = {"tanh", "sigmoid", "hardtanh", "hardsigmoid", "relu6", "softsign", "expit", "tanh_", "sigmoid_"}
"""Functions of torch that may saturate, by name; modules are told by their behaviour alone."""
SOFTMAX = {"softmax"}


def saturates(function: Callable[[Tensor], Any]) -> float | None:
    """The steepest slope of a function of each number that is flat at both ends; None for any other.

    >>> saturates(torch.tanh)
    1.0
    >>> saturates(torch.relu), saturates(nn.Flatten(0)), saturates(nn.Softmax(0))
    (None, None, None)
    """
    line = torch.linspace(-REACH, REACH, PLACES)
    try:
        with torch.no_grad():
            values, turned = function(line.clone()), function(line.flip(0).clone())
        if not isinstance(values, Tensor) or values.shape != line.shape or not torch.allclose(values.flip(0), turned):
            return None
        slopes = local_slopes(function, line).abs()
    except Exception:  # a user's own, which may take other shapes alone
        return None
    steepest = float(slopes.max())
    ends = max(float(slopes[:20].max()), float(slopes[-20:].max()))
    return steepest if steepest > 0 and ends < FLAT * steepest else None


def local_slopes(function: Callable[[Tensor], Any], z: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The slope of a function of each number at each of these numbers.

    >>> local_slopes(torch.square, torch.tensor([1.0, 3.0]))
    tensor([2., 6.])
    """
    with torch.enable_grad():
        at = z.detach().clone().requires_grad_()
        (slopes,) = torch.autograd.grad(function(at.clone()).sum(), at)
    return slopes


class Saturations(TorchFunctionMode):
    """Counts what is saturated behind each layer while it is entered; told of layers by `after`."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = ""
        self.inside = 0
        self.known: dict[Any, float | None] = {}
        self.shares: dict[str, list[Tensor]] = {}

    def after(self, layer: str) -> None:
        """What follows is counted for this layer."""
        self.layer = layer

    def behind(self, layer: str) -> float:
        """The share of units behind a layer that are saturated; NaN where nothing there saturates."""
        seen = self.shares.get(layer)
        if not seen:
            return nan
        shape = seen[0].shape
        mean = torch.stack([share for share in seen if share.shape == shape]).mean(0)
        return float((mean >= MOST).float().mean())

    def hooked(self, model: nn.Module, known: dict[nn.Module, float | None] | None = None) -> list[Any]:
        """Hooks at the modules without weights that saturate by their behaviour; what is known of them is kept."""
        known = {} if known is None else known
        handles = list[Any]()
        for module in model.modules():
            bare = next(module.children(), None) is None and next(module.parameters(), None) is None
            drawing = isinstance(module, nn.modules.dropout._DropoutNd | nn.Identity)
            if bare and module not in known:
                known[module] = None if drawing else saturates(module.forward)
            if (steepest := known.get(module)) is not None:
                self.known[module] = steepest
                handles.append(module.register_forward_pre_hook(self._enter))
                handles.append(module.register_forward_hook(self._leave, always_call=True))
        return handles

    def of_tanh(self, output: Tensor) -> None:
        """Count what a recurrent layer gives that has gone through a tanh inside of it."""
        flat = (1 - output.detach().float().square() < FLAT).float()
        self._add(flat.reshape(-1, flat.shape[-1]).mean(0))

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            self._count(module.forward, inputs[0], self.known[module] or 1.0)
        self.inside += 1

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.inside -= 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if self.inside or not args or not isinstance(args[0], Tensor) or name not in BOUNDED | SOFTMAX:
            return func(*args, **kwargs)
        self.inside += 1  # what it calls itself is part of it
        try:
            rest = args[1:]
            if name in SOFTMAX:
                output = func(*args, **kwargs)
                self._count_softmax(output, kwargs.get("dim", rest[0] if rest else -1))
                return output
            key = (name, repr(rest), repr(kwargs))
            if key not in self.known:
                self.known[key] = saturates(lambda t: func(t, *rest, **kwargs))
            if (steepest := self.known[key]) is not None:
                self._count(lambda t: func(t, *rest, **kwargs), args[0], steepest)
            return func(*args, **kwargs)
        finally:
            self.inside -= 1

    def _count(self, function: Callable[[Tensor], Any], z: Tensor, steepest: float) -> None:
        if not self.layer or not z.is_floating_point() or z.dim() < 2:
            return
        flat = (local_slopes(function, z.float()).abs() < FLAT * steepest).float()
        axis = 1 if z.dim() == 4 else -1
        self._add(flat.movedim(axis, 0).reshape(z.shape[axis], -1).mean(1))

    def _count_softmax(self, output: Any, dim: Any) -> None:
        if self.layer and isinstance(output, Tensor) and isinstance(dim, int) and output.shape[dim] > 1:
            self._add((output.detach().amax(dim) > 1 - FLAT).float().mean().reshape(1))

    def _add(self, share: Tensor) -> None:
        self.shares.setdefault(self.layer, []).append(share.detach())
