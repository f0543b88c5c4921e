"""Whether the validation data are of another kind than the train data: a part of train, held out, decides.

    floor  ->  train  ->  a held-out part of train  ->  validation  ->  test

What is lost from train to the held-out part is overfitting; what is lost from there to validation is not, since the
model has seen neither: the two were made, or prepared, otherwise.
"""

import numpy as np

from thalweg.core.beginning import has_seen_train
from thalweg.core.randomness import stream_seed
from thalweg.core.source import Described, Indexed, Splits
from thalweg.diagnosis.compare import higher_on
from thalweg.diagnosis.finding import Arm, Experiment, Score
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.laboratory import Laboratory

ASKS = "Is the loss on validation higher than on a part of train that is held out, which the model has not seen either?"
NAME = "a part of train held out"
SHARE, FEWEST = 6, 20
"""One example in so many is held out, if these are so many at least."""
LEVEL, MATERIAL = 0.99, 2.5


def ask_held_out(lab: Laboratory, floor: Floor) -> Experiment | None:
    """The loss on validation against that on a held-out part of train; None where too few would be held out, the model
    begins with weights that have seen them, or the budget does not hold the run.
    """
    if has_seen_train(lab.recipe.model):
        return None
    kept, held = _parted(lab.train, lab.recipe.seed)
    recipe = lab.recipe.but(data=Splits(train=lab.train.take(kept), validation=lab.validation))
    seed = [lab.recipe.seed]
    if len(held) < FEWEST or not lab.affords(recipe, seed, NAME):
        return None
    lab.question = ASKS
    runs = lab.run(NAME, recipe, seed)
    if not runs:
        return None
    run = runs[0]
    here, there = lab.losses(run, lab.train.take(held)), lab.losses(run, lab.validation)
    if here is None or there is None:
        return None
    effect = higher_on(there, here, LEVEL)
    harms = effect.low > 0 and effect.value > MATERIAL * floor.material(here.mean()[0])
    control = Arm(NAME, (), Score(*here.mean()), tuple(seed), run.seconds)
    arm = Arm("validation", (), Score(*there.mean()), tuple(seed))
    says = f"The loss on validation is {'' if effect.value > 0 else 'not '}higher, by {effect}."
    return Experiment(ASKS, "loss", control, (arm,), "yes" if harms else "no", says, effect)


def _parted(train: Indexed, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The places that are kept and those that are held out; a group is held out whole."""
    ids = np.arange(len(train))
    groups = train.meta(ids).get("group") if isinstance(train, Described) else None
    own = ids if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    units = np.random.default_rng(stream_seed(seed, "held-out part")).permutation(own.max() + 1)
    held = np.isin(own, units[: max(1, len(units) // SHARE)])
    return ids[~held], ids[held]
