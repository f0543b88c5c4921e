"""Growth: bigger and smaller siblings of a network, by the arguments of its factory, else by running it.

A factory with `width` or `depth` grows by them. Else the network is run once: all that is inside becomes wider (see
`widening`), and a block of a kind that it has, or a hidden layer, is added (see `deepening`). A sibling is believed
when it runs on a batch and has more parameters than the network itself, a smaller one when it has fewer. What restrains
a network (dropout, weight decay, a penalty) makes it smaller than its parameters say: without restraint is a bigger
sibling too.
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
from thalweg.diagnosis.deepening import HIDDEN, deepened, made_shallower
from thalweg.diagnosis.regrouped import Decayed
from thalweg.diagnosis.tracing import forward
from thalweg.diagnosis.widening import begun_anew, narrowed, unnarrowed, widened
from thalweg.training import Recipe
from thalweg.training.factories import build_optimizer

WIDE = "4 x as wide"
NARROWER = (4, 2)
"""Smaller siblings are so many times less wide."""
Factory = Callable[[], nn.Module]
Affordable = Callable[[Recipe], bool]


def bigger_siblings(
    recipe: Recipe,
    batch: Nest,
    affordable: Affordable = lambda recipe: True,
    width_helps: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, Recipe]]:
    """Names and recipes of bigger siblings, from the first to try to the last: depth last where `width_helps`.

    That is asked when the first ones were taken, so that what they showed can answer.

    One that is not affordable is given without being built: a sibling of a huge network may not even fit the memory.

    >>> from thalweg.core.source import Splits
    >>> import torch
    >>> x, y = torch.ones(5, 3), torch.ones(5, 2)
    >>> recipe = Recipe(data=Splits(train=(x, y)), model=partial(nn.Linear, 3, 2), objective=nn.MSELoss())
    >>> [name for name, _ in bigger_siblings(recipe, (x, y))]  # a linear model has no hidden layer to widen
    ['one hidden layer more']
    """
    if (opened := _opened(recipe, batch, affordable)) is not None:
        yield "its narrowest layer as wide as the next", opened
    wide = wider(recipe, batch, 4, affordable)
    if wide is not None and not affordable(wide) and (twice := wider(recipe, batch, 2, affordable)) is not None:
        yield "2 x as wide", twice
    if wide is not None:
        yield WIDE, wide
    width_first = width_helps()
    if not width_first:
        yield from _deeper_siblings(recipe, batch, affordable)
    if (widest := wider(recipe, batch, 16, affordable)) is not None:
        yield "16 x as wide", widest
    if width_first:
        yield from _deeper_siblings(recipe, batch, affordable)


def smaller_siblings(recipe: Recipe, batch: Nest) -> Iterator[tuple[str, Recipe]]:
    """Names and recipes of smaller siblings: a quarter as wide, half as wide, shallower.

    >>> from thalweg.core.source import Splits
    >>> import torch
    >>> x, y = torch.ones(5, 3), torch.ones(5, 2)
    >>> net = lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> recipe = Recipe(data=Splits(train=(x, y)), model=net, objective=nn.MSELoss())
    >>> [(name, smaller.model()[0].out_features) for name, smaller in smaller_siblings(recipe, (x, y))]
    [('1/4 as wide', 2), ('1/2 as wide', 4)]
    """
    for divisor in NARROWER:
        if (narrower := narrower_by(recipe, batch, divisor)) is not None:
            yield f"1/{divisor} as wide", narrower
    if (shallow := shallower(recipe, batch)) is not None:
        yield "half of its blocks", shallow


def reinitialized(recipe: Recipe, batch: Nest) -> Recipe | None:
    """The recipe with new layers of the same sizes, initialized as torch does; None for a family of this library.

    A sibling grown layer by layer gets such layers too, and a wider one forgives more: without this arm a bad
    initialization would look like bias. A family with both knobs, `width` and `depth`, begins as it should.
    """
    both = all(_by_knob(recipe.model, knob, lambda size: size) for knob in ("width", "depth"))
    if both and _innermost(recipe.model).__module__.startswith("thalweg."):
        return None
    factory = begun_anew(recipe, batch)
    return None if factory is None else recipe.but(model=factory)


def unrestrained(recipe: Recipe) -> tuple[str, Recipe] | None:
    """The recipe without dropout, weight decay and penalty, and its name; None where it has none of them.

    >>> from thalweg.core.source import Splits
    >>> net = lambda: nn.Sequential(nn.Dropout(0.9), nn.Linear(3, 2))
    >>> import torch
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
        free = free.but(optimizer=Decayed(recipe.optimizer))
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


