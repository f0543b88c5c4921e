"""train_many: [Recipe] -> [Run], the only door to many runs."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.notices import collecting
from thalweg.core.randomness import untouched
from thalweg.training.build import prepare
from thalweg.training.keeper import Keeper
from thalweg.training.outcome import Outcome
from thalweg.training.recipe import Recipe
from thalweg.training.run import Run
from thalweg.training.stacked import kind_of
from thalweg.training.together import Going, train_together
from thalweg.training.train import run_of, trained
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
    as one program. Such a run is that of `train` but for rounding; `stacked=False` trains one after another, to the
    same bits, as runs with a folder (`out`) are. A recipe that fails gives a run with status FAILED and its own error,
    while the others finish. An interrupt ends the list with the run that it met. A run does not depend on which others
    ride along.

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
    with collecting():
        if out is not None or not stacked:
            return _to_the_interrupt(_one_after_another(recipes, out, device))
        return _stacked_where_they_can_be(recipes, device)


def _to_the_interrupt(runs: Iterable[Run]) -> list[Run]:
    """The runs up to the first that was interrupted, with which the list ends."""
    given: list[Run] = []
    for run in runs:
        given.append(run)
        if run.status is Outcome.INTERRUPTED:
            break
    return given


def _one_after_another(recipes: Iterable[Recipe], out: str | Path | None, device: str | torch.device) -> Iterator[Run]:
    for recipe in recipes:
        try:
            yield trained(recipe, out, device)
        except KeyboardInterrupt as interrupt:
            yield Run(recipe, [], Outcome.INTERRUPTED, error=interrupt)
        except Exception as error:
            yield Run(recipe, [], Outcome.FAILED, error=error)


def _stacked_where_they_can_be(recipes: Iterable[Recipe], device: str | torch.device) -> list[Run]:
    """Prepare one after another; what is of no kind is trained apart, the others by kinds when all are known."""
    runs: dict[int, Run] = {}
    apart: dict[int, int] = {}
    kinds: dict[Any, list[tuple[int, Going]]] = {}
    given = list(recipes)
    for place, recipe in enumerate(given):
        try:
            going = _prepared(recipe, device) if isinstance(recipe, Recipe) else None
        except KeyboardInterrupt as interrupt:
            first = next(i for i in range(place + 1) if i not in runs)
            return [*(runs[i] for i in range(first)), Run(given[first], [], Outcome.INTERRUPTED, error=interrupt)]
        kind = None if going is None else kind_of(going.training)
        if going is not None and kind is not None:
            kinds.setdefault(kind, []).append((place, going))
            continue
        apart[place] = 0 if going is None else going.training.work
    alone = train_apart([given[place] for place in apart], list(apart.values()), device)
    for place, run in zip(apart, alone, strict=False):  # an interrupt ends them sooner
        runs[place] = run
        if runs[place].status is Outcome.INTERRUPTED:
            first = next((i for i in range(place) if i not in runs), place)
            interrupted = Run(given[first], [], Outcome.INTERRUPTED, error=runs[place].error)
            return [*(runs[i] for i in range(first)), runs[place] if first == place else interrupted]
    for members in kinds.values():
        for place, run in zip((place for place, _ in members), _as_a_stack(members, device), strict=True):
            runs[place] = run
    return _to_the_interrupt(runs[place] for place in range(len(given)))


def _prepared(recipe: Recipe, device: str | torch.device) -> Going | None:
    """A run that is ready to begin; None where it cannot be prepared, which training it alone will say."""
    with untouched(), collecting((recipe.origin or {}).get("notices", ())) as notices:
        try:
            training = prepare(recipe, resolve_device(device))
        except Exception:
            return None
        return Going(training, Keeper(training, None), notices)


def _as_a_stack(members: list[tuple[int, Going]], device: str | torch.device) -> list[Run]:
    """The runs of one kind; where there is but one, or the stack fails, one after another."""
    goings = [going for _, going in members]
    if len(goings) > 1:
        with untouched():
            try:
                train_together(goings)
            except Exception as error:  # what a user's loss cannot do for several at once, it may do for one
                logging.getLogger("thalweg").info("Not stacked: %s", error)
            else:
                return [
                    replace(
                        run_of(going.training, going.keeper, going.status or Outcome.FINISHED, going.stopped),
                        notices=tuple(going.notices),
                    )
                    for going in goings
                ]
    return list(_one_after_another([going.training.recipe for going in goings], None, device))
