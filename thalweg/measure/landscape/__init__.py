"""Landscape: the error surface over lines, planes and steps, and the course of a training over it."""

from thalweg.measure.landscape.course import Course, critical_points
from thalweg.measure.landscape.filters import filter_normalized
from thalweg.measure.landscape.lines import Lines, along
from thalweg.measure.landscape.plane import Passage, Plane, plane
from thalweg.measure.landscape.smoothness import Smoothness, smoothness

__all__ = [
    "Course",
    "Lines",
    "Passage",
    "Plane",
    "Smoothness",
    "along",
    "critical_points",
    "filter_normalized",
    "plane",
    "smoothness",
]
