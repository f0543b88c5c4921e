"""Models that are altered once their factory has built them, and what one pass through a model shows of its layers.

A factory may be a lambda around anything: what is to be changed is found in what it builds. Layers are found by running
a batch through the network, so that they come in the order in which they are called, whatever their names are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from thalweg.core.convert import Batching, as_source
from thalweg.core.description import describe_piece
from thalweg.core.objective import apply, as_objective
from thalweg.core.randomness import untouched
from thalweg.core.signature import parameters_of
from thalweg.diagnosis.beginnings import NORMS
from thalweg.diagnosis.laboratory import first_batch
from thalweg.nn import cnn, mlp
from thalweg.training import Recipe
from thalweg.training.judging import without_smoothing

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
"""The layers with weights that multiply; those of attention and of recurrent nets are left alone."""
ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ReLU6, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus,
    nn.Hardswish, nn.Hardtanh, nn.Tanh, nn.Sigmoid, nn.Softsign,
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Altered:
    """A model factory whose models are altered: `alter` is given each and returns it, or another around it.

    >>> factory = Altered(partial(nn.Linear, 3, 2), nn.Sequential, "in a sequence")
    >>> factory, type(factory()[0]).__name__
    (Linear(3, 2), in a sequence, 'Linear')
    """

    factory: Callable[[], nn.Module]
    alter: Callable[[nn.Module], nn.Module]
    says: str

    def __call__(self) -> nn.Module:
        return self.alter(self.factory())

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)}, {self.says}"


@dataclass(frozen=True)
class Call:
    """A module without children that was called: its name in the model, and the shape that it gave out."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Trace:
    """One pass of a batch through a new model, in evaluation mode: what it was given, what was called, what came out.

    `last` is the name of the module whose output is the model's own, None where something comes behind all of them.
    """

    model: nn.Module
    x: Any
    y: Any
    calls: tuple[Call, ...]
    output: Any
    last: str | None

    @property
    def layers(self) -> list[Call]:
        """The calls of linear and convolution layers, each of which is called once."""
        names = [call.name for call in self.calls]
        return [call for call in self.calls if isinstance(call.module, LAYERS) and names.count(call.name) == 1]

    @property
    def normed(self) -> bool:
        """Whether there is a norm in the model."""
        return any(isinstance(module, NORMS) for module in self.model.modules())

    @property
    def columns(self) -> int | None:
        """How many columns the inputs have, where they are rows of floating numbers; None else."""
        rows = isinstance(self.x, Tensor) and self.x.dim() == 2 and self.x.is_floating_point()
        return int(self.x.shape[1]) if rows else None

    def behind(self, layer: Call) -> nn.Module | None:
        """The activation that is called next behind a layer, with nothing but norms and dropout between."""
        for call in self.calls[self.calls.index(layer) + 1 :]:
            if isinstance(call.module, ACTIVATIONS):
                return call.module
            if not isinstance(call.module, (*NORMS, nn.modules.dropout._DropoutNd, nn.Identity)):
                return None
        return None


def traced(recipe: Recipe) -> Trace | None:
    """One pass of the first batch of train through a new model; None where a batch is no pair, or the model fails.

    The global random streams are left where they are.

    >>> import thalweg
    >>> seen = traced(thalweg.cases.get("too-small"))
    >>> [call.name for call in seen.calls], seen.last, seen.columns
    (['0', '1', '2', '3'], '3', 64)
    """
    with untouched():
        try:
            batch = first_batch(as_source(recipe.data.train, "train", Batching(recipe.batch_size, recipe.collate)))
            x, y = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (None, None)
            if x is None:
                return None
            model = recipe.model().cpu().eval()
            calls, given = list[Call](), list[tuple[str, Any]]()
            handles = [
                module.register_forward_hook(partial(_note, calls, given, name))
                for name, module in model.named_modules()
                if not any(True for _ in module.children())
            ]
            with torch.no_grad():
                output = apply(model, x)
        except Exception:  # a user's own code
            return None
        for handle in handles:
            handle.remove()
    last = given[-1][0] if given and given[-1][1] is output else None
    return Trace(model, x, y, tuple(calls), output, last)


def _note(
    calls: list[Call], given: list[tuple[str, Any]], name: str, module: nn.Module, inputs: Any, output: Any
) -> None:
    calls.append(Call(name, module, tuple(output.shape) if isinstance(output, Tensor) else ()))
    given.append((name, output))


def judge_kept(recipe: Recipe) -> Any:
    """What judges a recipe, as a judge that stays where its loss is changed: its own, or its loss without smoothing.

    >>> import thalweg
    >>> healthy = thalweg.cases.get("healthy")
    >>> judge_kept(healthy.but(objective=nn.CrossEntropyLoss(label_smoothing=0.1))).label_smoothing
    0.0
    """
    return without_smoothing(as_objective(recipe.objective)).inner if recipe.judge is None else recipe.judge


def set_module(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """The model with another module in a place; where that place is the whole model, the module itself."""
    if name == "":
        return module
    model.set_submodule(name, module)
    return model


def by_knob(factory: Callable[..., nn.Module], knob: str, value: Any) -> Callable[[], nn.Module] | None:
    """A factory of our own networks with a knob set; None where it is another's, or has no such knob.

    What is said by a knob can be written into a file of settings.

    >>> by_knob(partial(mlp, 3, 2), "dropout", 0.5).keywords, by_knob(nn.Linear, "dropout", 0.5)
    ({'dropout': 0.5}, None)
    """
    if is_dataclass(factory) and callable(inner := getattr(factory, "factory", None)):
        turned = by_knob(inner, knob, value)
        return None if turned is None else cast(Callable[[], nn.Module], replace(cast(Any, factory), factory=turned))
    if not isinstance(factory, partial) or factory.func not in (mlp, cnn) or knob not in parameters_of(factory):
        return None
    return partial(factory, **{knob: value})


def knob_of(factory: Any, knob: str) -> Any:
    """What a knob of our own networks is set to; None where there is none."""
    while is_dataclass(factory) and callable(inner := getattr(factory, "factory", None)):
        factory = inner
    parameter = parameters_of(factory).get(knob)
    return None if parameter is None else parameter.default


def wrappers(factory: Any) -> Iterator[Any]:
    """A factory and those that it stands around, from the outermost to the user's own."""
    yield factory
    while is_dataclass(factory) and callable(inner := getattr(factory, "factory", None)):
        factory = inner
        yield factory


def has(factory: Any, says: str) -> bool:
    """Whether models were altered so already."""
    return any(isinstance(each, Altered) and each.says == says for each in wrappers(factory))
