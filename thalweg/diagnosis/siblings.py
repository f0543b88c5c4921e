"""The floor where no reference learner speaks: what the network's own siblings reach.

A marked objective, sequences, several inputs: no learner of another kind reads them. Then the lowest validation loss
among the network as it is, trained better, and bigger, stands in for the floor. It shows what more is possible; it
never shows that nothing more is, so that no finding of NONE rests on it.
"""

from collections.abc import Callable

import numpy as np

from thalweg.diagnosis.arms import better_trained
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.finding import Arm
from thalweg.diagnosis.fitting import BIGGER, SAME, bigger_arms
from thalweg.diagnosis.floor import Floor, Known
from thalweg.diagnosis.laboratory import CONTROL, Laboratory
from thalweg.diagnosis.screening import best_trained
from thalweg.diagnosis.untrained import untrained
from thalweg.training import Recipe
from thalweg.training.interval import mean_interval

RESERVE = 5
"""So many trainings are left to what is asked of the validation loss: two penalties, and the recipe on another seed."""


def siblings_floor(lab: Laboratory, grow: Callable[[Recipe], Recipe] | None) -> Floor | None:
    """The best on validation of the arms of the same size and the bigger ones; None where none has a finite loss."""
    lab.asks(SAME, BIGGER)
    seed = [lab.recipe.seed]
    control = lab.arm(CONTROL, lab.recipe, seed, lab.train)
    arms: list[Arm] = [control]
    arms += [lab.arm(name, recipe, seed, lab.train) for name, recipe in better_trained(lab, control)]
    of_its_size = len(arms)
    for name, recipe in bigger_arms(lab, best_trained(lab, control, arms), grow):
        if lab.spares(recipe, RESERVE):
            arms.append(lab.arm(name, recipe, seed, lab.train))
    best = min(arms, key=lambda arm: arm.validation)
    losses = lab.losses(lab.kept[best.name, lab.recipe.seed], lab.validation)
    if losses is None:
        return None
    known = Known(np.arange(len(losses.values)), losses.values)
    low = 0.0 if losses.values.min() >= 0 else float("-inf")
    judged, by = mean_interval(losses.values, losses.weights, losses.units), f"this network's best sibling: {best.name}"
    place = next(i for i, arm in enumerate(arms) if arm is best)
    cause = None if place == 0 else Cause.OPTIMIZATION if place < of_its_size else Cause.MODEL_BIAS
    null = untrained(lab, lab.validation, judged[0])
    return Floor(low, judged[0], by, (None, known), judged, null, siblings=True, best=cause)
