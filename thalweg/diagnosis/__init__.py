"""Diagnosis: what holds a network back, found by experiments."""

from thalweg.diagnosis.broken_off import Interrupted
from thalweg.diagnosis.budget import Budget, Cost
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.finding import Arm, Experiment, Finding, Ranked, Score
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.plan import Planned, plan
from thalweg.diagnosis.stage import Progress, Stage
from thalweg.diagnosis.tree import find_cause
from thalweg.diagnosis.watching import watch

__all__ = [
    "Arm",
    "Budget",
    "Cause",
    "Cost",
    "Experiment",
    "Finding",
    "Floor",
    "Interrupted",
    "Planned",
    "Progress",
    "Ranked",
    "Score",
    "Stage",
    "find_cause",
    "plan",
    "watch",
]
