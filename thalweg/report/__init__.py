"""Reports: values in, pictures and pages out; nothing is trained or measured here."""

from thalweg.report.augmentation import draw_augmentation
from thalweg.report.compare import compare_runs
from thalweg.report.curves import curves_image, learning_curves
from thalweg.report.evidence import Evidence, read_evidence
from thalweg.report.page import write_report
from thalweg.report.wording import clean, interval, quantity, row_digits

__all__ = [
    "Evidence",
    "clean",
    "compare_runs",
    "curves_image",
    "draw_augmentation",
    "interval",
    "learning_curves",
    "quantity",
    "read_evidence",
    "row_digits",
    "write_report",
]
