"""Splits that share what they should not: equal or nearly equal inputs, groups, a time that runs backwards.

Equal inputs are what few values give by chance. So the share of judged examples whose input is also in train is held
against the share of train examples whose input is once more in train, and against how many values the inputs take: only
where neither explains it is it said.
"""

import math
import shlex

import numpy as np

from thalweg.core.wording import counted
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.data_rows import Rows, features
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism

FEWEST, LEVEL = 3, 1e-4
"""So many shared examples at least, and how seldom chance may give as many."""
RICH = 4.0
"""Inputs are rich where their columns together tell so many times the bits apart that number the examples."""
NEAR = 0.05
"""Nearly equal: at this share of the usual distance between neighbours."""
MOST_ASKED, SHOWN = 1000, 3
LEAST_CONTRADICTED = 0.005


def shared_inputs(train: Rows, judged: Rows) -> list[Flaw]:
    """Inputs of a judged split that are in train: number, their share."""
    inside = np.isin(judged.hashes, train.hashes)
    count, share = int(inside.sum()), float(inside.mean())
    if count < FEWEST:
        return []
    _, which, sizes = np.unique(train.hashes, return_inverse=True, return_counts=True)
    usual = float((sizes[which] > 1).mean())
    rich = is_rich(train)
    if not (rich or _beyond(count, len(inside), max(usual, 1 / len(train.hashes)))):
        return []
    if not rich and share < 2 * usual:
        return []
    pairs = ", ".join(_twins(train, judged, at) for at in np.flatnonzero(inside)[:SHOWN].tolist())
    return [
        Flaw(
            Cause.DATA,
            Mechanism(f"train examples in {judged.split}"),
            f"{share:.1%} of the {judged.split} examples ({count:,} of {len(inside):,}) have an input that is in train "
            f"too (within train {usual:.1%} are repeated): {pairs}{train.numbered}",
            share,
            "0, or what few values give by chance",
            f"Take the copies out before splitting, or keep them on one side: the {judged.split} loss counts examples "
            "that were trained on",
            "inputs that repeat by nature and will do so in use",
            Sure.MEASURED,
            Raises.NONE_SEEN,
        )
    ]


def _twins(train: Rows, judged: Rows, at: int) -> str:
    own = int(np.flatnonzero(train.hashes == judged.hashes[at])[0])
    return f"{judged.called(at)} of {judged.split} is {train.called(own)} of train"


def is_rich(rows: Rows) -> bool:
    """Whether inputs take so many values that two equal ones are no chance.

    >>> import torch
    >>> from thalweg.core.arrays import ArraySource
    >>> from thalweg.diagnosis.checks.data_rows import read_rows
    >>> few = torch.randint(0, 2, (200, 3)).float()
    >>> is_rich(read_rows(ArraySource((few, torch.zeros(200)), None), "train"))
    False
    """
    if rows.x is None:
        return False
    _, first = np.unique(rows.hashes[rows.kept], return_index=True)
    x = rows.x[first]
    if len(x) < 10:
        return False
    bits, most = 0.0, 0
    for j in range(x.shape[1]):
        counts = np.unique(x[:, j], return_counts=True)[1]
        bits -= math.log2(float(((counts / len(x)) ** 2).sum()))
        most = max(most, len(counts))
    return (not rows.tokens and most > 0.5 * len(x) and most > 50) or bits > RICH * math.log2(len(rows.hashes) ** 2)


def _beyond(count: int, n: int, usual: float) -> bool:
    """Whether chance seldom gives so many of `n` where `usual` is the share."""
    from scipy.stats import binom

    return bool(binom.sf(count - 1, n, min(1.5 * usual, 1.0)) < LEVEL)


