"""A diagnosis that was broken off, by an interrupt or by the end of its time: the evidence so far, undecided."""

from thalweg.diagnosis.finding import Experiment, Finding
from thalweg.diagnosis.laboratory import CONTROL, Laboratory


class Interrupted(KeyboardInterrupt):
    """A diagnosis that was interrupted; `finding` holds its evidence so far, as UNDECIDED."""

    def __init__(self, finding: Finding) -> None:
        super().__init__("The diagnosis was interrupted.")
        self.finding = finding


def cut_short(lab: Laboratory) -> Finding:
    """What is known where the time was spent before anything was decided."""
    says = f"the time of {lab.budget.seconds:g} s was spent before the experiments decided"
    decides = f"A larger budget than {lab.budget.seconds:g} s."
    return so_far(lab, "Ended by the time budget").but(mechanism=says, would_decide=decides)


def so_far(lab: Laboratory, ended: str = "Interrupted") -> Finding:
    """What the arms of the questions asked so far show, undecided."""
    experiments = []
    for question, arms in lab.evidence.items():
        control = arms.get(CONTROL) or next(iter(arms.values()))
        others = [arm for arm in arms.values() if arm is not control]
        says = f"{ended} after {len(others)} of its arms."
        experiments.append(Experiment(question, "loss", control, tuple(others), "undecided", says))
    return lab.known_so_far.but(
        mechanism="it was interrupted before the experiments decided",
        experiments=tuple(experiments),
        would_decide="The rest of the experiments: diagnose it again.",
    )
