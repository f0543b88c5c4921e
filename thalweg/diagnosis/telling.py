"""A finding as a person reads it: the answer of `thalweg diagnose`, and of `print(finding)`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from thalweg.core.wording import capitalized, counted
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.flaw import Raises, Sure
from thalweg.measure.curvature.point import CriticalPoint

if TYPE_CHECKING:
    from thalweg.diagnosis.finding import Finding

LOSSES = ("floor", "train", "validation", "test")


def told(finding: "Finding") -> Iterator[str]:
    """The lines: the cause, its mechanism, the losses, what was seen and asked, what may help, and the price.

    >>> from thalweg.diagnosis import Cause, Finding
    >>> for line in told(Finding(Cause.OVERFITTING, "the model learns the training data by heart")):
    ...     print(line)
    OVERFITTING  The model fits the training data and fails on others of the same kind.
    The model learns the training data by heart.
    """
    yield f"{finding.cause}  {headline(finding)}"
    yield f"{capitalized(finding.mechanism)}."
    for name in LOSSES:
        if name in finding.losses:
            yield f"  {name:<11}{finding.losses[name]}"
    for seen in finding.shift.beside if finding.shift is not None else ():
        yield f"What moved besides: {seen}"
    if finding.stopped_at is not None:
        yield f"Where it stopped: {says_of(finding.stopped_at)}"
    if finding.mend:
        yield f"To mend it: {finding.mend}"
    for flaw in finding.flaws:
        if finding.mend != f"{flaw.mend}.":
            yield f"Seen, {str(flaw.sure).lower()}: {flaw.mechanism}. {flaw.says}."
            if flaw.sure is Sure.CERTAIN:
                yield f"  To mend it: {flaw.mend}."
    yield from map(str, finding.experiments)
    if finding.would_decide:
        yield f"What would decide it: {finding.would_decide}"
    if finding.remedies:
        yield f"Remedies to try: {'; '.join(remedy.name for remedy in finding.remedies)}"
    cost = finding.cost
    if cost.runs or cost.seconds:
        runs = counted(cost.runs, "run")
        yield f"Beside that training: {runs}, {cost.times:.1f} times its price, {cost.seconds:.1f} s."


def headline(finding: "Finding") -> str:
    """The cause in a sentence; of NONE with the faults that are certain and raise no loss above what the data allow.

    >>> from thalweg.diagnosis import Cause, Finding
    >>> headline(Finding(Cause.NONE, "")).startswith("Nothing stands out")
    True
    """
    faults = [flaw for flaw in finding.flaws if flaw.sure is Sure.CERTAIN and flaw.raises is not Raises.NONE_SEEN]
    if finding.cause is not Cause.NONE or not faults:
        return finding.cause.sentence
    named = "; ".join(dict.fromkeys(str(flaw.mechanism) for flaw in faults))
    some = "one certain fault that does" if len(faults) == 1 else f"{len(faults)} certain faults that do"
    return f"Nothing holds the losses back; {some} no harm yet: {named}."


def says_of(point: CriticalPoint) -> str:
    """Where the training stopped, in a sentence with its numbers."""
    norm = f"gradient {point.gradient_norm:.3g}, 0 up to {point.tolerance:.2g}"
    ends = f"eigenvalues from {point.smallest:.3g} to {point.largest:.3g}"
    return f"{point.kind.sentence} ({norm}; {ends}.)"
