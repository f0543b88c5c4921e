"""Diagnosis: what holds a network back, found by experiments."""

from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.finding import Arm, Cost, Experiment, Finding, Ranked, Score
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.tree import find_cause, plan

__all__ = ["Arm", "Cause", "Cost", "Experiment", "Finding", "Floor", "Ranked", "Score", "find_cause", "plan"]
