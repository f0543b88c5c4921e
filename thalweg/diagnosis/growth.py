"""Growth: bigger siblings of a network, by the arguments of its factory, else layer by layer.

A factory with `width` or `depth` grows by them. Else the layers are found by running the network once: each but the
outer sides of the first and the last becomes wider, and a hidden layer is put before the last. A sibling is believed
when it runs on a batch and has more parameters than the network itself. What restrains a network (dropout, weight
decay, a penalty) makes it smaller than its parameters say: without restraint is a bigger sibling too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from typing import Any, cast

from torch import nn

from thalweg.core.description import describe_piece
from thalweg.core.nest import Nest
from thalweg.core.randomness import untouched
from thalweg.core.signature import parameters_of
from thalweg.core.step import Step
from thalweg.diagnosis.tracing import forward, traced
from thalweg.diagnosis.widening import begun_anew, narrowed, widened
from thalweg.training import Recipe
from thalweg.training.factories import build_optimizer

LEAST_UNITS = 64
"""A hidden layer that is put into a network has as many units as what it reads, and at least so many."""

Factory = Callable[[], nn.Module]
Affordable = Callable[[Recipe], bool]


def bigger_siblings(
    recipe: Recipe, batch: Nest, affordable: Affordable = lambda recipe: True
) -> Iterator[tuple[str, Recipe]]:
    """Names and recipes of bigger siblings, from the first to try to the last.

    One that is not affordable is given without being built: a sibling of a huge network may not even fit the memory.

    >>> from thalweg.core.source import Splits
    >>> x, y = torch.ones(5, 3), torch.ones(5, 2)
    >>> recipe = Recipe(data=Splits(train=(x, y)), model=partial(nn.Linear, 3, 2), objective=nn.MSELoss())
    >>> [name for name, _ in bigger_siblings(recipe, (x, y))]  # a linear model has no hidden layer to widen
    ['one hidden layer more']
    """
    for name, grow in (
        ("4 x as wide", partial(wider, factor=4)),
        ("one hidden layer more", deeper),
        ("16 x as wide", partial(wider, factor=16)),
    ):
        bigger = grow(recipe, batch, affordable=affordable)
        if bigger is not None:
            yield name, bigger


def reinitialized(recipe: Recipe, batch: Nest) -> Recipe | None:
    """The recipe with new layers of the same sizes, initialized as torch does; None where its factory has knobs.

    A sibling grown layer by layer gets such layers too: without this arm a bad initialization would look like bias.
    """
    if any(_by_knob(recipe.model, knob, lambda size: size) for knob in ("width", "depth")):
        return None
    factory = begun_anew(recipe, batch)
    return None if factory is None else recipe.but(model=factory)


def unrestrained(recipe: Recipe) -> tuple[str, Recipe] | None:
    """The recipe without dropout, weight decay and penalty, and its name; None where it has none of them.

    >>> from thalweg.core.source import Splits
    >>> net = lambda: nn.Sequential(nn.Dropout(0.9), nn.Linear(3, 2))
    >>> recipe = Recipe(data=Splits(train=(torch.ones(5, 3), torch.ones(5, 2))), model=net, objective=nn.MSELoss())
    >>> name, free = unrestrained(recipe)
    >>> name, free.model()[0]
    ('without dropout', Dropout(p=0.0, inplace=False))
    """
    with untouched():
        model = recipe.model()
        optimizer = build_optimizer(recipe.optimizer, model, recipe.loop)
    taken, free = [], recipe
    if any(rate > 0 for module in model.modules() for _, rate in _dropouts(module)):
        taken.append("dropout")
        free = free.but(model=_undropped(recipe.model))
    if any(group.get("weight_decay") for group in optimizer.param_groups):
        taken.append("weight decay")
        free = free.but(optimizer=Undecayed(recipe.optimizer))
    if recipe.penalty is not None:
        taken.append("penalty")
        free = free.but(penalty=None)
    return (f"without {' and '.join(taken)}", free) if taken else None


def _undropped(factory: Factory) -> Factory:
    """The factory with its dropout argument at 0, where that is all the dropout there is; else every rate set to 0."""
    knob = _by_knob(factory, "dropout", lambda _: 0.0)
    if knob is None:
        return Undropped(factory)
    with untouched():
        left = any(rate > 0 for module in knob().modules() for _, rate in _dropouts(module))
    return Undropped(factory) if left else knob


def _dropouts(module: nn.Module) -> Iterator[tuple[str, float]]:
    """The attributes of a module that are rates of dropout: `p` of a dropout layer, `dropout` of attention and RNNs."""
    name = "p" if isinstance(module, nn.modules.dropout._DropoutNd) else "dropout"
    rate = getattr(module, name, None)
    if isinstance(rate, float):
        yield name, rate


@dataclass(frozen=True, repr=False)
class Undropped:
    """A model factory whose models drop nothing."""

    factory: Factory

    def __call__(self) -> nn.Module:
        model = self.factory()
        for module in model.modules():
            for name, _ in _dropouts(module):
                setattr(module, name, 0.0)
        return model

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)} without dropout"


@dataclass(frozen=True, repr=False)
class Undecayed:
    """An optimizer factory without weight decay in any group."""

    factory: Callable[..., Any]

    @property
    def takes_model(self) -> bool:
        """Whether the factory is given the model instead of its parameters."""
        return bool(getattr(self.factory, "takes_model", False))

    def __call__(self, target: Any) -> Any:
        optimizer = self.factory(target)
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.0
        return optimizer

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)} without weight decay"


def wider(recipe: Recipe, batch: Nest, factor: int, affordable: Affordable = lambda recipe: True) -> Recipe | None:
    """The recipe with a model `factor` times as wide, None where it cannot be widened."""
    knob = _by_knob(recipe.model, "width", lambda width: width * factor)
    return _believed(recipe, knob, batch, affordable) or _believed(
        recipe, widened(recipe, batch, factor), batch, affordable
    )


def deeper(recipe: Recipe, batch: Nest, affordable: Affordable = lambda recipe: True) -> Recipe | None:
    """The recipe with one hidden layer more in its model, None where none can be put in."""
    knob = _by_knob(recipe.model, "depth", lambda depth: depth + 1)
    return _believed(recipe, knob, batch, affordable) or _believed(
        recipe, _by_insertion(recipe, batch), batch, affordable
    )


def _believed(recipe: Recipe, factory: Factory | None, batch: Nest, affordable: Affordable) -> Recipe | None:
    """The recipe with that model, where it runs on a batch and is bigger; one that is too dear is not tried."""
    if factory is None:
        return None
    bigger = recipe.but(model=factory)
    if not affordable(bigger):
        return bigger
    sizes = [_size_if_it_runs(one, batch) for one in (recipe, bigger)]
    return bigger if None not in sizes and cast(int, sizes[1]) > cast(int, sizes[0]) else None


def runs(recipe: Recipe, batch: Nest) -> bool:
    """Whether the model of a recipe can be built and takes a batch."""
    return _size_if_it_runs(recipe, batch) is not None


def _size_if_it_runs(recipe: Recipe, batch: Nest) -> int | None:
    with untouched():
        try:
            model = recipe.model()
        except Exception:  # a user's own code: sizes that do not fit are told by assertions and missing keys too
            return None
        step = Step(model, recipe.objective)
        fits = all(forward(step, batch, training=training) is not None for training in (False, True))
    return sum(parameter.numel() for parameter in model.parameters()) if fits else None


def _by_knob(factory: Callable[..., nn.Module], knob: str, grow: Callable[[Any], Any]) -> Factory | None:
    """A factory whose argument grows; one around another (what prepares inputs) keeps what it does to it."""
    if is_dataclass(factory) and callable(inner := getattr(factory, "factory", None)):
        grown = _by_knob(inner, knob, grow)
        return None if grown is None else cast(Factory, replace(cast(Any, factory), factory=grown))
    parameter = parameters_of(factory).get(knob)
    if parameter is None or not isinstance(parameter.default, int | float):
        return None
    return partial(factory, **{knob: grow(parameter.default)})


@dataclass(frozen=True, repr=False)
class Deepened:
    """A model factory with one hidden layer more before the layer `last`, a linear one, and a ReLU between them."""

    factory: Callable[[], nn.Module]
    last: str

    def __call__(self) -> nn.Module:
        model = self.factory()
        head = cast(nn.Linear, model.get_submodule(self.last))
        units = max(LEAST_UNITS, head.in_features)
        deeper = nn.Sequential(
            nn.Linear(head.in_features, units), nn.ReLU(), nn.Linear(units, head.out_features, head.bias is not None)
        )
        if self.last == "":
            return deeper
        model.set_submodule(self.last, deeper)
        return model

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)}, one hidden layer more"


def _by_insertion(recipe: Recipe, batch: Nest) -> Factory | None:
    with untouched():
        model = recipe.model()
        trace = traced(recipe, model, batch)
        heads = [layer.name for layer in trace.mixing if layer.last] if trace is not None else []
        linear = [name for name in heads if type(model.get_submodule(name)) is nn.Linear]
    return Deepened(recipe.model, linear[-1]) if linear else None
