"""What learners of another kind say of the labels: probabilities of examples that they did not see.

Three learners, randomized trees (each example by the trees that were grown without it), logistic regression (of images:
over patches) and nearest neighbours (out of fold), and of these the mean of whichever come near the best in likelihood.
"""

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from thalweg.diagnosis.checks.data_rows import Rows, features
from thalweg.diagnosis.patches import PatchFeatures
from thalweg.diagnosis.references import PATCHES, Inputs, classifiers, out_of_fold

MOST_FITTED, LEAST_OF_CLASS, MOST_CLASSES = 3000, 5, 100
NEAR = 1.15
"""Learners whose mean negative log-likelihood is at most so many times the best's have a voice."""
TREES = 120
MOST_SPLIT = 4_000_000
"""Numbers that trees are grown on at most."""


KEPT: "WeakKeyDictionary[Rows, Opinions | None]" = WeakKeyDictionary()
"""What learners say of a split: more than one check asks for it."""


@dataclass(frozen=True, eq=False)
class Opinions:
    """The labels of some rows, as places among `classes`, and what learners say of each without having seen it.

    `rows` are places among the rows kept. `shares` is `(examples, classes)`.
    """

    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray
    classes: np.ndarray
    shares: np.ndarray
    voices: tuple[str, ...]
    shape: tuple[int, ...] = ()
    says_alone: np.ndarray = field(default_factory=lambda: np.zeros(0, int), repr=False)
    """The class that the first voice alone holds to be likeliest."""

    @property
    def says(self) -> np.ndarray:
        """The class that is held to be likeliest."""
        return self.shares.argmax(1)

    @property
    def accuracy(self) -> float:
        """The share of examples whose label is the class held to be likeliest."""
        return float((self.says == self.y).mean())

    @cached_property
    def learner(self) -> Any:
        """The learner that does best, fitted to all of these rows."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a learner need not be at its best
            return _build(self.voices[0], Inputs(self.x, self.shape)).fit(self.x, self.y)

    def asked(self, rows: Rows) -> np.ndarray:
        """The likeliest class, as a place among `classes`, of the rows of another split."""
        return np.asarray(self.learner.predict(features(rows)))


def opinions(rows: Rows) -> Opinions | None:
    """What learners say of the labels of a split; None where they cannot read it.

    >>> from thalweg.core.arrays import ArraySource
    >>> from thalweg.diagnosis.checks.data_rows import read_rows
    >>> y = torch.arange(60) % 2
    >>> source = ArraySource((torch.stack([2.0 * y, torch.zeros(60)], 1), y), None)
    >>> opinions(read_rows(source, "train")).accuracy
    1.0
    """
    if rows not in KEPT:
        KEPT[rows] = _opinions(rows)
    return KEPT[rows]


def _opinions(rows: Rows) -> Opinions | None:
    if rows.x is None or not rows.classes:
        return None
    chosen = np.flatnonzero(rows.y >= 0)
    names, counts = np.unique(rows.y[chosen], return_counts=True)
    names = names[counts >= LEAST_OF_CLASS]
    chosen = chosen[np.isin(rows.y[chosen], names)]
    chosen = chosen[:: max(1, -(-len(chosen) // MOST_FITTED))]
    if not 2 <= len(names) <= MOST_CLASSES or len(chosen) < 8 * len(names) or len(chosen) < 40:
        return None
    x, y = features(rows)[chosen], np.searchsorted(names, rows.y[chosen])
    if len(np.unique(y)) < len(names) or not np.ptp(x, axis=0).any():
        return None
    inputs = Inputs(x, rows.shape if rows.image else (x.shape[1],))
    linear = f"{PATCHES} and logistic regression" if rows.image else "logistic regression"
    said = {name: _said(name, inputs, y) for name in ("trees", linear, "nearest neighbours")}
    heard = {name: shares for name, shares in said.items() if shares is not None}
    if not heard:
        return None
    loss = {name: float(-np.log(shares[np.arange(len(y)), y]).mean()) for name, shares in heard.items()}
    best = min(loss.values())
    voices = tuple(sorted((name for name in heard if loss[name] <= NEAR * best), key=lambda name: loss[name]))
    shares = np.mean([heard[name] for name in voices], axis=0)
    return Opinions(x, y, chosen, names, shares, voices, inputs.shape, heard[voices[0]].argmax(1))


def _said(name: str, inputs: Inputs, y: np.ndarray) -> np.ndarray | None:
    if name == "trees":
        trees = _trees(inputs.rows, oob_score=True).fit(inputs.rows, y)
        shares = np.nan_to_num(trees.oob_decision_function_, nan=1 / len(trees.classes_))
        return 0.99 * shares + 0.01 / shares.shape[1]
    logarithms = out_of_fold(classifiers(inputs)[name], inputs.read_by(name), torch.from_numpy(y), seed=0)
    if logarithms is None or logarithms.shape[1] != y.max() + 1:
        return None
    shares = logarithms.double().exp().numpy()
    return shares / shares.sum(1, keepdims=True)


def _trees(x: np.ndarray, **settings: Any) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    count = int(np.clip(TREES * MOST_SPLIT / (x.size + 1) / 4, 40, TREES))
    return ExtraTreesClassifier(count, bootstrap=True, min_samples_leaf=2, random_state=0, n_jobs=1, **settings)


def _build(name: str, inputs: Inputs) -> Any:
    from sklearn.pipeline import make_pipeline

    if name == "trees":
        return _trees(inputs.rows)
    learner = classifiers(inputs)[name]()
    if not name.startswith(PATCHES):
        return learner
    return make_pipeline(PatchFeatures((inputs.shape[0], inputs.shape[1], inputs.shape[2])), learner)
