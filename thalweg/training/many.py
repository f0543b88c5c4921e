"""train_many: [Recipe] -> [Run], the only door to many runs."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.notices import collecting
from thalweg.training.outcome import Outcome
from thalweg.training.recipe import Recipe
from thalweg.training.run import Run
from thalweg.training.train import trained


@no_type_check
def train_many(
    recipes: Iterable[Recipe], *, out: str | Path | None = None, device: str | torch.device = "auto"
) -> list[Run]:
    """Train recipes and give their runs in the same order.

    A recipe that fails gives a run with status FAILED and its own error, while the others finish. An interrupt ends the
    list with the run that it met. A run does not depend on which others ride along.

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
    runs: list[Run] = []
    with collecting():
        for run in _one_after_another(recipes, out, device):
            runs.append(run)
            if run.status is Outcome.INTERRUPTED:
                break
    return runs


def _one_after_another(recipes: Iterable[Recipe], out: str | Path | None, device: str | torch.device) -> Iterator[Run]:
    for recipe in recipes:
        try:
            yield trained(recipe, out, device)
        except KeyboardInterrupt as interrupt:
            yield Run(recipe, [], Outcome.INTERRUPTED, error=interrupt)
        except Exception as error:
            yield Run(recipe, [], Outcome.FAILED, error=error)
