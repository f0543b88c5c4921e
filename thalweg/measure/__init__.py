"""Measures: numbers of a model at a point; nothing trains here."""

from thalweg.measure.calibration import (
    Reliability,
    advised_temperature,
    expected_calibration_error,
    reliability,
    temperature,
)
from thalweg.measure.gradient import gradient_norm
from thalweg.measure.metrics import METRICS, Metric, accuracy, auc, balanced_accuracy, f1, mae, r2, rmse

__all__ = [
    "METRICS",
    "Metric",
    "Reliability",
    "accuracy",
    "advised_temperature",
    "auc",
    "balanced_accuracy",
    "expected_calibration_error",
    "f1",
    "gradient_norm",
    "mae",
    "r2",
    "reliability",
    "rmse",
    "temperature",
]
