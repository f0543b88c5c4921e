"""Wider and narrower siblings of anyone's network, by running it.

The outer sides of the hidden layers are grown, the inner ones follow: in one trial run every layer is begun anew for
what it is really given, so that residual sums, concatenations, flattened images, recurrent states and packed sequences
need no rule of their own. A trial counts where it runs and the network gives outputs of the same shapes as before.

Tried are, one after the other: all hidden layers; with them the network's own tensors (learned positions, a class
token), buffers and numbers (`self.width`) of a grown size; and where all of that fails, one layer after the other, so
that what is tied to something unknown stays as it is and the rest grows, such as the inside of a residual block.

Two runs, as it is and twice as wide, tell the sizes for any factor: what a layer is given is a + b times the factor.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from thalweg.core.description import describe_piece
from thalweg.core.nest import Nest
from thalweg.core.randomness import untouched
from thalweg.core.step import Step
from thalweg.diagnosis.own_tensors import lazy, own_tensors, redraw, shared, tie
from thalweg.diagnosis.resizing import Sizes, kind_of, resize
from thalweg.diagnosis.tracing import Layer, Trace, forward, sized, traced
from thalweg.diagnosis.work import count_parameters
from thalweg.training import Recipe

Factory = Callable[[], nn.Module]
MOST_PARAMETERS = 50_000_000
"""A larger network is not tried twice as wide, which would take four times its memory."""
MOST_KEPT = 32
MOST_TRIED = 24
"""So many layers are grown one after the other."""
BOTTLENECK = 4
"""A layer is a bottleneck whose neighbors have at least so many times its units."""
HEAD_SIZES = ("head_dim", "dim_head", "head_size", "d_head", "d_k", "d_v")
"""Numbers of a network that are the size of one head of attention."""


@dataclass(frozen=True)
class Own:
    """Which of a network's own tensors and numbers grow with its layers."""

    parameters: bool = False
    buffers: bool = False
    numbers: bool = False
    every_axis: bool = False


OWN = (
    Own(),
    Own(parameters=True),
    Own(numbers=True),
    Own(parameters=True, numbers=True),
    Own(parameters=True, buffers=True),
    Own(parameters=True, buffers=True, numbers=True),
    Own(parameters=True, buffers=True, numbers=True, every_axis=True),
)


