"""Where nothing is found in train and validation: NONE, or why that cannot be said; the test may still say more."""

from math import isnan

from thalweg.core.wording import counted, lowered
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checking import natural_of
from thalweg.diagnosis.checks.label_leak import LEAK
from thalweg.diagnosis.finding import Experiment, Finding, Ranked, Score
from thalweg.diagnosis.flaw import Raises
from thalweg.diagnosis.floor import SHARE_OF_WAY, Floor
from thalweg.diagnosis.laboratory import Laboratory
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.diagnosis.mismatch import Mismatch
from thalweg.diagnosis.natural import errors_of
from thalweg.diagnosis.ranking import MATERIAL, Gaps
from thalweg.diagnosis.references import CONSTANT
from thalweg.training import Run
from thalweg.training.evaluate import ExampleLosses
from thalweg.training.interval import mean_interval

MUCH = 0.25
"""The share of the way from the best constant to the floor that may not be lost unseen where nothing is found."""
FAR = 0.5
"""The share of the validation loss that a sibling leaves which is far better."""
FEWEST_RIGHT, MISSED = 100, 0.03
"""None wrong of so many is at most 3 % with 95 % confidence; more than that on test is a mismatch."""


def unknown(on_train: Score, on_validation: Score, between: bool) -> str | None:
    """What keeps train and validation loss from being called good; None where nothing does."""
    if between:
        return (
            f"the validation loss lies {on_validation} above the floor, but by too few examples to tell whether the "
            "train loss lies there too (bias, optimization) or not (overfitting)"
        )
    if isnan(on_train.low) or isnan(on_validation.low):
        return "the losses have no interval: too few examples, or a loss that is one number for a batch of all"
    return None


def too_few(on_validation: Score, floor: Floor) -> str | None:
    """Whether so few examples judge that much may be lost unseen: then that nothing was found says nothing."""
    if floor.siblings or not on_validation.high > MUCH * max(floor.way, abs(floor.null) / 2):
        return None
    return (
        f"the validation loss lies {on_validation} above the floor: it may be as good as the references, or far worse, "
        "and these are too few examples to tell"
    )


def nothing_before(
    finding: Finding,
    mismatch: Mismatch | None,
    floor: Floor,
    unknown: str | None,
    validation: tuple[Score, ExampleLosses],
) -> Finding:
    """The finding where neither the train nor the validation loss is known to lie above the floor, nor test to cost.

    `validation` is how far the loss there lies above the floor, and the losses.
    """
    experiments: tuple[Experiment, ...] = () if mismatch is None else (mismatch.experiment,)
    if floor.siblings:
        far = _far_better(floor, validation[1].mean()[0])
        lowers = "by much of the way from where it begins" if far else ""
        return finding.but(
            mechanism=f"neither training it better nor a bigger sibling lowers the validation loss {lowers}".rstrip(),
            ranked=(*at_chance(floor), *far),
            experiments=experiments,
            would_decide="A reference to say how small the loss could be: no learner known here reads these inputs and "
            "this loss.",
        )
    if unknown is not None:
        return finding.but(mechanism=unknown, experiments=experiments, would_decide=_more(finding))
    if mismatch is not None and mismatch.level > floor.null + floor.way:
        return finding.but(
            mechanism=f"train and validation loss reach the floor, but on test the loss is {mismatch.level:.3g}, far "
            f"worse than a constant prediction ({floor.null:.3g}), by too few examples to be sure",
            experiments=experiments,
            would_decide="More test examples, or a look at the worst of these: a confident mistake may carry it all.",
        )
    where = f"the floor lies in [{floor.low:.3g}, {floor.high:.3g}] ({floor.by})"
    says = f"train and validation loss reach what reference learners do: {where}"
    above, losses = validation
    if above.value >= floor.material(losses.mean()[0]):
        says = (
            "neither train nor validation loss lies above what reference learners reach beyond chance: validation "
            f"lies {above} above it, which {counted(len(losses.values), 'example')} cannot tell from 0; {where}"
        )
    if floor.by == CONSTANT:
        says += "; none of them tells these targets from these inputs, so look whether the two belong together"
    ranked = (Ranked(Cause.NONE, None, says),)
    return finding.but(cause=Cause.NONE, mechanism=says, ranked=ranked, experiments=experiments)


def _more(finding: Finding) -> str:
    """What tells more than these examples do, and what can be done where there are no others."""
    says = "More validation examples: gather rows, or hold more of those that there are out"
    wide = any(flaw.mechanism is Mechanism.MORE_INPUTS_THAN_EXAMPLES for flaw in finding.flaws)
    return f"{says}; and fewer columns, for there are more of them than train examples." if wide else f"{says}."


def left_untold(gaps: Gaps) -> tuple[Ranked, ...]:
    """What else may be where neither network nor references tell much: no better model would lower that."""
    if gaps.left < MATERIAL:
        return ()
    says = (
        f"a natural error of {gaps.left:.2g} is left that neither network nor references tell: it is chance, wrong "
        "targets, or inputs that lack what tells"
    )
    return (Ranked(Cause.DATA, None, says),)


def at_chance(floor: Floor) -> tuple[Ranked, ...]:
    """What may be where no sibling does better than before its first step, and no reference can say more."""
    if not floor.siblings or floor.null == floor.high or floor.null - floor.high > SHARE_OF_WAY * abs(floor.null):
        return ()  # where a network has no finite loss before its first step, what the siblings reach stands for it
    says = (
        f"neither this network nor a sibling comes clearly below the {floor.null:.3g} on validation that it has before "
        "its first step: the inputs may not tell the targets, or lack what does"
    )
    return (Ranked(Cause.DATA, None, says),)


def _far_better(floor: Floor, level: float) -> tuple[Ranked, ...]:
    """The cause that the best sibling speaks for where it leaves less than half of a loss that is small already."""
    if floor.best is None or not 0 <= floor.high < FAR * level:
        return ()
    says = f"{floor.by} comes to a validation loss of {floor.high:.3g}, from {level:.3g}, which is little beside "
    return (Ranked(floor.best, None, f"{says}the {floor.null:.3g} before the first step"),)


def doubted(finding: Finding) -> Finding:
    """A finding of NONE, and what may have made the losses small that is of no use: an input that is the label."""
    leaks = [flaw for flaw in finding.flaws if flaw.mechanism == LEAK and flaw.raises is Raises.NONE_SEEN]
    told = [f"{lowered(flaw.says)}: {lowered(flaw.mend)}" for flaw in leaks]
    return finding.but(mechanism="; but ".join([finding.mechanism, *told])) if told else finding


def all_right(lab: Laboratory, run: Run) -> Ranked | None:
    """Where no reference speaks: whether no train and no validation example is wrong, so that test alone may lose."""
    wrong = [natural_of(lab, run, number) for number in (0, 1)]
    if any(errors is None or errors.any() for errors in wrong) or len(lab.validation) < FEWEST_RIGHT:
        return None
    says = f"no example is wrong, of {len(lab.train):,} in train and {len(lab.validation):,} in validation"
    errors = None if lab.probe is None else errors_of(run, lab.probe, lab.device)
    if errors is None:
        return Ranked(Cause.NONE, None, says)
    missed = mean_interval(errors, None, None, share=True)
    if missed[1] < MISSED:
        return Ranked(Cause.NONE, None, says)
    return Ranked(Cause.MISMATCH, None, f"{says}; on test the natural error is {Score(*missed)}")
