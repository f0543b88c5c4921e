"""Measures: numbers of a model at a point; nothing trains here."""

from thalweg.measure.calibration import (
    Reliability,
    advised_temperature,
    expected_calibration_error,
    reliability,
    temperature,
)
from thalweg.measure.curvature import (
    Certainty,
    CriticalPoint,
    Density,
    Extremes,
    Kind,
    Trace,
    critical_point,
    extreme_eigenvalues,
    hessian,
    hessian_trace,
    spectral_density,
)
from thalweg.measure.field.support import EffectiveField, effective_field, gradient_support
from thalweg.measure.gradient import gradient_norm
from thalweg.measure.inside import Maximized, feature_maps, first_layer_filters, maximize, occlusion, saliency
from thalweg.measure.metrics import METRICS, Metric, accuracy, auc, balanced_accuracy, f1, mae, r2, rmse
from thalweg.measure.receptive_field import LayerField, ReceptiveField, receptive_field

__all__ = [
    "METRICS",
    "Certainty",
    "CriticalPoint",
    "Density",
    "EffectiveField",
    "Extremes",
    "Kind",
    "LayerField",
    "Maximized",
    "Metric",
    "ReceptiveField",
    "Reliability",
    "Trace",
    "accuracy",
    "advised_temperature",
    "auc",
    "balanced_accuracy",
    "critical_point",
    "effective_field",
    "expected_calibration_error",
    "extreme_eigenvalues",
    "f1",
    "feature_maps",
    "first_layer_filters",
    "gradient_norm",
    "gradient_support",
    "hessian",
    "hessian_trace",
    "mae",
    "maximize",
    "occlusion",
    "r2",
    "receptive_field",
    "reliability",
    "rmse",
    "saliency",
    "spectral_density",
    "temperature",
]