@dataclass(frozen=True)
class Plan:
    """The sizes of a network: of layers, of tensors and of numbers, by their names."""

    layers: tuple[tuple[str, Sizes, int | None], ...]
    tensors: tuple[tuple[str, Sizes], ...] = ()
    numbers: tuple[tuple[str, str, int], ...] = ()

    def apply(self, model: nn.Module) -> None:
        """Give a model these sizes."""
        for name, inner, outer in self.layers:
            resize(model.get_submodule(name), inner, outer)
        for name, shape in self.tensors:
            redraw(model, name, shape)
        for name, key, value in self.numbers:
            setattr(model.get_submodule(name), key, value)

    def beyond(self, own: "Plan", factor: int) -> "Plan":
        """The plan for a factor where this one is for 2 and the network itself is `own`.

        >>> one, two = Plan((("0", (3, 5), 7),)), Plan((("0", (3, 10), 14),))
        >>> two.beyond(one, 4).layers
        (('0', (3, 20), 28),)
        """

        def at(one: int, two: int) -> int:
            return one + (two - one) * (factor - 1)

        known = {name: (inner, outer) for name, inner, outer in own.layers}
        layers = [
            (
                name,
                tuple(map(at, known[name][0], inner)),
                None if outer is None else at(known[name][1] or 0, outer),
            )
            for name, inner, outer in self.layers
        ]
        before = dict(own.tensors)
        tensors = [(name, tuple(map(at, before[name], shape))) for name, shape in self.tensors]
        numbers = [(name, key, at(value // 2, value)) for name, key, value in self.numbers]
        return Plan(tuple(layers), tuple(tensors), tuple(numbers))


PLANS: dict[tuple[int, int, int, float], tuple[Any, tuple[Plan, Plan] | None]] = {}
"""What was planned, by the identities of factory, objective and data, and the factor."""


@dataclass(frozen=True, repr=False)
class Resized:
    """A model factory whose layers are begun anew with the sizes of a plan; `change` says it in words."""

    factory: Factory
    plan: Plan
    change: str

    def __call__(self) -> nn.Module:
        model = self.factory()
        several = shared(model)
        self.plan.apply(model)
        tie(model, several)
        return model

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)}, {self.change}"


def widened(recipe: Recipe, batch: Nest, factor: int) -> Factory | None:
    """A factory of models `factor` times as wide inside; None where no layer can be wider."""
    found = _planned(recipe, batch, 2.0)
    if found is None:
        return None
    own, plan = found
    return Resized(recipe.model, plan.beyond(own, factor), f"{factor} x as wide")


def narrowed(recipe: Recipe, batch: Nest, divisor: int) -> Factory | None:
    """A factory of models whose hidden layers have a share of the units, at least one; None where none can have."""
    found = _planned(recipe, batch, 1 / divisor)
    return None if found is None else Resized(recipe.model, found[1], f"1/{divisor} as wide")


def unnarrowed(recipe: Recipe, batch: Nest) -> Factory | None:
    """A factory without the bottleneck of a model: its narrowest layer is as wide as the narrower of its neighbors.

    None where no layer has a `BOTTLENECK`th of the sizes beside it.
    """
    with untouched():
        trace = traced(recipe, recipe.model(), batch)
        hidden = [layer for layer in trace.mixing if not layer.last] if trace is not None else []
        sizes = [layer.outer or 1 for layer in hidden]
        beside = [
            min(sizes[max(0, place - 1) : place] + sizes[place + 1 : place + 2], default=0)
            for place in range(len(sizes))
        ]
        narrow = [place for place, size in enumerate(sizes) if beside[place] >= BOTTLENECK * size]
        if trace is None or not narrow:
            return None
        place = min(narrow, key=sizes.__getitem__)
        plan = Trial(recipe, batch, trace, beside[place] / sizes[place]).of([hidden[place].name])
    return None if plan is None else Resized(recipe.model, plan, f"{hidden[place].name} with {beside[place]} units")


def begun_anew(recipe: Recipe, batch: Nest) -> Factory | None:
    """A factory of the same models, whose layers are initialized as torch does."""
    with untouched():
        trace = traced(recipe, recipe.model(), batch)
    if trace is None or len(trace.mixing) < 2:
        return None
    return Resized(recipe.model, _as_it_is(trace, None), "layers initialized anew")


# --- what can be of another size --------------------------------------------------------------------------------------


def _planned(recipe: Recipe, batch: Nest, factor: float) -> tuple[Plan, Plan] | None:
    """The plan of the network itself, and that of the most layers which can be of another size; each is made once."""
    given = recipe.model, recipe.objective, recipe.data.train
    model, objective, train = map(id, given)
    key = model, objective, train, factor
    if key not in PLANS:
        while len(PLANS) >= MOST_KEPT:
            PLANS.pop(next(iter(PLANS)))
        PLANS[key] = given, _made(recipe, batch, factor)  # what is held has its identity to itself
    return PLANS[key][1]


def _made(recipe: Recipe, batch: Nest, factor: float) -> tuple[Plan, Plan] | None:
    if factor > 1 and count_parameters(recipe) > MOST_PARAMETERS:
        return None
    with untouched():
        model = recipe.model()
        trace = traced(recipe, model, batch)
        if trace is None:
            return None
        free = [layer.name for layer in trace.mixing if not layer.last]
        trial = Trial(recipe, batch, trace, factor)
        own = _as_it_is(trace, model)
        plan = trial.of(layer.name for layer in trace.mixing) if _tied(model, trace) else None
        if plan is None and free:
            plan = trial.of(free) or trial.of_each(free)
    return None if plan is None else (own, plan)


def _tied(model: nn.Module, trace: Trace) -> bool:
    """Whether the last sides may be read by a weight that is used twice, so that all may grow: a tied embedding."""
    known = {layer.name: layer for layer in trace.layers}
    tables = [name for name, module in sized(model) if isinstance(module, nn.Embedding) and name in known]
    return bool(trace.output) and bool(tables)


@dataclass(frozen=True)
class Trial:
    """Trial runs of a network whose layers have `factor` times their outer sides."""

    recipe: Recipe
    batch: Nest
    trace: Trace
    factor: float

    def of(self, names: Any) -> Plan | None:
        """The plan with these layers grown, and what of the network's own must grow with them; None where it fails."""
        grown, tried = list(names), list[Plan]()
        for own in OWN:
            model, start = self._start(grown, own)
            if start in tried:
                continue
            tried.append(start)
            if (plan := self._run(model, start)) is not None:
                return plan
        return None

    def of_each(self, names: list[str]) -> Plan | None:
        """The plan with each layer grown that can be beside those before it."""
        kept, best = list[str](), None
        for name in names[:MOST_TRIED]:
            plan = self._run(*self._start([*kept, name], Own()))
            if plan is not None:
                kept, best = [*kept, name], plan
        return best

    def times(self, size: int) -> int:
        """A size times the factor, at least 1."""
        return max(1, round(size * self.factor))

    def _start(self, grown: list[str], own: Own) -> tuple[nn.Module, Plan]:
        """A model, and its plan before its inner sides have followed."""
        model = self.recipe.model()
        forward(Step(model, self.recipe.objective), self.batch, training=False) if lazy(model) else None
        layers = [
            (layer.name, layer.inner, self.times(layer.outer))
            for layer in self.trace.mixing
            if layer.name in grown and layer.outer is not None
        ]
        sizes = {layer.outer for layer in self.trace.mixing if layer.name in grown and layer.outer is not None}
        numbers = tuple(self._numbers(model, sizes)) if own.numbers else ()
        return model, Plan(tuple(layers), tuple(self._tensors(model, sizes, own)), numbers)

    def _tensors(self, model: nn.Module, sizes: set[int], own: Own) -> Iterator[tuple[str, Sizes]]:
        for name, tensor, buffer in own_tensors(model):
            if (own.buffers and tensor.is_floating_point()) if buffer else own.parameters:
                axes = [axis for axis, size in enumerate(tensor.shape) if size in sizes and size > 1]
                axes = axes if own.every_axis else axes[-1:]
                if axes:
                    yield name, tuple(self.times(n) if axis in axes else n for axis, n in enumerate(tensor.shape))

    def _numbers(self, model: nn.Module, sizes: set[int]) -> Iterator[tuple[str, str, int]]:
        """Attributes of the user's own modules that are a grown size, or the size of one head."""
        for name, module in model.named_modules():
            if type(module).__module__.startswith("torch.nn."):
                continue
            for key, value in vars(module).items():
                if type(value) is int and value > 1 and (value in sizes or key in HEAD_SIZES):
                    yield name, key, self.times(value)

    def _run(self, model: nn.Module, start: Plan) -> Plan | None:
        """The plan after a run in which the inner sides follow; None where it fails, or gives other shapes."""
        try:
            start.apply(model)
        except Exception:  # sizes that a layer does not take
            return None
        handles = [module.register_forward_pre_hook(_follow, with_kwargs=True) for _, module in sized(model)]
        done = forward(Step(model, self.recipe.objective), self.batch, training=True)
        for handle in handles:
            handle.remove()
        if done is None:
            return None
        layers = tuple(_sizes(model.get_submodule(layer.name), layer) for layer in self.trace.layers)
        plan = Plan(layers, start.tensors, start.numbers)
        try:
            ended = traced(self.recipe, Resized(self.recipe.model, plan, "")(), self.batch)
        except ValueError:  # what is tied is of two sizes
            return None
        return plan if ended is not None and ended.output == self.trace.output else None


def _sizes(module: nn.Module, before: Layer) -> tuple[str, Sizes, int | None]:
    """The sizes of a layer now; groups of filters may have come down to one channel each."""
    kind = kind_of(module)
    assert kind is not None
    outer = None if before.outer is None else kind.outer(module) or cast(Any, module).out_channels
    return before.name, kind.inner(module), outer


def _follow(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Begin a layer anew for what it is given, where that is not what it was made for."""
    kind = kind_of(module)
    if kind is None:
        return
    given = kind.given(module, (*args, *kwargs.values())[: max(1, len(kind.inner(module)))])  # not masks behind them
    if given != kind.inner(module) and len(given) == len(kind.inner(module)):
        resize(module, given, kind.outer(module))
        module.register_forward_pre_hook(_follow, with_kwargs=True)


def _as_it_is(trace: Trace, model: nn.Module | None) -> Plan:
    tensors = () if model is None else tuple((name, tuple(own.shape)) for name, own, _ in own_tensors(model))
    return Plan(tuple((layer.name, layer.inner, layer.outer) for layer in trace.layers), tensors)
