"""Remedies for a train loss that is too high: steps that go further, a surface that is easier, a model that can more.

Each is a change of a recipe that gives the recipe itself back where it is there already, or cannot be done.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch

from thalweg.core.convert import Batching, as_source
from thalweg.core.errors import ThalwegError
from thalweg.core.randomness import untouched
from thalweg.core.source import Batched, Indexed
from thalweg.diagnosis.arms import at_rate, usual_adam
from thalweg.diagnosis.escaping import EscapingSaddles
from thalweg.diagnosis.growth import deeper, wider
from thalweg.diagnosis.laboratory import first_batch, open_indexed
from thalweg.diagnosis.repairs import Standardized, moments_of
from thalweg.diagnosis.work import count_parameters
from thalweg.optim import SCHEDULES, InverseSquareRoot, WarmUp, schedule_by_name
from thalweg.training import Recipe, find_learning_rate
from thalweg.training.factories import build_optimizer

NEARLY = 2.0
"""A learning rate that differs by less than this factor is the same one."""
CLIP = 1.0
RISE = 0.1
"""A warm-up takes this share of the steps."""
FEWEST = 4
"""No batch is made smaller than this."""
MOST_PARAMETERS = 50_000_000
"""A larger model is built to see that it runs; one of more parameters may not fit into memory."""
APART = 0.5
"""Columns are standardized already whose means lie this near to 0, and whose deviations to 1."""
FOUND: WeakKeyDictionary[Recipe, dict[Any, float]] = WeakKeyDictionary()
"""The rates that range tests have found of a recipe, as it is (None) or changed: each is asked for several times."""


def built(recipe: Recipe) -> Any:
    """The optimizer of a recipe over a model of its own; the random streams are left as they are."""
    with untouched():
        return build_optimizer(recipe.optimizer, recipe.model(), recipe.loop)


def ranged(recipe: Recipe) -> Recipe:
    """The recipe at the learning rate at which the loss falls fastest in a range test (Smith 2017).

    >>> import thalweg
    >>> slow = thalweg.cases.get("rate-too-low")
    >>> 10 < ranged(slow).optimizer.factor < 10_000, ranged(slow.but(loop=lambda *given: None)).loop is not None
    (True, True)
    """
    return recipe if recipe.loop is not None else _at_found_rate(recipe, FOUND.setdefault(recipe, {}), None)


def _at_found_rate(recipe: Recipe, found: dict[Any, float], change: Any) -> Recipe:
    now = float(built(recipe).param_groups[0]["lr"])
    if change not in found:
        try:
            found[change] = find_learning_rate(recipe).suggestion
        except (ThalwegError, RuntimeError, ValueError):
            found[change] = now
    factor = found[change] / now if now > 0 else 1.0
    return recipe if 1 / NEARLY < factor < NEARLY else at_rate(recipe, float(f"{factor:.3g}"))


def tuned(recipe: Recipe, change: Callable[[Recipe], Recipe]) -> Recipe:
    """The recipe changed, at the learning rate of a range test of what it is then: another surface bears another rate.

    >>> import thalweg
    >>> slow = thalweg.cases.get("rate-too-low")
    >>> tuned(slow, unscheduled) is slow, tuned(slow, cooled).optimizer.factor > 10
    (True, True)
    """
    changed = change(recipe)
    if changed is recipe or changed.loop is not None:
        return changed
    return _at_found_rate(changed, FOUND.setdefault(recipe, {}), change)


def cooled(recipe: Recipe) -> Recipe:
    """The recipe with a learning rate that falls to 0 along half a cosine, where it has no schedule."""
    return recipe if recipe.schedule is not None else recipe.but(schedule=schedule_by_name("cosine"))


def warmed(recipe: Recipe) -> Recipe:
    """The recipe whose learning rate rises over the first tenth of its steps, before its own schedule."""
    if recipe.schedule is None:
        return recipe.but(schedule=WarmUp(RISE))
    rises = isinstance(recipe.schedule, WarmUp | InverseSquareRoot)
    known = type(recipe.schedule) in SCHEDULES.values()
    return recipe.but(schedule=WarmUp(RISE, then=recipe.schedule)) if known and not rises else recipe


def unscheduled(recipe: Recipe) -> Recipe:
    """The recipe without its schedule."""
    return recipe if recipe.schedule is None else recipe.but(schedule=None)


def clipped(recipe: Recipe, length: float = CLIP) -> Recipe:
    """The recipe with its gradients clipped to a length (Pascanu et al. 2013), where they are not."""
    free = recipe.clip_norm is None and recipe.loop is None
    return recipe.but(clip_norm=length) if free else recipe


def unclipped(recipe: Recipe) -> Recipe:
    """The recipe without a clip of its gradients."""
    return recipe if recipe.clip_norm is None else recipe.but(clip_norm=None)


def by_adam(recipe: Recipe) -> Recipe:
    """The recipe with Adam at 1e-3, where it has another optimizer."""
    own = built(recipe)
    return recipe if isinstance(own, torch.optim.Adam) or len(own.param_groups) > 1 else usual_adam(recipe)


def by_rmsprop(recipe: Recipe) -> Recipe:
    """The recipe with RMSProp at 1e-3, where it has another optimizer."""
    return _by(recipe, torch.optim.RMSprop, {"lr": 1e-3})


def by_momentum(recipe: Recipe) -> Recipe:
    """The recipe with SGD with momentum, at the rate of a range test, where it has no momentum of this kind."""
    changed = _by(recipe, torch.optim.SGD, {"lr": 0.01, "momentum": 0.9})
    return recipe if changed is recipe else ranged(changed)


def _by(recipe: Recipe, kind: type[torch.optim.Optimizer], settings: dict[str, Any]) -> Recipe:
    own = built(recipe)
    groups = own.param_groups
    there = type(own) is kind and bool(groups[0].get("momentum")) == ("momentum" in settings)
    if there or len(groups) > 1 or recipe.loop is not None:
        return recipe
    decay = {"weight_decay": groups[0]["weight_decay"]} if groups[0].get("weight_decay") else {}
    return recipe.but(optimizer=partial(kind, **(settings | decay)))


def rebatched(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with batches so many times as large, where their size is the recipe's to say.

    >>> import thalweg
    >>> healthy = thalweg.cases.get("healthy")
    >>> rebatched(healthy, 0.25).batch_size, rebatched(healthy, 100.0).batch_size
    (8, 1078)
    """
    source = as_source(recipe.data.train, "train", Batching(recipe.batch_size, recipe.collate))
    brought = getattr(source, "own_size", False) or not isinstance(source, Batched)
    if recipe.batch_size is None or brought or not isinstance(source, Indexed):
        return recipe
    size = min(max(FEWEST, round(recipe.batch_size * factor)), len(source))
    changes = size < recipe.batch_size if factor < 1 else size > recipe.batch_size
    return recipe.but(batch_size=size) if changes else recipe


