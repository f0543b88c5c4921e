"""Cases: recipes with a known illness."""

from thalweg.cases.catalogue import CASES, Case, get

__all__ = ["CASES", "Case", "get"]
