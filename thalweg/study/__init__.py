"""Well-known claims as controlled experiments: each decided by an interval over seeds, and able to come out false."""

from thalweg.study.catalogue import STUDIES
from thalweg.study.running import run_study
from thalweg.study.verdict import Check, Study

__all__ = ["STUDIES", "Check", "Study", "run_study"]
