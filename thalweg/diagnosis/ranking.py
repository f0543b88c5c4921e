"""Ranking: which of the flaws that checks have seen is the cause, and which are notes. Harm decides.

A flaw raises some loss, it says which. It is the cause where that loss lies above what the data allow, in the loss that
judges or in the natural error, and where the check is certain or has measured it; a flaw without harm is a note,
however large. Flaws that are only likely are for experiments to decide.
"""

from dataclasses import dataclass

import numpy as np

from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.compare import lower_by
from thalweg.diagnosis.finding import Ranked, Score
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.floor import SHARE_OF_LOSS, SHARE_OF_WAY, Floor, Known
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.diagnosis.natural import as_losses

IN_THE_FLOOR = (
    Mechanism.WRONG_LABELS,
    Mechanism.EQUAL_INPUTS_WITH_DIFFERENT_LABELS,
    Mechanism.TARGETS_FAR_OUT,
    Mechanism.TRAIN_TELLS_LESS_THAN_VALIDATION,
    Mechanism.TRAIN_OF_ANOTHER_KIND_THAN_VALIDATION,
)
"""What every learner suffers from, so that the floor itself lies higher: the number is the share of the examples."""
THROWN_AWAY = (
    Mechanism.ORDER_THROWN_AWAY,
    Mechanism.ONE_WORD_FOR_MANY,
    Mechanism.COLOUR_THROWN_AWAY,
    Mechanism.A_PART_THAT_NEVER_CHANGES,
    Mechanism.CUT_OFF_AT_AN_END,
    Mechanism.GAPS_FILLED_WITH_A_NUMBER,
)
"""Traces of a step that throws away inputs in all splits: the cause where neither network nor references tell much."""
INVALID = (
    Mechanism.TRAIN_EXAMPLES_IN_VALIDATION,
    Mechanism.ONE_TARGET_FOR_ALL,
    Mechanism.VALIDATION_TARGETS_MADE_OTHERWISE,
)
MUCH = 0.1
"""What leaves nothing to be told by the validation loss, from such a number on."""
MATERIAL = 0.05
"""Of the examples, or of the variance: so many wrong labels, or so much that nobody tells, are worth a finding."""
FIRST = (Cause.WIRING, Cause.DATA)


@dataclass(frozen=True, eq=False)
class Gaps:
    """Where the loss is lost: how far each split lies above the floor, in the judge's loss and in natural errors.

    None where that cannot be told. `mismatched` says that test costs more than validation.
    """

    train: bool | None
    validation: bool | None
    mismatched: bool
    natural: tuple[Score | None, Score | None] = (None, None)
    left: float = 0.0
    """The natural error that network and references alike leave on examples that they did not see."""

    def raised(self, raises: Raises) -> bool:
        """Whether the loss that a flaw raises is too high; one that cannot be told is."""
        if raises is Raises.TEST:
            return self.mismatched
        if raises is Raises.NONE_SEEN:
            return False
        return (self.train if raises is Raises.TRAIN else self.validation) is not False

    @property
    def largest(self) -> float:
        """The larger of the natural gaps, 0 where none is known."""
        return max([0.0, *(gap.value for gap in self.natural if gap is not None)])


def natural_gap(errors: np.ndarray | None, floor: Floor | None, number: int) -> Score | None:
    """How far a run's natural errors on a source lie above those of the references on the same examples."""
    if errors is None or floor is None or floor.natural is None:
        return None
    theirs: Known = floor.natural.errors[number]
    if not len(theirs.places) or theirs.places.max() >= len(errors):
        return None
    return lower_by([as_losses(errors[theirs.places])], [as_losses(theirs.losses)])


def is_material(gap: Score | None, floor: Floor | None) -> bool | None:
    """Whether a natural gap is beyond noise and more than a trifle; None where it is not known."""
    if gap is None or floor is None or floor.natural is None:
        return None
    level = floor.natural.mean + gap.value
    return gap.low > 0 and gap.value > min(SHARE_OF_LOSS * level, SHARE_OF_WAY * floor.natural_way)


def either(first: bool | None, second: bool | None) -> bool | None:
    """Whether one of two answers is yes; None where none is known.

    >>> either(False, None), either(None, None), either(False, True)
    (False, None, True)
    """
    known = [answer for answer in (first, second) if answer is not None]
    return any(known) if known else None


def decisive(flaws: tuple[Flaw, ...], gaps: Gaps) -> list[Flaw]:
    """The flaws that are the cause, the surest first: those of the program, then those of the data."""
    found = [flaw for flaw in flaws if flaw.cause in FIRST and _decides(flaw, gaps)]
    order = list(Sure)
    return sorted(found, key=lambda flaw: (order.index(flaw.sure), FIRST.index(flaw.cause)))


def _decides(flaw: Flaw, gaps: Gaps) -> bool:
    if flaw.mechanism in IN_THE_FLOOR:
        return flaw.number >= max(MATERIAL, gaps.largest)
    if flaw.mechanism in THROWN_AWAY:
        return gaps.train is not True and gaps.left >= max(MATERIAL, gaps.largest)
    if flaw.mechanism in INVALID:
        return flaw.sure is not Sure.LIKELY and flaw.number >= MUCH
    return flaw.sure is not Sure.LIKELY and gaps.raised(flaw.raises)


def suspected(flaws: tuple[Flaw, ...], gaps: Gaps) -> list[Flaw]:
    """The flaws that may be the cause and wait for an experiment: what is likely, then what the training has shown."""
    harmful = [flaw for flaw in flaws if gaps.raised(flaw.raises)]
    likely = [flaw for flaw in harmful if flaw.sure is Sure.LIKELY]
    return likely + [flaw for flaw in harmful if flaw.sure is not Sure.LIKELY and flaw.cause not in FIRST]


def ranked_of(flaw: Flaw) -> Ranked:
    """A flaw among the causes; one that shows on the test data alone is a mismatch, whatever made it."""
    return Ranked(cause_of(flaw), None, f"{flaw.says} (healthy: {flaw.healthy})")


def cause_of(flaw: Flaw) -> Cause:
    """The cause that a flaw is.

    >>> cause_of(Flaw(Cause.DATA, Mechanism.TARGETS_FAR_OUT, "inverted", 1.0, "", "", "", raises=Raises.TEST))
    <Cause.MISMATCH: 'The test data differ from the training data in a way that costs.'>
    """
    return Cause.MISMATCH if flaw.raises is Raises.TEST else flaw.cause
