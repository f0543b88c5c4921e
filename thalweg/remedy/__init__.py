"""Remedies: the catalogue, the proof, and the circle of diagnosis and cure."""

from thalweg.remedy.catalogue import remedies_for
from thalweg.remedy.door import diagnose
from thalweg.remedy.improve import Improvement, improve, plan_of_improvement
from thalweg.remedy.proof import Proof
from thalweg.remedy.prove import Price, price_of_proof, prove
from thalweg.remedy.remedy import Remedy
from thalweg.remedy.round import Round

__all__ = [
    "Improvement",
    "Price",
    "Proof",
    "Remedy",
    "Round",
    "diagnose",
    "improve",
    "plan_of_improvement",
    "price_of_proof",
    "prove",
    "remedies_for",
]
