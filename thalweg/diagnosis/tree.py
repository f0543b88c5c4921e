"""The decision tree: the train loss first (model or optimization), then validation (overfitting), then test (mismatch).

Each branch is taken by an experiment, not by a threshold on a symptom. Where all three losses lie within what the data
are known to allow the finding is NONE, with the floor as an interval; where no experiment decides it is UNDECIDED, with
what would decide.
"""

from collections.abc import Callable
from typing import Any

import torch

from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.notices import collecting
from thalweg.diagnosis.arms import grown
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.finding import Experiment, Finding, Ranked, Score
from thalweg.diagnosis.fitting import BIGGER, SAME, WIDER, explain_train_loss
from thalweg.diagnosis.floor import Floor, reference_floor
from thalweg.diagnosis.generalizing import FEEDS, above_floor, explain_gap, gap
from thalweg.diagnosis.laboratory import CONTROL, Laboratory, Progress, first_batch, lay_out
from thalweg.diagnosis.mismatch import Mismatch, ask_mismatch
from thalweg.training import Recipe, Run
from thalweg.training.evaluate import ExampleLosses

MATERIAL = 0.1
"""A validation loss that is above the floor by less than this share of itself is not worth an experiment."""


@no_type_check
def find_cause(
    recipe: Recipe | Run,
    *,
    budget: float = 20.0,
    grow: Callable[[Recipe], Recipe] | None = None,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
    test: bool = True,
    reference: Floor | None = None,
) -> Finding:
    """What holds a recipe back, with the experiments that show it.

    `budget` is in multiples of one training of the recipe (examples times epochs times parameters); `grow` makes a
    bigger model of a recipe where neither its factory's `width` nor its layers can be grown; `test=False` leaves the
    test split alone.

    Raises `RecipeError` for what is neither recipe nor run, and what `train` raises where the recipe cannot be trained.
    """
    subject = recipe.recipe if isinstance(recipe, Run) else recipe
    if not isinstance(subject, Recipe):
        raise RecipeError(
            f"diagnose was given {type(recipe).__name__}, but it diagnoses a Recipe, or a Run with its recipe."
        )
    if not budget > 0:
        raise RecipeError(
            f"budget={budget}, but a diagnosis costs something: give how many trainings it may cost, as 20."
        )
    with collecting() as notices:
        lab = lay_out(subject, resolve_device(device), float(budget), progress or (lambda name: None), test)
        if isinstance(recipe, Run) and subject.data.validation is not None and recipe.status.good:
            lab.kept[CONTROL, subject.seed] = recipe
        finding = _asked(lab, grow, reference)
    return finding.but(cost=lab.cost, notices=tuple(notices))


def _asked(lab: Laboratory, grow: Callable[[Recipe], Recipe] | None, reference: Floor | None) -> Finding:
    (run,) = lab.run(CONTROL, lab.recipe, [lab.recipe.seed])
    if reference is None:
        lab.progress("reference learners")
    floor = reference or reference_floor(lab.judge, [lab.train, lab.validation], lab.recipe.seed)
    train, validation = lab.losses(run, lab.train, last=True), lab.losses(run, lab.validation)
    finding = Finding(
        Cause.UNDECIDED, "", losses=_losses(lab, run, floor, train, validation), floor_by=_by(floor), reference=floor
    )
    if floor is None:
        return finding.but(
            mechanism="there is no reference to say how small the loss could be",
            would_decide="A reference that can read these inputs and this loss; the learners known here cannot.",
        )
    if train is None or train.mean()[0] > floor.high:
        return _train_loss(lab, finding, floor, grow)
    if validation is not None:
        above, level = above_floor(validation, floor, len(lab.train)), validation.mean()[0]
        if above.low > 0 and above.value > MATERIAL * level and gap(lab, train, validation).low > 0:
            return _validation_loss(lab, finding, above, level)
    return _test_loss(finding, ask_mismatch(lab, run), floor)