def nearly_shared(train: Rows, judged: Rows) -> list[Flaw]:
    """Inputs of a judged split that all but equal one in train: number, their share.

    Distances are of standardized columns (pixels: as they are), to the nearest neighbour in train; nearly equal is what
    lies within `NEAR` of the usual distance within train, and equal inputs are not counted here. Said where it is far
    more common than within train, for neighbours in a dense region are near by nature.
    """
    if train.x is None or judged.x is None or train.tokens or train.x.shape[1:] != judged.x.shape[1:]:
        return []
    if train.x.shape[1] < 2 or len(train.x) < 50 or not is_rich(train):
        return []
    x, asked = features(train), features(judged)
    equal = np.isin(judged.hashes[judged.kept], train.hashes)
    step = max(1, len(asked) // MOST_ASKED)
    chosen = np.flatnonzero(~equal)[::step]
    if not len(chosen):
        return []
    mean, scale = x.mean(0), x.std(0)
    varying = scale > 1e-12
    if train.image:
        scale = np.full_like(scale, x.std())
    x, asked = (x[:, varying] - mean[varying]) / scale[varying], (asked[:, varying] - mean[varying]) / scale[varying]
    own = np.arange(len(x))[:: max(1, len(x) // MOST_ASKED)]
    within, _ = _nearest(x[own], x, own)
    distance, twin = _nearest(asked[chosen], x, None)
    limit = NEAR * float(np.median(within))
    near = distance <= limit
    usual = float((within <= limit).mean())
    if (
        limit <= 0
        or near.sum() < FEWEST
        or near.mean() < 0.01
        or not _beyond(int(near.sum()), len(near), usual + 0.003)
    ):
        return []
    rows = np.flatnonzero(near)[:SHOWN]
    pairs = ", ".join(
        f"{judged.example(int(chosen[i]))} of {judged.split} is near {train.example(int(twin[i]))} of train"
        for i in rows
    )
    return [
        Flaw(
            Cause.DATA,
            Mechanism(f"train examples, hardly changed, in {judged.split}"),
            f"{near.mean():.1%} of the {judged.split} examples lie within {NEAR:.0%} of the usual distance from one in "
            f"train, {usual:.1%} of the train examples from another: {pairs}{train.numbered}",
            float(near.mean()),
            f"about {usual:.1%}",
            "Keep what comes from one original on one side of the split",
            "copies that will come in use as well",
            Sure.LIKELY,
            Raises.NONE_SEEN,
        )
    ]


def _nearest(asked: np.ndarray, among: np.ndarray, own: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The distance to the nearest row and its place; with `own` another than the row itself."""
    square = (asked**2).sum(1)[:, None] + (among**2).sum(1)[None] - 2 * asked @ among.T
    if own is not None:
        square[np.arange(len(own)), own] = np.inf
    nearest = square.argmin(1)
    return np.sqrt(((asked - among[nearest]) ** 2).sum(1)), nearest


def contradictions(rows: Rows) -> list[Flaw]:
    """Equal inputs with different labels inside train: number, the share that no model can get right.

    Silent where inputs take few values, for there equal inputs are no sign of a fault.
    """
    if not rows.classes or rows.targets is None or not is_rich(rows):
        return []
    labels = rows.targets
    order = np.lexsort((labels, rows.hashes))
    pairs = np.stack([rows.hashes[order].astype(np.uint64), labels[order].astype(np.uint64)], 1)
    kinds, counts = np.unique(pairs, axis=0, return_counts=True)
    _, which = np.unique(kinds[:, 0], return_inverse=True)
    total, most = np.bincount(which, counts), np.zeros(which.max() + 1)
    np.maximum.at(most, which, counts)
    lost = total - most
    share = float(lost.sum() / len(labels))
    if lost.sum() < FEWEST or share < LEAST_CONTRADICTED:
        return []
    worst = np.unique(kinds[:, 0])[np.argsort(-lost)[:SHOWN]]
    shown = "; ".join(_disagreement(rows, key) for key in worst)
    return [
        Flaw(
            Cause.DATA,
            Mechanism.EQUAL_INPUTS_WITH_DIFFERENT_LABELS,
            f"{share:.1%} of the train examples have the input of another with another label, so that no model gets "
            f"both right: {shown}{rows.numbered}",
            share,
            "0",
            "Look these examples up and correct or leave out one of each; or add the input that tells them apart",
            "labels that are drawn by chance for the same input (a rating, a coin)",
            Sure.MEASURED,
            Raises.TRAIN,
        )
    ]


def _disagreement(rows: Rows, key: np.uint64) -> str:
    assert rows.targets is not None
    at = np.flatnonzero(rows.hashes == key)
    other = at[np.flatnonzero(rows.targets[at] != rows.targets[at[0]])[0]]
    first, second = (rows.label(rows.targets[place]) for place in (at[0], other))
    return f"{rows.called(int(at[0]))} is class {first} and {rows.called(int(other))} class {second}"


def shared_groups(train: Rows, judged: Rows, test: Rows | None = None) -> list[Flaw]:
    """Groups (a speaker, a patient) that are on both sides: number, the share of judged examples that are of one.

    Where all groups of test are new, nobody mixed them up: validation alone tells less than test, and that is said.
    """
    ours, theirs = train.known.get("group"), judged.known.get("group")
    if ours is None or theirs is None:
        return []
    both = np.isin(theirs, ours)
    if not both.any():
        return []
    names = np.unique(theirs[both])
    called = train.group_name
    count = counted(len(names), "group") + ("" if called is None else f" of '{called}'")
    says = (
        f"{both.mean():.1%} of the {judged.split} examples belong to a group that is in train too ({count}, such as "
        f"{', '.join(map(repr, names[:SHOWN].tolist()))})"
    )
    mend = "Split by group, so that a model is judged on groups that it never met"
    if _tests_new(ours, judged, test):
        says += (
            ", while every group of test is new: the validation loss is of groups that the model knows, so it flatters "
            "beside that of test, and it chooses the epoch"
        )
        setting = "" if called is None else f" (--set {shlex.quote(f'data.group={called}')})"
        mend = f"Where new groups count, hold whole groups out for validation too{setting}; test stays as it is"
    return [
        Flaw(
            Cause.DATA,
            Mechanism(f"groups of train in {judged.split}"),
            says,
            float(both.mean()),
            "0",
            mend,
            "a model that will only ever meet these groups",
            Sure.CERTAIN,
            Raises.NONE_SEEN,
        )
    ]


def _tests_new(ours: np.ndarray, judged: Rows, test: Rows | None) -> bool:
    """Whether validation is judged, and test holds none of the groups of train."""
    theirs = None if test is None else test.known.get("group")
    return judged.split == "validation" and theirs is not None and not np.isin(theirs, ours).any()


def time_backwards(train: Rows, judged: Rows) -> list[Flaw]:
    """Train examples from after the judged ones: number, the share later than the middle of the judged ones."""
    ours, theirs = train.known.get("time"), judged.known.get("time")
    if ours is None or theirs is None:
        return []
    rank = np.unique(np.concatenate([ours, theirs]), return_inverse=True)[1]
    ours, theirs = rank[: len(ours)], rank[len(ours) :]
    later = float((ours > np.median(theirs)).mean())
    if later < 0.05:
        return []
    return [
        Flaw(
            Cause.DATA,
            Mechanism(f"train is later than {judged.split}"),
            f"{later:.1%} of the train examples are later than the middle one of {judged.split}, so that the future is "
            "trained on and the past predicted",
            later,
            "0",
            "Split by time: train on the earliest, judge on the latest",
            "examples whose time does not matter",
            Sure.CERTAIN,
            Raises.NONE_SEEN,
        )
    ]
