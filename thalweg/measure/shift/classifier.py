r"""The classifier two-sample test: whether a classifier can tell which of two samples an unseen row belongs to.

If both are of one kind it is right half of the time, whatever it was fitted to (Lopez-Paz & Oquab, "Revisiting
Classifier Two-Sample Tests", 2017). The classifier here is a ridge regression of the labels on the columns and their
squares, which sees locations and spreads. What it says of a row that it was not fitted to has a closed form: with
$H = K (K + \lambda I)^{-1}$ for the rows' products K,

$$ \hat f_{-i} = \frac{(H y)_i - H_{ii} \, y_i}{1 - H_{ii}}, $$

so that the p-value can be what a cross-validated one seldom is, exact: every random labeling is fitted anew.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.measure.shift.samples import labelings, permutation_p, standardized, two_samples

PERMUTATIONS = 199
MOST = 500
"""Rows of each sample; the matrix that is inverted has a row for each."""
RIDGE = 0.1
"""The ridge, as a share of the mean squared length of a row."""


@dataclass(frozen=True)
class TwoSampleClassifier:
    """The balanced accuracy on rows that it was not fitted to, and the permutation p-value."""

    accuracy: float
    p: float


@no_type_check
def classifier_two_sample(
    first: Any, second: Any, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> TwoSampleClassifier:
    """How often a classifier tells samples `(rows, columns)` apart, leaving one row out, and whether by chance.

    The accuracy is the mean of both samples' own, .5 where nothing tells them apart. The p-value is the share of random
    labelings, each fitted anew, with an accuracy as high. Of more than 500 rows a side every n-th is taken. Raises
    `DataError` for samples that do not agree, `RecipeError` for fewer than 19 permutations.

    >>> random = np.random.default_rng(0)
    >>> same, moved = random.normal(0, 1, (2, 80, 3)), random.normal(1, 1, (80, 3))
    >>> classifier_two_sample(*same).p > 0.05, classifier_two_sample(same[0], moved)
    (True, TwoSampleClassifier(accuracy=0.78..., p=0.005))
    """
    if permutations < 19:
        raise RecipeError(
            f"classifier_two_sample: permutations={permutations!r} cannot reach p = .05. Give 19 or more, such as 199."
        )
    one, other = two_samples(first, second, "classifier_two_sample", MOST)
    n, m = len(one), len(other)
    columns = standardized(one, other)
    squares = np.square(columns)
    columns = np.concatenate([columns, standardized(squares[:n], squares[n:])], 1)
    labels = labelings(n, m, permutations, seed).T
    says = _left_out(columns, labels - n / (n + m))
    right = np.where(labels == 1, says > 0, says < 0) + 0.5 * (says == 0)
    accuracy = ((right * labels).sum(0) / n + (right * (1 - labels)).sum(0) / m) / 2
    return TwoSampleClassifier(float(accuracy[0]), permutation_p(accuracy))


def _left_out(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What ridge regressions of the columns of `y` on `x` say of each row when fitted to the others."""
    products = x @ x.T
    ridge = RIDGE * max(float(np.trace(products)) / len(x), 1e-12)
    hat = np.linalg.solve(products + ridge * np.eye(len(x)), products)
    own = np.diagonal(hat)[:, None]
    return np.asarray((hat @ y - own * y) / (1 - own))
