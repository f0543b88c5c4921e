"""Whether two sets of examples are of one kind: tests of their distributions, and the shares of classes."""

from thalweg.measure.shift.classifier import TwoSampleClassifier, classifier_two_sample
from thalweg.measure.shift.columns import KolmogorovSmirnov, kolmogorov_smirnov
from thalweg.measure.shift.kernel import Discrepancy, mmd
from thalweg.measure.shift.labels import LabelShift, label_shift

__all__ = [
    "Discrepancy",
    "KolmogorovSmirnov",
    "LabelShift",
    "TwoSampleClassifier",
    "classifier_two_sample",
    "kolmogorov_smirnov",
    "label_shift",
    "mmd",
]
