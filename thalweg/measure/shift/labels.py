r"""Label shift: how the shares of the classes differ between two sets, told without the labels of the second.

Where only the shares moved and each class looks as it did, the shares $\mu$ of the predicted classes on the second set
follow from the joint shares $C_{ij}$ of predicting i where the class is j on the first one:

$$ w = C^{-1} \mu, \qquad w_j = q(y = j) / p(y = j) $$

(black box shift estimation: Lipton, Wang & Smola, "Detecting and Correcting for Label Shift with Black Box Predictors",
2018, equation 3). A classifier that confuses its classes has a C that all but has no inverse.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError

DRAWS = 400
WORST = 30.0
"""The largest condition number of the confusion, each class's shares of predictions, that can be relied on."""


@dataclass(frozen=True, eq=False)
class LabelShift:
    """The weight of each class with its 95 % interval, the shares in both sets, and the condition of the confusion."""

    weights: np.ndarray
    low: np.ndarray
    high: np.ndarray
    before: np.ndarray
    condition: float

    @property
    def after(self) -> np.ndarray:
        """The estimated shares of the classes in the second set."""
        shares = self.weights * self.before
        return np.asarray(shares / shares.sum())

    @property
    def moved(self) -> np.ndarray:
        """The classes whose interval does not hold 1."""
        return np.flatnonzero((self.low > 1) | (self.high < 1))


@no_type_check
def label_shift(predicted: Any, labels: Any, predicted_there: Any, classes: int, *, seed: int = 0) -> LabelShift:
    """The weight of each class, its share in a second set over that in the first, by what a classifier says of both.

    `predicted` and `labels` are class numbers of the first set, held out from training, `predicted_there` what is
    predicted for the second; all `(examples,)`. Weights below 0 are 0. Intervals resample both sets. Raises `DataError`
    for class numbers outside of `classes`, a class without examples, and a classifier that confuses its classes so that
    the confusion's condition number is beyond 30.

    >>> labels = np.repeat([0, 1], 50)
    >>> found = label_shift(labels, labels, np.repeat([0, 1], [20, 80]), 2)  # a classifier that is always right
    >>> found.weights.round(3).tolist(), found.after.round(3).tolist(), found.moved.tolist()
    ([0.4, 1.6], [0.2, 0.8], [0, 1])
    """
    said, true, there = (_class_numbers(part, classes) for part in (predicted, labels, predicted_there))
    if len(said) != len(true):
        raise DataError(
            f"label_shift was given {len(said)} predictions and {len(true)} labels. Give one label for each."
        )
    joint = np.bincount(said * classes + true, minlength=classes**2) / len(true)
    mu = np.bincount(there, minlength=classes) / len(there)
    before = joint.reshape(classes, classes).sum(0)
    if not before.all():
        absent = int(np.flatnonzero(before == 0)[0])
        raise DataError(f"label_shift: class {absent} has no example in the first set. Leave it out of both sets.")
    condition = float(np.linalg.cond(joint.reshape(classes, classes) / before))
    if not condition <= WORST:
        raise DataError(
            f"label_shift: the classifier confuses its classes (condition number {condition:.3g}, at most {WORST:g}), "
            "so that its predictions do not tell their shares. Count the labels of some examples of the second set."
        )
    random = np.random.default_rng(seed)
    draws = _weights(
        random.multinomial(len(true), joint, DRAWS) / len(true), random.multinomial(len(there), mu, DRAWS) / len(there)
    )
    low, high = np.nanquantile(draws, [0.025, 0.975], axis=0)
    return LabelShift(_weights(joint[None], mu[None])[0], low, high, before, condition)


def _weights(joint: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """C^-1 mu of each draw, none below 0; NaN where a draw leaves no inverse."""
    classes = mu.shape[1]
    c = joint.reshape(-1, classes, classes)
    sound = np.linalg.cond(c) < 1e12
    found = np.full(mu.shape, np.nan)
    found[sound] = np.maximum(np.linalg.solve(c[sound], mu[sound][:, :, None])[:, :, 0], 0.0)
    return found


def _class_numbers(values: Any, classes: int) -> np.ndarray:
    numbers = np.asarray(values)
    if numbers.ndim != 1 or not len(numbers) or numbers.dtype.kind not in "iu":
        raise DataError(
            f"label_shift was given {numbers.dtype} of {numbers.shape}, but it takes class numbers (examples,). Give "
            "for instance logits.argmax(1)."
        )
    if numbers.min() < 0 or numbers.max() >= classes:
        raise DataError(
            f"label_shift: class numbers go from {numbers.min()} to {numbers.max()}, but there are {classes} classes. "
            "Give as many classes as there are, counted from 0."
        )
    return numbers.astype(np.int64)
