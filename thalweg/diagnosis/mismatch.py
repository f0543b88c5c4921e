"""The test loss: whether the test data differ from the training data in a way that costs.

Harm first: the loss on the probe half of the test split must lie above that on validation beyond noise, and by more
than a trifle. Then the explanation, which decides nothing: what moved (`shift`). A large shift without harm is no
finding.
"""

from dataclasses import dataclass

from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.compare import higher_on
from thalweg.diagnosis.finding import Arm, Experiment, Finding, Score
from thalweg.diagnosis.floor import SHARE_OF_WAY, Floor
from thalweg.diagnosis.laboratory import Laboratory
from thalweg.diagnosis.natural import as_losses, deviances, errors_of
from thalweg.diagnosis.shift.explaining import what_moved
from thalweg.diagnosis.shift.explanation import Shift
from thalweg.diagnosis.untrained import untrained
from thalweg.training import Run
from thalweg.training.evaluate import ExampleLosses

LEVEL = 0.99
LOSS, ERROR, DEVIANCE = "loss", "natural error", "loss beyond that of a perfect prediction"
"""What may be higher on test: the loss, the error that no loss can bend, or the part of a loss that can be avoided."""
MATERIAL = 2.5
"""A loss on test that is higher by less than so many times what is material elsewhere is not worth a finding."""


@dataclass(frozen=True)
class Mismatch:
    """Whether the test data cost, by how much of which `measure`, the experiment that shows it, and what moved."""

    harms: bool
    effect: Score
    experiment: Experiment
    mechanism: str
    level: float
    shift: Shift | None = None
    measure: str = LOSS

    def costs_more_than(self, lost: float) -> bool:
        """Whether it costs more than so much of the loss; errors are no loss, and cannot be compared with it."""
        return self.harms and self.measure != ERROR and self.effect.low > lost


def ask_mismatch(lab: Laboratory, run: Run, floor: Floor) -> Mismatch | None:
    """The loss on the probe half against that on validation; None where there is none, or no finite loss."""
    if lab.probe is None:
        return None
    validation, probe = lab.losses(run, lab.validation), lab.losses(run, lab.probe)
    if validation is None:
        return None
    seeds = (lab.recipe.seed,)
    control = Arm("validation", (), Score(*validation.mean()), seeds, run.seconds)
    if probe is None:
        effect = Score(float("inf"), float("inf"), float("inf"))
        arm = Arm("test (probe half)", (), Score(float("inf")), seeds)
    else:
        effect = higher_on(probe, validation, LEVEL)
        arm = Arm("test (probe half)", (), Score(*probe.mean()), seeds)
    measure, harms = LOSS, effect.low > 0 and effect.value > MATERIAL * floor.material(validation.mean()[0])
    if not harms and (plainly := _more_errors(lab, run, floor)) is not None:
        measure, harms, effect = ERROR, True, plainly
    if not harms and (worse := _deviance(lab, run)) is not None and worse.low > 0:
        harms = worse.value > MATERIAL * floor.material(validation.mean()[0])
        measure, effect = (DEVIANCE, worse) if harms else (measure, effect)
    shift = what_moved(lab, run, validation, probe, floor.null) if harms else None
    mechanism = shift.sentence if shift is not None else "the test data are of another kind"
    if not harms:
        mechanism = "the test data cost no more than the validation data"
    experiment = Experiment(
        "Is the loss on test data higher than on validation data, which neither was trained on?",
        "loss",
        control,
        (arm,),
        "yes" if harms else "no",
        f"The {measure} on test is higher by {effect}{'' if harms else f': {mechanism}'}.",
        effect,
    )
    return Mismatch(harms, effect, experiment, mechanism, arm.score.value, shift, measure)


def mismatch_alone(
    lab: Laboratory, run: Run, losses: tuple[ExampleLosses | None, ExampleLosses | None]
) -> Mismatch | None:
    """The mismatch that costs more than all of the train and validation losses, so that no floor has to be known.

    However low the floor of a loss lies that is never negative, no more is lost before test than that loss itself.
    None where test costs less, or the loss can be negative.
    """
    train, validation = losses
    probe = None if lab.probe is None else lab.losses(run, lab.probe)
    if train is None or validation is None or probe is None:
        return None
    before = max(train.mean()[2], validation.mean()[2])
    least = min(float(own.values.min()) for own in (train, validation, probe))
    if least < 0 or not higher_on(probe, validation, LEVEL).low > before:
        return None
    level = validation.mean()[0]
    nothing = Floor(0.0, 0.0, "no loss at all", (None, None), (0.0, 0.0, 0.0), untrained(lab, lab.validation, level))
    mismatch = ask_mismatch(lab, run, nothing)
    return mismatch if mismatch is not None and mismatch.costs_more_than(before) else None


def _more_errors(lab: Laboratory, run: Run, floor: Floor) -> Score | None:
    """How much larger natural errors are on the probe half, where that is beyond noise and material; a few confident
    mistakes make a loss too noisy to tell.
    """
    assert lab.probe is not None
    if floor.natural is None:
        return None
    here, there = (errors_of(run, each, lab.device, floor.natural.scale) for each in (lab.validation, lab.probe))
    if here is None or there is None:
        return None
    effect = higher_on(as_losses(there), as_losses(here), LEVEL)
    return effect if effect.low > 0 and effect.value > MATERIAL * SHARE_OF_WAY * floor.natural_way else None


def _deviance(lab: Laboratory, run: Run) -> Score | None:
    """How much higher the loss is on the probe half, each example's counted from that of its own target said outright.

    A loss of counts is lower where these are larger, whatever is predicted: only what is lost against a perfect
    prediction can be compared between splits. None where that is nothing, or not known.
    """
    assert lab.probe is not None
    here, there = (deviances(lab.judge.objective, run, source, lab.device) for source in (lab.validation, lab.probe))
    return None if here is None or there is None else higher_on(as_losses(there), as_losses(here), LEVEL)


def explained(finding: Finding, mismatch: Mismatch | None) -> Finding:
    """Behind a flaw of the test data what moved."""
    if finding.cause is not Cause.MISMATCH or mismatch is None or mismatch.shift is None:
        return finding
    says, experiments = f"{finding.mechanism}; {mismatch.shift.sentence}", (*finding.experiments, mismatch.experiment)
    return finding.but(mechanism=says, shift=mismatch.shift, experiments=experiments)
