"""Where a training came to a standstill: the kind of point that its last weights are, which explains and never decides.

At a saddle the gradient is nearly zero and there is a way down; where the gradient is not zero, steps of another size
would go on; at a minimum only another start or another model helps. Which of them treats it the experiments decide.
"""

from thalweg.diagnosis.laboratory import Laboratory
from thalweg.diagnosis.work import examples_of
from thalweg.measure import critical_point
from thalweg.measure.curvature.point import CriticalPoint
from thalweg.training import Outcome, Run
from thalweg.training.minimized import minimized

PRODUCTS = 150
"""About so many Hessian-vector products of two gradients each tell what kind of point it is."""
FEWEST, MOST = 64, 512
"""The examples on which it is asked, as many as cost about one training, within these."""
DEAREST = 4.0
"""The most trainings that it may cost: a training on few examples is cheaper, and the arms that decide come first."""


def stopped_at(lab: Laboratory, run: Run) -> CriticalPoint | None:
    """The point at which a run stopped; None where its surface cannot be looked at, nothing came to a stop, or a look
    would cost what the arms need.
    """
    if run.status is not Outcome.FINISHED or run.recipe is None:
        return None
    training = examples_of(lab.recipe) * max(lab.recipe.epochs, 1)
    examples = min(MOST, max(FEWEST, training // (2 * PRODUCTS)))
    price = 2 * PRODUCTS * examples / training
    if price > DEAREST or not lab.budget.less(lab.cost).holds(price, None):
        return None
    try:
        seen = minimized(lab.recipe, run.last, examples)
        point = critical_point(run.last, seen.objective, seen.batches, exact=False, **seen.restraints)
    except Exception:  # no second derivatives, no room, or a forward that bears no batch of another size
        return None
    lab.price += 2 * point.products * seen.examples / training
    return point
