"""Several changes of training at once: what each alone does not mend, for a network of the same size.

A bigger network forgives bad training: with more units some begin well, and the same rate moves its outputs farther.
That it fits better shows a small network only where the small one, trained as well as can be, does not. The arms
before change one thing at a time; here each change is made on top of the best so far, and stays where the train loss
falls by it (coordinate descent over the changes).
"""

from collections.abc import Callable, Iterable, Iterator

from thalweg.core.nest import Nest
from thalweg.diagnosis.arms import ADAM, HARDLY, LONGER, at_rate, is_usual_adam, usual_adam
from thalweg.diagnosis.beginnings import batch_normed, initialized
from thalweg.diagnosis.finding import Arm
from thalweg.diagnosis.further_arms import BEGUN, NORMED, warmed_up
from thalweg.diagnosis.laboratory import Laboratory, first_batch
from thalweg.training import Recipe

WITH = ", and "
WARMED = "a warm-up"
PRICE = 9.0
"""At most so many trainings of the recipe: six changes of its own length, and one of three times that."""
TOGETHER = "Does a model of the same size come down to the floor where several changes are made together?"


def together(lab: Laboratory, control: Arm, arms: Iterable[Arm]) -> Iterator[tuple[str, Recipe]]:
    """Each change on top of the best so far, from the arm of the lowest train loss that does not raise validation's."""
    best = min((arm for arm in arms if arm.validation <= control.validation), key=_loss, default=control)
    for word, change in _changes(lab, first_batch(lab.train)):
        recipe = None if best.recipe is None or word in best.name else change(best.recipe)
        name = word if best.recipe is lab.recipe else f"{best.name}{WITH}{word}"
        if recipe is None or not lab.affords(recipe, [lab.recipe.seed], name):
            continue
        yield name, recipe
        arm = lab.arm(name, recipe, [lab.recipe.seed], lab.train)
        if arm.validation <= best.validation and _loss(best) - _loss(arm) > HARDLY * abs(_loss(best)):
            best = arm


def _loss(arm: Arm) -> float:
    return arm.score.value


def _changes(lab: Laboratory, batch: Nest) -> Iterator[tuple[str, Callable[[Recipe], Recipe | None]]]:
    """The changes by name, the cheap and far-reaching first."""
    yield NORMED, lambda recipe: batch_normed(recipe, batch)
    yield BEGUN, lambda recipe: initialized(recipe, batch)
    yield ADAM, lambda recipe: None if is_usual_adam(recipe) else usual_adam(recipe)
    yield WARMED, warmed_up
    yield "learning rate x 3.16", lambda recipe: at_rate(recipe, 3.16)
    yield LONGER, lambda recipe: recipe.but(epochs=3 * recipe.epochs) if recipe.epochs == lab.recipe.epochs else None
    yield "learning rate x 0.316", lambda recipe: at_rate(recipe, 0.316)
