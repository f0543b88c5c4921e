"""Reports: values in, pictures and pages out; nothing is trained or measured here."""

from thalweg.report.augmentation import draw_augmentation
from thalweg.report.compare import compare_runs
from thalweg.report.curves import curves_image, learning_curves
from thalweg.report.evidence import Evidence, read_evidence
from thalweg.report.inside import feature_map_grid, filters_grid, maximizing_grid, occlusion_map, saliency_overlay
from thalweg.report.page import write_report
from thalweg.report.receptive_field import field_on_image
from thalweg.report.wording import clean, interval, quantity, row_digits

__all__ = [
    "Evidence",
    "clean",
    "compare_runs",
    "curves_image",
    "draw_augmentation",
    "feature_map_grid",
    "field_on_image",
    "filters_grid",
    "interval",
    "learning_curves",
    "maximizing_grid",
    "occlusion_map",
    "quantity",
    "read_evidence",
    "row_digits",
    "saliency_overlay",
    "write_report",
]
