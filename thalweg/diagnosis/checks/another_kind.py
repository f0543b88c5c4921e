"""Whether a judged split is of another kind than train: a learner fitted to train is asked.

The learner errs on train examples that it did not see as often as on any others of their kind. Where it errs far more
often on a judged split, the two were made, measured or prepared otherwise, whatever a network makes of it.
"""

import warnings
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.columns import raised_by
from thalweg.diagnosis.checks.data_rows import Rows, features
from thalweg.diagnosis.checks.opinions import Opinions, opinions
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.mechanism import Mechanism

SIGMAS, LEAST, RATIO = 5.0, 0.1, 1.5
"""How far beyond chance, by how much of the answers, and of numbers by which factor the errors have to be more."""
FEWEST, MOST, FOLDS = 20, 2000, 4
KNOWS = 0.6
"""Trees that err by more deviations (a constant: about .8) know too little of the smaller split to compare."""


def other_kind_of_classes(known: Opinions, judged: Rows) -> list[Flaw]:
    """A learner of classes is wrong more often on a judged split than out of fold on train: number, the difference."""
    if judged.x is None or not judged.classes:
        return []
    at = np.flatnonzero(np.isin(judged.y, known.classes))
    if len(at) < FEWEST:
        return []
    there = float((known.classes[known.asked(judged)[at]] == judged.y[at]).mean())
    here = known.accuracy
    chance = np.sqrt(here * (1 - here) * (1 / len(at) + 1 / len(known.y)) + 1 / len(at) ** 2)
    if here - there < max(LEAST, SIGMAS * chance):
        return []
    says = (
        f"{known.voices[0]} fitted to train gets {there:.1%} of {judged.split} right, {here:.1%} of train out of fold"
    )
    return [_flaw(says, here - there, judged.split)]


def train_tells_less(known: Opinions, judged: Rows) -> list[Flaw]:
    """Out of fold on train a learner is wrong more often than out of fold on a smaller split: number, the difference.

    More examples of one kind tell more. Where they tell less, inputs or labels of train were spoiled: by augmentation,
    by wrong or exchanged labels.
    """
    theirs = opinions(judged) if len(judged.kept) <= len(known.y) else None
    if theirs is None or len(theirs.classes) != len(known.classes):
        return []
    here, there = known.accuracy, theirs.accuracy
    chance = np.sqrt(here * (1 - here) / len(known.y) + there * (1 - there) / len(theirs.y) + 1 / len(theirs.y) ** 2)
    if there - here < max(LEAST, SIGMAS * chance):
        return []
    says = (
        f"Of the {len(known.y):,} train examples a learner gets {here:.1%} right out of fold, of the "
        f"{len(theirs.y):,} of {judged.split} {there:.1%}"
    )
    return [_spoiled(says, there - here)]


def train_tells_less_of_numbers(train: Rows, judged: Rows) -> list[Flaw]:
    """The same of numbers: out of fold trees err more on train than on a smaller split; number, in deviations."""
    read = numbers_of(train, judged)
    if read is None or len(read[2]) > len(read[0]):
        return []
    x, y, other, theirs = read
    deviation = np.maximum(theirs.std(0), 1e-12)
    here, there = (
        errors_of(out_of_fold(rows, own, targets), targets, deviation)
        for rows, own, targets in ((train, x, y), (judged, other, theirs))
    )
    apart = here.mean() - there.mean()
    chance = np.sqrt(here.var() / len(here) + there.var() / len(there))
    if apart < max(SIGMAS * chance, (RATIO - 1) * there.mean(), LEAST) or there.mean() > KNOWS:
        return []
    says = (
        f"On the {len(x):,} train examples trees err by {here.mean():.2g} deviations out of fold, on the "
        f"{len(other):,} of {judged.split} by {there.mean():.2g}"
    )
    return [_spoiled(says, float(apart))]


