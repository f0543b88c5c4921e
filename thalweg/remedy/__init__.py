"""Remedies: the catalogue, the proof, and the circle of diagnosis and cure."""

from thalweg.remedy.catalogue import remedies_for
from thalweg.remedy.door import diagnose
from thalweg.remedy.improve import Improvement, Round, improve, plan_of_improvement
from thalweg.remedy.proof import Proof, prove
from thalweg.remedy.remedy import Remedy

__all__ = [
    "Improvement",
    "Proof",
    "Remedy",
    "Round",
    "diagnose",
    "improve",
    "plan_of_improvement",
    "prove",
    "remedies_for",
]
