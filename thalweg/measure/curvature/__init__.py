"""Curvature: the error surface around a point, from its second derivatives."""

from thalweg.measure.curvature.density import Density
from thalweg.measure.curvature.escaping import Escape, escape
from thalweg.measure.curvature.finding import Approach, find_critical_point
from thalweg.measure.curvature.kinds import Certainty, Kind
from thalweg.measure.curvature.point import CriticalPoint
from thalweg.measure.curvature.spectrum import (
    Extremes,
    extreme_eigenvalues,
    hessian,
    hessian_trace,
    spectral_density,
)
from thalweg.measure.curvature.trace import Trace
from thalweg.measure.curvature.verdict import critical_point

__all__ = [
    "Approach",
    "Certainty",
    "CriticalPoint",
    "Density",
    "Escape",
    "Extremes",
    "Kind",
    "Trace",
    "critical_point",
    "escape",
    "extreme_eigenvalues",
    "find_critical_point",
    "hessian",
    "hessian_trace",
    "spectral_density",
]
