"""Reports: values in, pictures and pages out; nothing is trained or measured here."""

from thalweg.report.curves import curves_image, learning_curves

__all__ = ["curves_image", "learning_curves"]
