"""Planted faults and healthy programs that judge `thalweg.diagnose`; see `case` for what a case is."""

from diagnosis_cases import (
    bias,
    data,
    forum_bias,
    forum_data_faults,
    forum_mismatch,
    forum_optimization,
    forum_overfitting,
    forum_setups,
    forum_wiring,
    healthy,
    mismatch,
    optimization,
    overfitting,
    wiring_layers,
    wiring_loop,
)
from diagnosis_cases.case import CASES, SETUPS, Case, Setup, half

__all__ = [
    "CASES",
    "SETUPS",
    "Case",
    "Setup",
    "bias",
    "data",
    "forum_bias",
    "forum_data_faults",
    "forum_mismatch",
    "forum_optimization",
    "forum_overfitting",
    "forum_setups",
    "forum_wiring",
    "half",
    "healthy",
    "mismatch",
    "optimization",
    "overfitting",
    "wiring_layers",
    "wiring_loop",
]
