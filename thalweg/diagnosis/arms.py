"""Arms: recipes that differ from the diagnosed one in one thing, acting on what its factories build.

Factories are opaque (`lambda p: Adam(p, lr=3e-4)`), so a learning rate is changed in the optimizer that was built, and
a network is widened module by module where its factory has no `width`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from thalweg.core.description import describe_piece
from thalweg.core.nest import Nest
from thalweg.core.objective import Moment
from thalweg.core.signature import parameters_of
from thalweg.core.step import Step
from thalweg.training import Recipe


@dataclass(frozen=True, repr=False)
class ScaledRate:
    """An optimizer factory whose learning rates are multiplied in every group.

    >>> factory = ScaledRate(partial(torch.optim.SGD, lr=0.1), 10.0)
    >>> factory(nn.Linear(2, 1).parameters()).param_groups[0]["lr"], factory
    (1.0, SGD(lr=0.1) with its learning rate x 10)
    """

    factory: Callable[..., Any]
    factor: float

    @property
    def takes_model(self) -> bool:
        """Whether the factory is given the model instead of its parameters."""
        return bool(getattr(self.factory, "takes_model", False))

    def __call__(self, target: Any) -> Any:
        optimizer = self.factory(target)
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * self.factor
        return optimizer

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)} with its learning rate x {self.factor:g}"


def at_rate(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with every learning rate times `factor`."""
    inner = recipe.optimizer
    if isinstance(inner, ScaledRate):
        return recipe.but(optimizer=ScaledRate(inner.factory, inner.factor * factor))
    return recipe.but(optimizer=ScaledRate(inner, factor))


@dataclass(frozen=True, repr=False)
class Widened:
    """A model factory whose hidden layers are `factor` times as wide: linear, convolution, norm and embedding layers.

    `first` and `last` name the layers that meet the data, whose outer sides stay as they are.
    """

    factory: Callable[[], nn.Module]
    factor: int
    first: str
    last: str

    def __call__(self) -> nn.Module:
        model = self.factory()
        for name, module in list(model.named_modules()):
            wider = _wider(module, self.factor, inner=name != self.first, outer=name != self.last)
            if wider is not None:
                if name == "":
                    return wider
                model.set_submodule(name, wider)
        return model

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)}, {self.factor} x as wide"


def grown(recipe: Recipe, factor: int, batch: Nest) -> Recipe | None:
    """The recipe with a model `factor` times as wide, None where it cannot be widened.

    By the factory's own `width`, else layer by layer; the wider model is tried on a batch before it is believed.
    """
    widened = _by_knob(recipe.model, factor) or _by_layers(recipe, factor, batch)
    if widened is None:
        return None
    bigger = recipe.but(model=widened)
    return bigger if _runs(bigger, batch) else None


def _by_knob(factory: Callable[..., nn.Module], factor: int) -> Callable[[], nn.Module] | None:
    parameter = parameters_of(factory).get("width")
    if parameter is None or not isinstance(parameter.default, int):
        return None
    return partial(factory, width=parameter.default * factor)


def _by_layers(recipe: Recipe, factor: int, batch: Nest) -> Callable[[], nn.Module] | None:
    """A `Widened` factory: the layers that a forward pass calls first and last are found by running it."""
    model = recipe.model()
    called: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, SIZED) and not isinstance(module, NORMS):
            module.register_forward_hook(partial(_note, called, name))
    if not _forward(Step(model, recipe.objective), batch) or len(called) < 2:
        return None
    return Widened(recipe.model, factor, called[0], called[-1])


def _note(called: list[str], name: str, module: nn.Module, inputs: Any, output: Any) -> None:
    called.append(name)


def _runs(recipe: Recipe, batch: Nest) -> bool:
    try:
        model = recipe.model()
    except (RuntimeError, ValueError, TypeError, AttributeError):
        return False
    return _forward(Step(model, recipe.objective), batch)


def _forward(step: Step, batch: Nest) -> bool:
    step.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            step(batch, Moment())
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):
        return False
    return True


NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
SIZED = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding, *NORMS)


def _wider(module: nn.Module, factor: int, inner: bool, outer: bool) -> nn.Module | None:
    """A new layer of the same settings, wider on its inner (input) and outer (output) sides; None for other modules."""
    if type(module) is nn.Linear:
        features = module.in_features * _times(factor, inner), module.out_features * _times(factor, outer)
        return nn.Linear(*features, bias=module.bias is not None)
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and module.groups == 1:
        settings = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        channels = module.in_channels * _times(factor, inner), module.out_channels * _times(factor, outer)
        options = {name: getattr(module, name) for name in settings}
        return type(module)(*channels, bias=module.bias is not None, **options)
    if isinstance(module, nn.Embedding):
        return nn.Embedding(module.num_embeddings, module.embedding_dim * factor, module.padding_idx)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        return type(module)(module.num_features * factor, module.eps, module.momentum, module.affine)
    if type(module) is nn.LayerNorm and len(module.normalized_shape) == 1:
        return nn.LayerNorm(module.normalized_shape[0] * factor, module.eps, module.elementwise_affine)
    return None


def _times(factor: int, grows: bool) -> int:
    return factor if grows else 1
