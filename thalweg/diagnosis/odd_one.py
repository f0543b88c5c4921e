"""Which of the splits is the odd one, once validation and train are known to be of two kinds."""

from thalweg.core.wording import lowered
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.finding import Experiment, Finding, Ranked
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mismatch import Mismatch


def of_another_kind(finding: Finding, apart: Experiment, mismatch: Mismatch | None) -> Finding:
    """Validation and train are of two kinds, as an experiment has shown: which of the splits is the odd one.

    Test costs no more than validation: then train, or validation, was made otherwise than the others, and the world
    did not move between them. It is a mismatch where test costs more still, or there is none.
    """
    says = f"validation is of another kind than train: {lowered(apart.says).rstrip('.')}"
    causes = {Cause.MISMATCH: says, Cause.DATA: "the splits were not prepared alike"}
    if mismatch is not None and not mismatch.harms:
        says += ", and test costs no more than validation: train, or validation, was made otherwise than the others"
        causes = {Cause.DATA: says, Cause.MISMATCH: "validation and test are meant to be of another kind than train"}
    ranked = tuple(Ranked(cause, None, why) for cause, why in causes.items())
    return finding.but(cause=ranked[0].cause, mechanism=says, ranked=ranked, experiments=(apart,))


def unlike(finding: Finding) -> list[Flaw]:
    """The flaws that make validation another thing than train: a loss that rises there is no overfitting."""
    of_data = [flaw for flaw in finding.flaws if flaw.raises is Raises.VALIDATION and flaw.cause is Cause.DATA]
    return [flaw for flaw in of_data if flaw.sure is not Sure.LIKELY]