def _spoiled(says: str, number: float) -> Flaw:
    return Flaw(
        Cause.DATA,
        Mechanism.TRAIN_TELLS_LESS_THAN_VALIDATION,
        f"{says}: the inputs or the targets of train are spoiled",
        number,
        "as much or more",
        "Look at train examples as they reach the network: augmentation that hides what matters, wrong targets",
        "train examples that are harder on purpose",
        Sure.MEASURED,
    )


def other_kind_of_numbers(train: Rows, judged: Rows) -> list[Flaw]:
    """The same of numbers, by absolute errors in deviations of the train targets: number, how many times as large."""
    read = numbers_of(train, judged)
    if read is None:
        return []
    x, y, other, theirs = read
    deviation = np.maximum(y.std(0), 1e-12)
    learner = fitted(train, x, y)
    here = errors_of(out_of_fold(train, x, y), y, deviation)
    there = errors_of(learner.predict(other), theirs, deviation)
    apart = there.mean() - here.mean()
    chance = np.sqrt(here.var() / len(here) + there.var() / len(there))
    if apart < max(SIGMAS * chance, (RATIO - 1) * here.mean(), LEAST):
        return []
    says = (
        f"trees fitted to train err by {there.mean():.2g} deviations on {judged.split}, by {here.mean():.2g} on train "
        "out of fold"
    )
    return [_flaw(says, float(there.mean() / here.mean()), judged.split)]


def numbers_of(train: Rows, judged: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Inputs and targets of some train examples, and of some judged ones; None where these are no numbers, or few."""
    if train.x is None or judged.x is None or train.targets is None or judged.targets is None or train.classes:
        return None
    x, other = features(train), features(judged)
    if min(len(x), len(other)) < FEWEST or x.shape[1] != other.shape[1]:
        return None
    step = -(-len(x) // MOST)
    theirs = judged.targets.reshape(len(judged.targets), -1)[judged.kept]
    x, y = x[::step], train.targets.reshape(len(train.targets), -1)[train.kept][::step]
    if y.shape[1] != theirs.shape[1] or not all(np.isfinite(part).all() for part in (x, y, other, theirs)):
        return None
    return x, y, other[:MOST], theirs[:MOST]


def fitted(rows: Rows, x: np.ndarray, y: np.ndarray) -> Any:
    """Trees fitted to these numbers of a split."""
    if rows not in FITTED:
        FITTED[rows] = _trees().fit(x, _targets(y))
    return FITTED[rows]


def _trees() -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(60, min_samples_leaf=2, random_state=0, n_jobs=1)


def _targets(y: np.ndarray) -> np.ndarray:
    return y.ravel() if y.shape[1] == 1 else y


SAID: WeakKeyDictionary[Rows, np.ndarray] = WeakKeyDictionary()
FITTED: WeakKeyDictionary[Rows, Any] = WeakKeyDictionary()
"""What trees say of the examples of a split out of fold, and trees fitted to it: more than one check asks for them."""


def out_of_fold(rows: Rows, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What trees say of each example of a split that did not see it."""
    from sklearn.model_selection import KFold, cross_val_predict

    if rows not in SAID:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            SAID[rows] = cross_val_predict(_trees(), x, _targets(y), cv=KFold(FOLDS, shuffle=True, random_state=0))
    return SAID[rows]


def errors_of(said: np.ndarray, y: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """The mean absolute error of each example, in deviations."""
    return np.abs((said.reshape(y.shape) - y) / deviation).mean(1)


def _flaw(says: str, number: float, split: str) -> Flaw:
    return Flaw(
        Cause.DATA,
        Mechanism(f"{split} of another kind than train"),
        f"{says[:1].upper()}{says[1:]}: the two are not made alike",
        number,
        "as many errors on both",
        f"Prepare {split} as train is prepared, or split again so that both hold all kinds (groups, times) of examples",
        "a split by group or time that is meant: then the model has to bear what changes",
        Sure.MEASURED,
        raised_by(split),
        also=Cause.OVERFITTING if split == "validation" else None,  # by groups, of which train has too few
    )
