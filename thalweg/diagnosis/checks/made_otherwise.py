"""Targets of a split that were made otherwise than those of train: they are distributed otherwise, the inputs are not.

What one rule makes of inputs of one kind is of one kind. Where tests tell the targets of two splits apart and cannot
tell the inputs apart, the rule is another: labels forgotten, sums over another time, another unit, another annotator.
Another share of the classes shows in the inputs too, wherever these tell enough of the classes. Whether they do is
asked of train examples, drawn to have the targets of the other split.
"""

from collections.abc import Iterator
from itertools import repeat

import numpy as np

from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.columns import raised_by
from thalweg.diagnosis.checks.data_rows import Rows, features
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.measure.shift import classifier_two_sample, kolmogorov_smirnov

FEWEST, MOST = 60, 1000
SURELY, APART, ALIKE = 1e-5, 0.12, 0.05
"""The chance of such targets by one rule, how far their distributions are apart at least (of 1), and the chance from
which on inputs count as alike."""
DRAWS = 5
"""Train examples with the other targets have to be told from the rest so many times of as many."""


def targets_made_otherwise(train: Rows, judged: Rows) -> list[Flaw]:
    """Targets distributed otherwise over inputs that are alike: number, the distance of the two distributions."""
    if train.x is None or judged.x is None or train.targets is None or judged.targets is None:
        return []
    if train.classes != judged.classes or min(len(train.kept), len(judged.kept)) < FEWEST:
        return []

    distance, p, says, column = max(_apart(train, judged), default=(0.0, 1.0, "", 0))
    if distance < APART or p > SURELY or not _inputs_alike(features(train), features(judged)):
        return []
    if not _would_show(train, judged, column):
        return []  # inputs that tell so little of the targets look alike whatever these are
    return [
        Flaw(
            Cause.DATA,
            Mechanism(f"{judged.split} targets made otherwise"),
            f"{says}, with inputs that no test tells apart: the targets of one of the two were made otherwise",
            distance,
            f"distributions nearer than {APART:g}",
            "Look how the targets of both splits came about: missing ones read as 0, another unit, sum or annotator",
            "inputs of the two splits that differ as well",
            Sure.MEASURED,
            raised_by(judged.split),
        )
    ]


def _apart(train: Rows, judged: Rows) -> Iterator[tuple[float, float, str, int]]:
    """For each target the distance of its distributions, its chance under one rule, what is seen, and its number."""
    ours, theirs = train.y, judged.y
    if train.classes:
        names = np.union1d(ours, theirs)
        counts = np.array([[np.sum(own == name) for name in names] for own in (ours, theirs)], dtype=float)
        shares = counts / counts.sum(1, keepdims=True)
        most = int(np.abs(shares[0] - shares[1]).argmax())
        yield (
            float(np.abs(shares[0] - shares[1]).sum() / 2),
            _chi_squared(counts),
            f"Class {train.label(names[most])} is {shares[0][most]:.0%} of train and {shares[1][most]:.0%} of "
            f"{judged.split}",
            0,
        )
        return
    first, second = (own.reshape(len(own), -1) for own in (ours, theirs))
    if first.shape[1] != second.shape[1] or not all(np.isfinite(own).all() for own in (first, second)):
        return
    tested = kolmogorov_smirnov(first, second)
    for column in range(first.shape[1]):
        own, other = first[:, column].mean(), second[:, column].mean()
        name = f"Target {column} is" if first.shape[1] > 1 else "The target is"
        says = f"{name} {own:.3g} in train and {other:.3g} in {judged.split} on average"
        yield float(tested.distance[column]), float(tested.p[column]), says, column


def _chi_squared(counts: np.ndarray) -> float:
    from scipy.stats import chi2_contingency

    return float(chi2_contingency(counts[:, counts.sum(0) > 0]).pvalue) if counts.shape[1] > 1 else 1.0


def _would_show(train: Rows, judged: Rows, column: int) -> bool:
    """Whether train examples that have the targets of the other split differ in their inputs from the other ones."""
    x, random = features(train), np.random.default_rng(0)
    ours, theirs = (own.reshape(len(own), -1)[:, column] for own in (train.y, judged.y))
    return not any(_inputs_alike(*_redrawn(x, ours, theirs, random)) for _ in repeat(None, DRAWS))


def _redrawn(
    x: np.ndarray, ours: np.ndarray, theirs: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A half of the inputs, and of the other half those of targets like `theirs`, or the nearest to them."""
    order = random.permutation(len(x))
    rest, pool = order[: len(x) // 2], order[len(x) // 2 :]
    pool = pool[np.argsort(ours[pool], kind="stable")]  # equal targets stay in random order
    wanted = random.permutation(theirs)[: len(pool)]
    first, last = (np.searchsorted(ours[pool], wanted, side) for side in ("left", "right"))
    return x[rest], x[pool[np.minimum(random.integers(first, np.maximum(last, first + 1)), len(pool) - 1)]]


def _inputs_alike(x: np.ndarray, other: np.ndarray) -> bool:
    """Whether neither a test of each column nor a classifier tells two sets of inputs apart."""
    if x.shape[1] != other.shape[1]:
        return False
    x, other = (own[:: -(-len(own) // MOST)] for own in (x, other))
    varying = (x.std(0) > 0) | (other.std(0) > 0)
    if not varying.any():
        return False
    x, other = x[:, varying], other[:, varying]
    if kolmogorov_smirnov(x, other).least < ALIKE:
        return False
    return classifier_two_sample(x, other).p > ALIKE
