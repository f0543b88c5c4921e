"""Whether fewer examples of validation teach the network more than all of train: then train is not what it should be.

A half of the validation examples, and no more than half as many as train has, trains the same network for as many
steps; the other half judges. Of one kind, fewer examples leave a higher loss. Where they leave a lower one, it is not
that the model remembers too much, or that it has too few examples: what train says is wrong, or is of another kind.
"""

import numpy as np

from thalweg.core.beginning import has_seen_train
from thalweg.core.source import Described, Splits
from thalweg.diagnosis.finding import Experiment
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.generalizing import LEVEL, as_many_steps, ask
from thalweg.diagnosis.halving import halves
from thalweg.diagnosis.laboratory import Laboratory

TEACHES = "Does a half of the validation examples teach the network more than all of train?"
FEWEST = 40


def ask_other_way(lab: Laboratory, floor: Floor) -> Experiment | None:
    """The loss on one half of validation, after training on the other, against that after training on train.

    None where there are too few examples, or where they belong to groups, of which both halves would hold the same; and
    where the model begins with weights that train has taught already.
    """
    if has_seen_train(lab.recipe.model):
        return None
    half, judges = halves(lab.validation, "validation")
    count = min(len(half), len(lab.train) // 2)
    known = lab.validation.meta(np.arange(1)) if isinstance(lab.validation, Described) else {}
    if min(count, len(judges)) < FEWEST or known.get("group") is not None:
        return None
    taught = half.take(np.arange(len(half))[:: len(half) // count][:count])
    recipe = lab.recipe.but(data=Splits(train=taught, validation=judges))
    recipe = recipe.but(epochs=as_many_steps(lab, len(taught)))
    name = f"trained on {len(taught):,} of the validation examples"
    lab.question = TEACHES
    found = ask(lab, floor, TEACHES, iter([(name, recipe)]), judges, LEVEL)
    return found if found.arms else None
