"""What the checks say of a recipe and its run, and where its loss is lost, as far as that can be told."""

import numpy as np

from thalweg.core.errors import ThalwegError
from thalweg.core.explain import first_line
from thalweg.core.notices import notice
from thalweg.diagnosis.checks.data import data_flaws
from thalweg.diagnosis.checks.dynamics import dynamics_flaws
from thalweg.diagnosis.checks.wiring import wiring_flaws
from thalweg.diagnosis.deadline import check_time
from thalweg.diagnosis.finding import Score
from thalweg.diagnosis.flaw import Flaw
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.generalizing import above_floor
from thalweg.diagnosis.laboratory import Laboratory
from thalweg.diagnosis.mismatch import Mismatch
from thalweg.diagnosis.natural import Scale, errors_of
from thalweg.diagnosis.ranking import Gaps, either, is_material, natural_gap
from thalweg.diagnosis.stage import Stage
from thalweg.training import Recipe, Run
from thalweg.training.evaluate import ExampleLosses

PROBE = 0.3
"""What the probe of the first and last steps costs, of one training."""


def program_flaws(lab: Laboratory, recipe: Recipe, run: Run) -> tuple[Flaw, ...]:
    """The flaws of the wiring, of the recipe as it was given, and of the dynamics."""
    lab.progress(Stage("checks of wiring and dynamics"))
    flaws: tuple[Flaw, ...] = ()
    held = lab.budget.less(lab.cost).times >= PROBE
    asked = [("wiring", wiring_flaws, recipe)] + [("dynamics", dynamics_flaws, lab.recipe)] * held
    for name, ask, own in asked:
        check_time()
        try:
            flaws += ask(own, run, device=lab.device)
        except Exception as error:  # a program that trains as a whole may not bear to be looked at in parts
            notice(f"The checks of {name} could not be asked: {type(error).__name__}: {first_line(error)}")
    lab.price += PROBE * held
    return flaws


def flaws_of_data(lab: Laboratory, run: Run) -> tuple[Flaw, ...]:
    """The flaws of the data."""
    lab.progress(Stage("checks of the data"))
    return data_flaws(lab.recipe, lab.train, lab.validation, lab.probe, run=run if run.status.good else None)


def fitted(lab: Laboratory, run: Run, best: ExampleLosses | None) -> ExampleLosses | None:
    """The train losses of the best or of the last weights, whichever fit better: those of the best epoch may come from
    before the network had fitted what it can, which is no fault of its size or its training.
    """
    last = best if run.best is run.final else lab.losses(run, lab.train, last=True)
    found = [losses for losses in (best, last) if losses is not None]
    return min(found, key=lambda losses: losses.mean()[0], default=None)


def gaps_of(
    lab: Laboratory,
    run: Run,
    floor: Floor | None,
    losses: tuple[ExampleLosses | None, ExampleLosses | None],
    mismatch: Mismatch | None,
) -> Gaps:
    """Where the loss is lost, by the judge's loss and by natural errors."""
    scale = None if floor is None or floor.natural is None else floor.natural.scale
    wrong = [natural_of(lab, run, number, scale) for number in (0, 1)]
    natural = tuple(natural_gap(errors, floor, number) for number, errors in enumerate(wrong))
    judged = [_judged(own, floor, number) for number, own in enumerate(losses)]
    lost = [either(first, is_material(gap, floor)) for first, gap in zip(judged, natural, strict=True)]
    left = _left(wrong[1], floor)
    return Gaps(lost[0], lost[1], mismatch is not None and mismatch.harms, (natural[0], natural[1]), left)


def _left(wrong: np.ndarray | None, floor: Floor | None) -> float:
    """The natural error that network and references alike leave on validation; 0 where that is not known."""
    if wrong is None or floor is None:
        return 0.0
    known = None if floor.natural is None else floor.natural.errors[1]
    if known is None or not len(known.losses):
        return float(wrong.mean()) if floor.siblings else 0.0
    return float(min(wrong.mean(), known.losses.mean()))


def natural_of(lab: Laboratory, run: Run, number: int, scale: Scale | None = None) -> np.ndarray | None:
    """The natural errors of a run on train (0) or validation (1); None where they cannot be told."""
    try:
        return errors_of(run, (lab.train, lab.validation)[number], lab.device, scale)
    except (ThalwegError, RuntimeError, ValueError):
        return None


def _judged(losses: ExampleLosses | None, floor: Floor | None, number: int) -> bool | None:
    if losses is None:
        return True
    return None if floor is None else worth_asking(above_floor(losses, floor, floor.values[number]), losses, floor)


def worth_asking(above: Score, losses: ExampleLosses, floor: Floor) -> bool:
    """Whether a loss lies above the floor beyond noise and by more than a trifle: by its own examples, where what the
    reference makes of these is known, and above the floor as a whole where it does alike on all.

    Of a loss without an interval the value alone is asked where siblings set the floor: their experiments decide.
    """
    beyond_noise = above.low > 0 or (floor.siblings and np.isnan(above.low))
    level = losses.mean()[0]
    return bool(beyond_noise and above.value > floor.material(level) and floor.lies_below(level))
