"""Thresholds: from which score on an example of two classes is said to be of the second.

A network is trained for shares, by its loss; what is decided by them is a matter of what errors cost, and is chosen
afterwards, on validation examples. It changes no loss, only decisions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError

KINDS = ("balanced_accuracy", "f1", "accuracy")


@dataclass(frozen=True)
class Threshold:
    """Examples whose score is above `at` are said to be of the second class; `value` is what that reaches.

    `plain` is what half, `usual`, reaches on the same examples: those by which the threshold was chosen flatter it.

    >>> Threshold(at=0.2, value=0.9, usual=0.5, plain=0.7, by="f1").gain
    0.2
    """

    at: float
    value: float
    usual: float
    plain: float
    by: str

    @property
    def gain(self) -> float:
        """How much more it reaches than the usual threshold."""
        return round(self.value - self.plain, 12)


@no_type_check
def best_threshold(scores: Any, labels: Any, by: str = "balanced_accuracy", usual: float = 0.5) -> Threshold:
    """The threshold of scores `(examples,)` that is best on these examples, of labels 0 and 1.

    `by` is "balanced_accuracy" (the mean of the shares of both classes that are found), "f1" or "accuracy". `usual` is
    the threshold without a choice: 0.5 of probabilities, 0 of logits. Half way between two scores, the nearest to the
    usual one of equally good ones.

    >>> found = best_threshold([0.1, 0.2, 0.3, 0.4, 0.35], [0, 0, 0, 1, 1])
    >>> round(found.at, 3), found.value, found.plain
    (0.325, 1.0, 0.5)

    Raises `DataError` for scores and labels of other shapes, not finite, or of one class.
    """
    if by not in KINDS:
        raise DataError(f"by={by!r}, but a threshold is chosen by one of {', '.join(KINDS)}.")
    score, label = (_flat(values) for values in (scores, labels))
    if score.shape != label.shape or not np.isfinite(score).all():
        raise DataError(
            f"A threshold is chosen by one finite score and one label for each example, but there are {score.shape} "
            f"scores and {label.shape} labels. Give the probability of the second class alone."
        )
    if set(np.unique(label).tolist()) != {0.0, 1.0}:
        raise DataError(f"The labels are {np.unique(label).tolist()[:5]}, but both 0 and 1 have to be among them.")
    values = np.unique(score)
    edges = np.array([values[0] - 1.0, values[-1] + 1.0])
    candidates = np.concatenate([(values[1:] + values[:-1]) / 2, edges])
    order = np.argsort(score, kind="stable")
    positives = label[order]
    below = np.searchsorted(score[order], candidates, side="right")
    missed = np.concatenate([[0.0], np.cumsum(positives)])[below]
    reached = _measured(by, below - missed, missed, label)
    nearest = np.lexsort((np.abs(candidates - usual), -reached))[0]
    below_usual = np.searchsorted(score[order], [usual], side="right")
    missed_usual = np.concatenate([[0.0], np.cumsum(positives)])[below_usual]
    plain = _measured(by, below_usual - missed_usual, missed_usual, label)
    if plain[0] >= reached[nearest]:
        return Threshold(usual, float(plain[0]), usual, float(plain[0]), by)
    return Threshold(float(candidates[nearest]), float(reached[nearest]), usual, float(plain[0]), by)


def _flat(values: Any) -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    return array.astype(float).reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array.astype(float)


def _measured(by: str, rejected: np.ndarray, missed: np.ndarray, label: np.ndarray) -> np.ndarray:
    """What thresholds reach, below which are so many examples of class 0 and so many of class 1."""
    ones = float(label.sum())
    zeros = len(label) - ones
    found = ones - missed
    if by == "balanced_accuracy":
        return np.asarray((rejected / zeros + found / ones) / 2)
    if by == "accuracy":
        return np.asarray((rejected + found) / len(label))
    return np.asarray(2 * found / (2 * found + (zeros - rejected) + missed))
