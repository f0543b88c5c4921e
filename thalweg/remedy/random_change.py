"""A random change: what the same budget buys without any diagnosis, as the control of a proof.

Tools that repair networks by rules were found to do no better than a random search of the same budget (Kim et al. 2023,
"Repairing DNN architecture: are we there yet?"). So beside a remedy stands a change that is drawn without a look at
the finding, trained on the same seeds at the same cost.

    learning rate x 10^U(-1, 1) | batch size x 2 or 1/2 | width x 2 or 1/2 | weight decay 10^U(-5, -1) | another seed
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from thalweg.core.nest import Nest
from thalweg.core.randomness import stream_seed, untouched
from thalweg.core.signature import parameters_of
from thalweg.diagnosis import Cause
from thalweg.diagnosis.arms import at_rate
from thalweg.diagnosis.growth import runs, wider
from thalweg.diagnosis.regrouped import Decayed
from thalweg.diagnosis.work import count_parameters, work
from thalweg.remedy.remedy import Remedy
from thalweg.training import Recipe
from thalweg.training.factories import build_optimizer

AWAY = 10_000
"""Another seed lies so far from the recipe's."""
Change = tuple[str, Callable[[Recipe], Recipe | None]]


def random_change(recipe: Recipe, batch: Nest, cost: float, name: str) -> Remedy:
    """A change that is drawn by the recipe's seed and a name, and costs as much as what it is compared to.

    `cost` is in trainings of the recipe: the epochs of the changed recipe are as many as that buys, at least one. What
    the recipe cannot take (a width that its model does not have) is drawn again; another seed it can always take.

    >>> import thalweg
    >>> from thalweg.diagnosis.laboratory import first_batch, open_indexed
    >>> recipe = thalweg.cases.get("healthy")
    >>> batch = first_batch(open_indexed(recipe, recipe.data.train, "train"))
    >>> drawn = random_change(recipe, batch, 2.0, "a remedy")
    >>> drawn.name == random_change(recipe, batch, 2.0, "a remedy").name
    True
    """
    for title, change in _drawn(np.random.default_rng(stream_seed(recipe.seed, "a random change", name)), batch):
        changed = change(recipe)
        if changed is not None and changed is not recipe and runs(changed, batch):
            return Remedy(title, Cause.UNDECIDED, _at_cost(change, cost))
    raise AssertionError("another seed is a change that every recipe takes")


def _at_cost(change: Callable[[Recipe], Recipe | None], cost: float) -> Callable[[Recipe], Recipe]:
    """A change, and as many epochs as come nearest to so many trainings of the recipe, at least one."""

    def changed(recipe: Recipe) -> Recipe:
        other = change(recipe) or recipe
        epochs = max(1, round(cost * work(recipe) / (work(other) / max(other.epochs, 1))))
        return other if epochs == other.epochs else other.but(epochs=epochs)

    return changed


def _drawn(random: np.random.Generator, batch: Nest) -> Iterator[Change]:
    """The kinds of changes in a random order, each with a random size; last of all another seed."""
    rate, decay = 10 ** random.uniform(-1, 1), float(f"{10 ** random.uniform(-5, -1):.2g}")
    rate, size, width = float(f"{rate:.3g}"), random.choice([0.5, 2.0]), random.choice([0.5, 2.0])
    changes: list[Change] = [
        (f"learning rate x {rate:g}", lambda recipe: at_rate(recipe, rate)),
        (f"batch size x {size:g}", lambda recipe: _batches(recipe, size)),
        (f"width x {width:g}", lambda recipe: _wide(recipe, batch, width)),
        (f"weight decay of {decay:g}", lambda recipe: _decayed(recipe, decay)),
        ("another seed", lambda recipe: recipe.but(seed=recipe.seed + AWAY)),
    ]
    order = random.permutation(len(changes))
    yield from (changes[i] for i in order)
    yield changes[-1]


def _batches(recipe: Recipe, factor: float) -> Recipe | None:
    """The recipe with other batches; None where their size is not its own to say, or cannot be halved."""
    from torch.utils.data import DataLoader

    if recipe.batch_size is None or isinstance(recipe.data.train, DataLoader) or int(recipe.batch_size * factor) < 1:
        return None
    return recipe.but(batch_size=int(recipe.batch_size * factor))


def _wide(recipe: Recipe, batch: Nest, factor: float) -> Recipe | None:
    """The recipe with a model of another width; None where that is not to be had."""
    if factor > 1:
        return wider(recipe, batch, int(factor))
    width = parameters_of(recipe.model).get("width")
    if width is None or not isinstance(width.default, int):
        return None
    changed = recipe.but(model=_with_width(recipe.model, max(1, int(width.default * factor))))
    return changed if runs(changed, batch) and count_parameters(changed) < count_parameters(recipe) else None


def _with_width(factory: Callable[..., nn.Module], width: int) -> Callable[[], nn.Module]:
    named: dict[str, Any] = {"width": width}
    return partial(factory, **named)


def _decayed(recipe: Recipe, decay: float) -> Recipe | None:
    """The recipe with that weight decay; None where its optimizer knows none."""
    with untouched():
        built = build_optimizer(recipe.optimizer, recipe.model(), recipe.loop)
    if not all("weight_decay" in group for group in getattr(built, "param_groups", [{}])):
        return None
    return recipe.but(optimizer=Decayed(recipe.optimizer, decay))
