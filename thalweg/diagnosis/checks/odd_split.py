"""Whether train is the odd one of the splits: a learner fitted to validation is asked of train.

A learner that is fitted to the examples of one split errs on others of its kind as often as out of fold on its own.
Where one that is fitted to validation does well there, and far worse on train, train holds something else. It is train
that was spoiled, and not validation that is of another kind, where train holds the kind of validation as well (a
learner fitted to train does as well on validation as out of fold on train itself), or tells less of its own targets
than the fewer examples of validation tell of theirs; and where test, if there is one, goes with validation.
Both sides are judged by a learner of as many examples, so that noise of train is not made up for by the size of train.
"""

import numpy as np

from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.another_kind import FEWEST, LEAST, SIGMAS, errors_of, fitted, numbers_of, out_of_fold
from thalweg.diagnosis.checks.data_rows import Rows
from thalweg.diagnosis.checks.opinions import Opinions, opinions
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.mechanism import Mechanism

KNOWS = 0.75
"""A learner that makes more than so much of a constant's errors on validation knows too little of it to judge train."""
HALFWAY = 0.5
"""Test goes with validation where it lies nearer to it than train does."""
CLOSE = 2.0
"""Deviations within which two shares of errors count as the same."""


def odd_train_of_classes(known: Opinions, judged: Rows, test: Rows | None = None) -> list[Flaw]:
    """Labels that a learner of another split contradicts: number, by how much more often than its own."""
    theirs = opinions(judged)
    if theirs is None or len(theirs.classes) != len(known.classes):
        return []
    wrong = (theirs.says_alone != theirs.y).astype(float)
    constant = 1 - np.bincount(theirs.y).max() / len(theirs.y)
    learner = np.asarray(theirs.learner.predict(known.x))
    asked = (theirs.classes[learner] != known.classes[known.y]).astype(float)
    back = (known.classes[known.asked(judged)[theirs.rows]] != theirs.classes[theirs.y]).astype(float)
    own = (known.says_alone != known.y).astype(float)
    third = None
    if test is not None and test.x is not None and test.classes and len(test.kept) >= FEWEST:
        third = (theirs.classes[theirs.asked(test)] != test.y).astype(float)
    if not _odd(asked, wrong, own, back, third, float(constant)):
        return []
    says = (
        f"{theirs.voices[0]} fitted to {judged.split} gets {1 - wrong.mean():.1%} of it right out of fold, and "
        f"{1 - asked.mean():.1%} of train"
    )
    return [_flaw(says, float(asked.mean() - wrong.mean()), third is not None)]


def odd_train_of_numbers(train: Rows, judged: Rows, test: Rows | None = None) -> list[Flaw]:
    """The same of numbers, by absolute errors in deviations of the targets of validation; number, in variances."""
    read = numbers_of(train, judged)
    if read is None:
        return []
    x, y, other, theirs = read
    deviation = np.maximum(theirs.std(0), 1e-12)
    learner, back = fitted(judged, other, theirs), fitted(train, x, y)
    said, own_said = learner.predict(x), out_of_fold(judged, other, theirs)
    wrong, asked = errors_of(own_said, theirs, deviation), errors_of(said, y, deviation)
    constant = errors_of(np.broadcast_to(np.median(theirs, 0), theirs.shape), theirs, deviation)
    own = errors_of(out_of_fold(train, x, y), y, deviation)
    third = None
    if test is not None and (more := numbers_of(train, test)) is not None:
        third = errors_of(learner.predict(more[2]), more[3], deviation)
    returned = errors_of(back.predict(other), theirs, deviation)
    if not _odd(asked, wrong, own, returned, third, float(constant.mean())):
        return []
    says = (
        f"trees fitted to {judged.split} err by {wrong.mean():.2g} deviations there out of fold, and by "
        f"{asked.mean():.2g} on train"
    )
    number = _squared(said, y, deviation) - _squared(own_said, theirs, deviation)
    return [_flaw(says, number, third is not None)]


def _squared(said: np.ndarray, y: np.ndarray, deviation: np.ndarray) -> float:
    """The mean squared error in variances, as natural errors are, with which this number is compared."""
    return float(np.square((said.reshape(y.shape) - y) / deviation).mean())


def _odd(
    asked: np.ndarray, wrong: np.ndarray, own: np.ndarray, back: np.ndarray, test: np.ndarray | None, constant: float
) -> bool:
    """Whether train is the odd one, by the errors of a learner of validation on train (`asked`), on its own (`wrong`)
    and on test, and those of a learner of train on its own (`own`) and on validation (`back`).
    """
    apart = asked.mean() - wrong.mean()
    if wrong.mean() > KNOWS * constant or apart < max(LEAST, SIGMAS * _chance(asked, wrong)):
        return False
    holds_both = back.mean() <= own.mean() + CLOSE * _chance(back, own)
    tells_less = own.mean() > wrong.mean() + CLOSE * _chance(own, wrong)
    if not (holds_both or tells_less):
        return False
    return test is None or bool(test.mean() - wrong.mean() < HALFWAY * apart)


def _chance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sqrt(first.var() / len(first) + second.var() / len(second) + 1 / len(second) ** 2))


def _flaw(says: str, number: float, with_test: bool) -> Flaw:
    others = "validation and test, which go together" if with_test else "validation"
    return Flaw(
        Cause.DATA,
        Mechanism.TRAIN_OF_ANOTHER_KIND_THAN_VALIDATION,
        f"{says[:1].upper()}{says[1:]}: inputs or targets of train, or of a part of it, were made otherwise than "
        f"those of {others}",
        number,
        "as many errors on both",
        "Look at the train examples that a learner of validation gets wrong: another source, unit, annotator or order "
        "of columns, wrong labels, augmentation that changes what the target says",
        "train examples of more kinds than validation on purpose",
        Sure.MEASURED,
        also=Cause.MISMATCH,
    )
