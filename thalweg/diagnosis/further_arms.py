"""Further arms of the same size, each asked for only where something speaks for it.

They come after rates, optimizer and length, and only while the budget would still hold the bigger siblings and the
confirmation of the best (`RESERVE`): an arm that few networks need must not take from those that tell bias from
optimization. What speaks for each:

- a warm-up, at the rate and at a larger one: a higher rate did harm, or the loss is not finite, in a deep network
  (Goyal et al. 2017, Accurate, Large Minibatch SGD; Xiong et al. 2020, On Layer Normalization in the Transformer);
- SGD with momentum: an optimizer with a rate for each weight, and Adam at its usual rate did not help;
- weights for depth and activation, and batch norm: a deep network without norms;
- a recurrence that begins with a long memory: recurrent layers, of which a bigger one begins with more;
- a clipped gradient: one that is many times the median of those before it, at the ends of epochs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import nn

from thalweg.core.description import describe_piece
from thalweg.core.nest import Nest
from thalweg.core.randomness import untouched
from thalweg.diagnosis.beginnings import batch_normed, initialized, is_deep
from thalweg.diagnosis.finding import Arm
from thalweg.diagnosis.laboratory import CONTROL, Laboratory
from thalweg.diagnosis.remembering import remembering
from thalweg.training import Recipe
from thalweg.training.factories import build_optimizer
from thalweg.training.rate import Multiplied, as_rate

RESERVE = 8
"""So many trainings are left to what follows: three bigger siblings, and the best beside the recipe on fresh seeds."""
WARMED, WARMED_HIGHER = "a warm-up over the first tenth", "a warm-up, and learning rate x 3.16"
MOMENTUM, CLIPPED = "SGD with momentum", "its gradient clipped at the median"
BEGUN, NORMED = "weights drawn for depth and activation", "batch norm behind its hidden layers"
REMEMBERING = "a recurrence that begins with a long memory"
WARM = 0.1
SPIKES, FEWEST_NORMS = 10.0, 3
"""Clipping is worth an arm where a gradient is so many times the median of those before it, at least so many."""
ADAPTIVE = (torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Adadelta, torch.optim.Adamax)


@dataclass(frozen=True, repr=False)
class WarmedUp:
    """A schedule whose rate grows linearly over the first tenth of the steps, and then is the own one's.

    >>> warm = WarmedUp()
    >>> warm(0, 100), warm(4, 100), warm(50, 100)
    (0.1, 0.5, 1.0)
    """

    own: Any = None

    def __call__(self, step: int, steps: int | None) -> float:
        multiplier = 1.0 if self.own is None else float(self.own(step, steps))
        return multiplier * min(1.0, (step + 1) / max(1.0, WARM * (steps or 1)))

    def __repr__(self) -> str:
        return "warm-up" if self.own is None else f"warm-up and {describe_piece(self.own)}"


@dataclass(frozen=True)
class Tried:
    """What the arms before showed: the best rate by its name, the recipe, one of a larger rate, and whether such harm,
    whether Adam helps.
    """

    name: str
    tuned: Recipe
    higher: Recipe
    too_high: bool
    adam_helped: bool


def further_arms(lab: Laboratory, control: Arm, batch: Nest, tried: Tried) -> Iterator[tuple[str, Recipe]]:
    """The arms that something speaks for, while the budget holds what follows them."""
    for name, recipe in _spoken_for(lab, control, batch, tried):
        if lab.spares(recipe, RESERVE):
            yield name, recipe


def _spoken_for(lab: Laboratory, control: Arm, batch: Nest, tried: Tried) -> Iterator[tuple[str, Recipe]]:
    tuned, deep = tried.tuned, is_deep(lab.recipe)

    def at_the_rate(name: str) -> str:
        return behind(name, tried.name)

    if (deep and tried.too_high) or not isfinite(control.score.value):
        for name, recipe in ((at_the_rate(WARMED), tuned), (at_the_rate(WARMED_HIGHER), tried.higher)):
            if (warmed := warmed_up(recipe)) is not None:
                yield name, warmed
    if deep and (begun := initialized(tuned, batch)) is not None:
        yield at_the_rate(BEGUN), begun
    if deep and (normed := batch_normed(tuned, batch)) is not None:
        yield at_the_rate(NORMED), normed
    if (begun := remembering(tuned, batch)) is not None:
        yield at_the_rate(REMEMBERING), begun
    if not tried.adam_helped and _adaptive(lab.recipe):
        yield MOMENTUM, lab.recipe.but(optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9))
    if (median := _median_with_spikes(lab)) is not None:
        yield at_the_rate(CLIPPED), tuned.but(clip_norm=median)


def could_be(recipe: Recipe, batch: Nest) -> Iterator[str]:
    """The names of the arms that could be made of a recipe, whatever speaks for them."""
    if warmed_up(recipe) is not None:
        yield from (WARMED, WARMED_HIGHER)
    if is_deep(recipe):
        yield from (name for name, make in ((BEGUN, initialized), (NORMED, batch_normed)) if make(recipe, batch))
    if remembering(recipe, batch) is not None:
        yield REMEMBERING
    if _adaptive(recipe):
        yield MOMENTUM
    if recipe.clip_norm is None:
        yield CLIPPED


def behind(change: str, rate: str) -> str:
    """The name of a change at a rate that was found, which may be the recipe's own.

    >>> behind("Adam", "learning rate x 10"), behind("Adam", "")
    ('Adam, learning rate x 10', 'Adam')
    """
    return ", ".join(filter(None, (change, rate)))


def warmed_up(recipe: Recipe) -> Recipe | None:
    """The recipe with a warm-up; None where a torch scheduler sets its rates."""
    schedule = recipe.schedule
    if schedule is not None and not (callable(schedule) and _is_plain(schedule)):
        return None
    return recipe.but(schedule=WarmedUp(schedule))


def _is_plain(schedule: Any) -> bool:
    """Whether a schedule is a function of the step, as the loop sees it, and no factory of a scheduler."""
    with untouched():
        optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
        try:
            return isinstance(as_rate(schedule, optimizer), Multiplied)
        except Exception:  # a user's own
            return False


def _adaptive(recipe: Recipe) -> bool:
    with untouched():
        return isinstance(build_optimizer(recipe.optimizer, recipe.model(), recipe.loop), ADAPTIVE)


def _median_with_spikes(lab: Laboratory) -> float | None:
    """The median length of the gradient where one is many times as long as most before it; None where it is clipped."""
    run = lab.kept.get((CONTROL, lab.recipe.seed))
    if run is None or lab.recipe.clip_norm is not None:
        return None
    norms = np.array([row["gradient_norm"] for row in run.history if row.get("gradient_norm") is not None])
    norms = norms[np.isfinite(norms)]
    spikes = (norms[end] > SPIKES * np.median(norms[:end]) for end in range(FEWEST_NORMS, len(norms)))
    median = float(np.median(norms)) if len(norms) else 0.0
    return median if median > 0 and any(spikes) else None
