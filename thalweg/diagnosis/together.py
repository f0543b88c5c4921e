"""Several changes of training at once: what each alone does not mend, for a network of the same size.

A bigger network forgives bad training: with more units some begin well, and the same rate moves its outputs farther.
That it fits better shows a small network only where the small one, trained as well as can be, does not. The arms
before change one thing at a time; here the usual remedies are made at once, for two faults may each hide what mending
the other would bring, and then each change on top of the best so far, where it stays if the train loss falls by it.
"""

from collections.abc import Callable, Iterable, Iterator

from thalweg.core.nest import Nest
from thalweg.diagnosis.arms import ADAM, HARDLY, LONGER, at_rate, is_usual_adam, usual_adam
from thalweg.diagnosis.beginnings import batch_normed, initialized
from thalweg.diagnosis.finding import Arm
from thalweg.diagnosis.further_arms import BEGUN, NORMED, REMEMBERING, warmed_up
from thalweg.diagnosis.laboratory import Laboratory, first_batch
from thalweg.diagnosis.remembering import remembering
from thalweg.training import Recipe

WITH = ", and "
WARMED = "a warm-up"
ALL = (BEGUN, NORMED, REMEMBERING, ADAM)
"""What is done at once first, as far as a network lacks it."""
PRICE = 11.0
"""At most so many trainings of the recipe: eight of its own length, and one of three times that."""
TOGETHER = "Does a model of the same size come down to the floor where several changes are made together?"


def together(lab: Laboratory, control: Arm, arms: Iterable[Arm]) -> Iterator[tuple[str, Recipe]]:
    """All of them at once first; then each on top of the best so far, from the arm of the lowest train loss.

    That is one of the recipe's own seed and length that does not raise the validation loss. An arm that is not trained
    is not built on.
    """
    seed, epochs = control.seeds, lab.recipe.epochs
    alike = (arm for arm in arms if arm.recipe is not None and (arm.seeds, arm.recipe.epochs) == (seed, epochs))
    best = min([control, *(arm for arm in alike if arm.validation <= control.validation)], key=_loss)
    changes = dict(_changes(first_batch(lab.train)))
    for words in (ALL, *([word] for word in changes)):
        base = control if words is ALL else best
        recipe, done = base.recipe, list[str]()
        for word in words:
            if recipe is not None and word not in base.name and (changed := changes[word](recipe)) is not None:
                recipe, done = changed, [*done, word]
        name = WITH.join(done if base is control else [base.name, *done])
        if recipe is None or not done or (words is ALL and len(done) < 2):
            continue
        yield name, recipe
        if (name, lab.recipe.seed) not in lab.kept:
            continue
        arm = lab.arm(name, recipe, seed, lab.train)
        if arm.validation <= best.validation and _loss(best) - _loss(arm) > HARDLY * abs(_loss(best)):
            best = arm


def _loss(arm: Arm) -> float:
    return arm.score.value


def _changes(batch: Nest) -> Iterator[tuple[str, Callable[[Recipe], Recipe | None]]]:
    """The changes by name, the cheap and far-reaching first."""
    yield BEGUN, lambda recipe: initialized(recipe, batch)
    yield NORMED, lambda recipe: batch_normed(recipe, batch)
    yield REMEMBERING, lambda recipe: remembering(recipe, batch)
    yield ADAM, lambda recipe: None if is_usual_adam(recipe) else usual_adam(recipe)
    yield WARMED, warmed_up
    yield "learning rate x 3.16", lambda recipe: at_rate(recipe, 3.16)
    yield "learning rate x 0.316", lambda recipe: at_rate(recipe, 0.316)
    yield LONGER, lambda recipe: recipe.but(epochs=3 * recipe.epochs)
