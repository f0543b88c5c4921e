"""Reports: values in, pictures and pages out; nothing is trained or measured here."""

from thalweg.report.augmentation import draw_augmentation
from thalweg.report.compare import compare_runs
from thalweg.report.course import course_by_epoch, ratio_against_gradient, smoothness_bands
from thalweg.report.curves import curves_image, learning_curves
from thalweg.report.error_surface import landscape_section
from thalweg.report.evidence import Evidence, read_evidence
from thalweg.report.inside import feature_map_grid, filters_grid, maximizing_grid, occlusion_map, saliency_overlay
from thalweg.report.landscape import loss_along, loss_plane, spectrum
from thalweg.report.page import write_report
from thalweg.report.receptive_field import field_on_image
from thalweg.report.wording import clean, interval, quantity, row_digits

__all__ = [
    "Evidence",
    "clean",
    "compare_runs",
    "course_by_epoch",
    "curves_image",
    "draw_augmentation",
    "feature_map_grid",
    "field_on_image",
    "filters_grid",
    "interval",
    "landscape_section",
    "learning_curves",
    "loss_along",
    "loss_plane",
    "maximizing_grid",
    "occlusion_map",
    "quantity",
    "ratio_against_gradient",
    "read_evidence",
    "row_digits",
    "saliency_overlay",
    "smoothness_bands",
    "spectrum",
    "write_report",
]