def wider(recipe: Recipe, batch: Nest, factor: int, affordable: Affordable = lambda recipe: True) -> Recipe | None:
    """The recipe with a model `factor` times as wide, None where it cannot be widened."""
    knob = _by_knob(recipe.model, "width", lambda width: width * factor)
    return _believed(recipe, knob, batch, affordable) or _believed(
        recipe, widened(recipe, batch, factor), batch, affordable
    )


def narrower_by(recipe: Recipe, batch: Nest, divisor: int) -> Recipe | None:
    """The recipe with a model of a share of the width, None where it cannot be made narrower."""
    knob = _by_knob(recipe.model, "width", lambda width: max(1, width // divisor))
    return _smaller(recipe, knob, batch) or _smaller(recipe, narrowed(recipe, batch, divisor), batch)


def deeper(recipe: Recipe, batch: Nest, affordable: Affordable = lambda recipe: True) -> Recipe | None:
    """The recipe with one hidden layer, or one block more in its model, None where none can be put in."""
    return next((bigger for _, bigger in _deeper_siblings(recipe, batch, affordable)), None)


def _deeper_siblings(recipe: Recipe, batch: Nest, affordable: Affordable) -> Iterator[tuple[str, Recipe]]:
    """By its knob; else one block more, of a kind that it has, and one hidden layer before its head."""
    knob = _by_knob(recipe.model, "depth", lambda depth: depth + 1)
    if (bigger := _believed(recipe, knob, batch, affordable)) is not None:
        yield HIDDEN, bigger
        return
    found = False
    for name, factory in deepened(recipe, batch):
        if found and name != HIDDEN:
            continue
        if (bigger := _believed(recipe, factory, batch, affordable)) is not None:
            found = True
            yield name, bigger


def shallower(recipe: Recipe, batch: Nest) -> Recipe | None:
    """The recipe with half of the equal blocks of its model, or of its recurrent layers; None where it has but one.

    The whole model can compute all that it computes: blocks whose outputs are unlike their inputs in shape, that are
    frozen, or that drop, are left where they are.
    """
    knob = _by_knob(recipe.model, "depth", lambda depth: depth // 2 if depth > 1 else depth)
    if knob is not None and (smaller := _smaller(recipe, knob, batch)) is not None:
        return smaller
    return next(filter(None, (_smaller(recipe, made, batch) for made in made_shallower(recipe, batch))), None)


def _opened(recipe: Recipe, batch: Nest, affordable: Affordable) -> Recipe | None:
    """The recipe without its bottleneck."""
    if _by_knob(recipe.model, "width", lambda width: width) is not None:
        return None
    return _believed(recipe, unnarrowed(recipe, batch), batch, affordable)


def _smaller(recipe: Recipe, factory: Factory | None, batch: Nest) -> Recipe | None:
    """The recipe with that model, where it runs on a batch and is smaller."""
    if factory is None:
        return None
    smaller = recipe.but(model=factory)
    sizes = [_size_if_it_runs(one, batch) for one in (recipe, smaller)]
    return smaller if None not in sizes and cast(int, sizes[1]) < cast(int, sizes[0]) else None


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


def _innermost(factory: Any) -> Any:
    """The function or class that a factory comes down to, out of its partials and what prepares its inputs.

    >>> _innermost(partial(partial(nn.Linear, 3), 2)) is nn.Linear
    True
    """
    while isinstance(factory, partial) or (is_dataclass(factory) and callable(getattr(factory, "factory", None))):
        factory = factory.func if isinstance(factory, partial) else cast(Any, factory).factory
    return factory if hasattr(factory, "__module__") else type(factory)


def _by_knob(factory: Callable[..., nn.Module], knob: str, grow: Callable[[Any], Any]) -> Factory | None:
    """A factory whose argument grows; one around another (what prepares inputs) keeps what it does to it."""
    if is_dataclass(factory) and callable(inner := getattr(factory, "factory", None)):
        grown = _by_knob(inner, knob, grow)
        return None if grown is None else cast(Factory, replace(cast(Any, factory), factory=grown))
    parameter = parameters_of(factory).get(knob)
    if parameter is None or not isinstance(parameter.default, int | float):
        return None
    return partial(factory, **{knob: grow(parameter.default)})