def plan(recipe: Recipe) -> list[tuple[str, str, float]]:
    """The arms that a diagnosis may ask for, each with its question and its price in multiples of one training.

    >>> from thalweg.core.source import Splits
    >>> recipe = Recipe(
    ...     data=Splits(train=(torch.ones(9, 3), torch.ones(9, 1))),
    ...     model=lambda: torch.nn.Linear(3, 1), objective=torch.nn.MSELoss(),
    ... )
    >>> plan(recipe)[0]
    ('how large are the losses?', 'as it is', 1.0)
    """
    with collecting():
        lab = lay_out(recipe, torch.device("cpu"), float("inf"), lambda name: None)
    arms = [("how large are the losses?", CONTROL, 1.0)]
    arms += [(SAME, f"learning rate x {factor:g}", 1.0) for factor in (10, 0.1, 100, 0.01, 3.16, 0.316)]
    arms += [(SAME, "Adam at its usual rate", 1.0), (SAME, "trained 3 x as long", 3.0)]
    for factor in WIDER:
        if (bigger := grown(lab.recipe, factor, first_batch(lab.train))) is not None:
            arms.append((BIGGER, f"{factor} x as wide", lab.price_of(bigger)))
    half = 1 + len(lab.validation) / 2 / len(lab.train)
    return [
        *arms,
        (FEEDS, "more training data", 2 * half),
        (FEEDS, "L2 penalty of 0.01", 2.0),
        (FEEDS, "L2 penalty of 0.1", 2.0),
    ]


def _train_loss(lab: Laboratory, finding: Finding, floor: Floor, grow: Callable[[Recipe], Recipe] | None) -> Finding:
    fitting = explain_train_loss(lab, floor, grow)
    finding = finding.but(ranked=fitting.ranked, experiments=fitting.experiments)
    if fitting.would_decide is not None:
        return finding.but(mechanism=fitting.ranked[0].sentence, would_decide=fitting.would_decide)
    return finding.but(cause=fitting.ranked[0].cause, mechanism=fitting.ranked[0].sentence)


def _validation_loss(lab: Laboratory, finding: Finding, above: Score, level: float) -> Finding:
    ranked, experiment, waits = explain_gap(lab, above, level)
    finding = finding.but(ranked=(ranked,), experiments=(experiment,), mechanism=ranked.sentence)
    return finding.but(would_decide=waits) if waits else finding.but(cause=Cause.OVERFITTING)


def _test_loss(finding: Finding, mismatch: Mismatch | None, floor: Floor) -> Finding:
    experiments: tuple[Experiment, ...] = () if mismatch is None else (mismatch.experiment,)
    if mismatch is not None and mismatch.harms:
        sentence = f"the loss on test is {mismatch.effect} higher than on validation; {mismatch.mechanism}"
        ranked = (Ranked(Cause.MISMATCH, None, sentence),)
        return finding.but(cause=Cause.MISMATCH, mechanism=sentence, ranked=ranked, experiments=experiments)
    says = (
        f"train and validation loss reach what reference learners do: the floor lies in [{floor.low:.3g}, "
        f"{floor.high:.3g}] ({floor.by})"
    )
    ranked = (Ranked(Cause.NONE, None, says),)
    return finding.but(cause=Cause.NONE, mechanism=says, ranked=ranked, experiments=experiments)


def _losses(
    lab: Laboratory, run: Run, floor: Floor | None, train: ExampleLosses | None, validation: ExampleLosses | None
) -> dict[str, Score]:
    """Where the loss is lost: floor, train, validation, test, each with its interval."""
    measured: dict[str, Any] = {"train": train, "validation": validation}
    if lab.probe is not None:
        measured["test"] = lab.losses(run, lab.probe)
    losses = {name: Score(*scored.mean()) for name, scored in measured.items() if scored is not None}
    if floor is not None:
        losses["floor"] = Score(floor.high, floor.low, floor.high)
    return losses


def _by(floor: Floor | None) -> str:
    return "" if floor is None else floor.by
