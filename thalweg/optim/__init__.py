"""Optimizers, parameter groups and learning-rate schedules."""

from thalweg.optim.averaging import AVERAGES, EMA, SWA, Average, Checkpoints
from thalweg.optim.groups import Grouped
from thalweg.optim.optimizers import OPTIMIZERS, gradient_descent, momentum, optimizer_by_name
from thalweg.optim.schedule import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    InverseSquareRoot,
    PerStep,
    Schedule,
    StepDecay,
    WarmUp,
    per_step,
    schedule_by_name,
)

__all__ = [
    "AVERAGES",
    "EMA",
    "OPTIMIZERS",
    "SCHEDULES",
    "SWA",
    "Average",
    "Checkpoints",
    "Constant",
    "Cosine",
    "Exponential",
    "Grouped",
    "InverseSquareRoot",
    "PerStep",
    "Schedule",
    "StepDecay",
    "WarmUp",
    "gradient_descent",
    "momentum",
    "optimizer_by_name",
    "per_step",
    "schedule_by_name",
]