def escaped(recipe: Recipe) -> Recipe:
    """The recipe with an optimizer that steps down from saddles."""
    there = isinstance(recipe.optimizer, EscapingSaddles) or recipe.loop is not None
    return recipe if there else recipe.but(optimizer=EscapingSaddles(recipe))


def standardized(recipe: Recipe, inputs: bool = True, targets: bool = False) -> Recipe:
    """The recipe whose models work in standardized units of inputs or targets, outwardly in those of the data.

    Mean and deviation are those of train. What is nearly standard stays as it is.
    """
    if isinstance(recipe.model, Standardized):
        return recipe
    with untouched():
        try:
            known = moments_of(open_indexed(recipe, recipe.data.train, "train"))
        except ThalwegError:
            return recipe
    if known is None:
        return recipe
    of_inputs = known[0] if inputs and not _standard(known[0]) else None
    of_targets = known[1] if targets and known[1] is not None and not _standard(known[1]) else None
    if of_inputs is None and of_targets is None:
        return recipe
    return recipe.but(model=Standardized(recipe.model, of_inputs, of_targets))


def _standard(known: tuple[torch.Tensor, torch.Tensor]) -> bool:
    mean, deviation = known
    varying = deviation[deviation != 1]  # of a constant column it is set to 1
    near = bool((mean.abs() < APART).all())
    return near and bool(((varying - 1).abs() < APART).all())


def grown(recipe: Recipe, how: str) -> Recipe:
    """The recipe with a model 4 times as "wide", or one layer more "deep"; itself where its model cannot grow, or would
    be too large to build.
    """
    batch = first_batch(open_indexed(recipe, recipe.data.train, "train"))

    def builds(larger: Recipe) -> bool:
        return count_parameters(larger) <= MOST_PARAMETERS

    larger = wider(recipe, batch, 4, builds) if how == "wide" else deeper(recipe, batch, builds)
    return larger if larger is not None and builds(larger) else recipe


def steps_of(recipe: Recipe) -> int | None:
    """About how many steps a training takes; None for a stream."""
    source = as_source(recipe.data.train, "train", Batching(recipe.batch_size, recipe.collate))
    if not isinstance(source, Indexed):
        return None
    return max(1, math.ceil(len(source) / (recipe.batch_size or len(source))) * recipe.epochs // recipe.accumulate)
