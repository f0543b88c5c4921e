"""train_many: [Recipe] -> [Run], the only door to many runs."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.notices import collecting
from thalweg.core.randomness import untouched
from thalweg.core.threads import fitting_threads
from thalweg.training.build import prepare
from thalweg.training.keeper import Keeper
from thalweg.training.kept_runs import found_or_missing, keep_run
from thalweg.training.outcome import Outcome
from thalweg.training.recipe import Recipe
from thalweg.training.run import Run
from thalweg.training.stacked import kind_of
from thalweg.training.together import Going, train_together
from thalweg.training.train import check_recipe, finish, run_of, train_here, went
from thalweg.training.workers import train_apart


@no_type_check
def train_many(
    recipes: Iterable[Recipe],
    *,
    out: str | Path | None = None,
    device: str | torch.device = "auto",
    stacked: bool = True,
) -> list[Run]:
    """Train recipes and give their runs in the same order, at the price of few where they can be stacked.

    Recipes of one kind, small chains of linear layers whose seeds, rates, decays, dropout or data differ, are trained
    as one program. Such a run is that of `train` but for rounding, and is not compiled; `stacked=False` trains one
    after another, to the same bits, as runs with a folder (`out`) are. A recipe that fails gives a run with status
    FAILED and its own error, while the others finish. An interrupt ends the list with the run that it met. A run does
    not depend on which others ride along. What does not stack is trained in worker processes, to the same bits, where
    that pays. Within `kept_runs.keeping` those that were kept are not trained again.

    >>> import thalweg
    >>> from torch import nn
    >>> x = torch.linspace(-1, 1, 20)[:, None]
    >>> recipe = thalweg.Recipe(
    ...     data=thalweg.Splits(train=(x, 2 * x)), model=lambda: nn.Linear(1, 1), objective=nn.MSELoss(), epochs=2
    ... )
    >>> [run.status.name for run in thalweg.train_many([recipe.but(seed=seed) for seed in range(3)])]
    ['FINISHED', 'FINISHED', 'FINISHED']
    """
    if isinstance(recipes, Recipe):
        raise RecipeError("train_many was given one recipe, but it trains several: train_many([recipe]).")
    given = list(recipes)
    with collecting():
        if out is not None:
            return _to_the_interrupt(train_here(recipe, device, out=out) for recipe in given)
        runs, missing = found_or_missing(given, device)
        rest = [given[place] for place in missing]
        if stacked:
            trained = _stacked_where_they_can_be(rest, device)
        else:
            trained = _to_the_interrupt(keep_run(recipe, train_here(recipe, device)) for recipe in rest)
        runs |= dict(zip(missing, trained, strict=False))
        return _to_the_interrupt(runs[place] for place in range(len(given)) if place in runs)


def _to_the_interrupt(runs: Iterable[Run]) -> list[Run]:
    """The runs up to the first that was interrupted, with which the list ends."""
    given: list[Run] = []
    for run in runs:
        given.append(run)
        if run.status is Outcome.INTERRUPTED:
            break
    return given


def _stacked_where_they_can_be(recipes: list[Recipe], device: str | torch.device) -> list[Run]:
    """Prepare one after another; what is of no kind is trained apart, the others by kinds when all are known."""
    runs: dict[int, Run] = {}
    apart: dict[int, int] = {}
    last: Going | None = None
    kinds: dict[Any, list[tuple[int, Going]]] = {}
    for place, recipe in enumerate(recipes):
        try:
            going = _prepared(recipe, device)
            kind = kind_of(going.training)
        except KeyboardInterrupt as interrupt:
            return _broken_off(runs, recipes, interrupt)
        except Exception as error:
            runs[place] = Run(recipe, [], Outcome.FAILED, error=error)
            continue
        if kind is not None:
            kinds.setdefault(kind, []).append((place, going))
            continue
        apart[place], last = going.training.work, going
    for place, run in zip(apart, _apart([recipes[place] for place in apart], apart, last, device), strict=False):
        runs[place] = keep_run(recipes[place], run)
        if run.status is Outcome.INTERRUPTED:
            return _broken_off(runs, recipes, run.error)
    for members in kinds.values():
        for place, run in zip((place for place, _ in members), _as_a_stack(members, device), strict=False):
            runs[place] = keep_run(recipes[place], run)
            if run.status is Outcome.INTERRUPTED:
                return _broken_off(runs, recipes, run.error)
    return [runs[place] for place in range(len(recipes))]


def _apart(
    recipes: list[Recipe], works: dict[int, int], last: Going | None, device: str | torch.device
) -> Iterable[Run]:
    """The runs of what is of no kind; a single one is prepared already."""
    return [_alone(last)] if last is not None and len(recipes) == 1 else train_apart(recipes, [*works.values()], device)


def _broken_off(runs: dict[int, Run], recipes: list[Recipe], interrupt: BaseException | None) -> list[Run]:
    """The runs up to the first that has not ended, which an interrupt has met."""
    unmet = (Run(recipe, [], Outcome.INTERRUPTED, error=interrupt) for recipe in recipes)
    return _to_the_interrupt(runs.get(place, run) for place, run in enumerate(unmet))


def _prepared(recipe: Recipe, device: str | torch.device) -> Going:
    """A run that is ready to begin, and what was said of it."""
    check_recipe(recipe)
    with untouched(), collecting((recipe.origin or {}).get("notices", ())) as notices:
        training = prepare(recipe, resolve_device(device))
        return Going(training, Keeper(training, None), notices)


def _alone(going: Going) -> Run:
    """The run, trained by itself."""
    with untouched(), going.heard(), fitting_threads(going.training.work):
        finish(going.training)
        going.status, going.stopped = went(going.training, going.keeper)
        return _run(going)


def _run(going: Going) -> Run:
    assert going.status is not None
    run = run_of(going.training, going.keeper, going.status, going.stopped)
    return replace(run, notices=tuple(going.notices))


def _as_a_stack(members: list[tuple[int, Going]], device: str | torch.device) -> list[Run]:
    """The runs of one kind; where there is but one, or the stack fails, one after another."""
    goings = [going for _, going in members]
    if len(goings) == 1:
        return [_alone(goings[0])]
    with untouched():
        try:
            train_together(goings)
        except Exception as error:  # what a user's loss cannot do for several at once, it may do for one
            logging.getLogger("thalweg").info("Not stacked: %s", error)
        else:
            return [_run(going) for going in goings]
    return _to_the_interrupt(train_here(going.training.recipe, device) for going in goings)
