"""Folds: which examples are trained on, and which only judge, dealt out like cards.

The examples, sorted by class and shuffled within each, are dealt to the parts in turn, so that every part holds every
class in its share. Where examples come in groups (a speaker, a patient), whole groups are dealt; where they have a
time, the parts are the blocks of its order. A class that has a single member, or all of them in one group, never
leaves the training examples: judging on what was never trained on measures nothing.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Num, Shaped

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import notice
from thalweg.core.randomness import stream_seed
from thalweg.core.source import Described, Indexed

Ids = Int[np.ndarray, " _example"]
TRAIN_ALWAYS = -1


def folds(source: Indexed, k: int = 5, seed: int = 0) -> list[tuple[Ids, Ids]]:
    """`k` pairs (train ids, validation ids) of a source: by its groups or its time where it knows them, else by class.

    By class or group every example is in one validation set, but for classes of one member. By time there are `k` + 1
    blocks, and block i is judged after training on all before it.

    >>> import torch
    >>> from thalweg.core.arrays import ArraySource
    >>> [validation.tolist() for train, validation in folds(ArraySource(torch.arange(7), None), 3)]
    [[1, 3, 4], [2, 6], [0, 5]]

    Raises `RecipeError` for fewer than two folds, `DataError` where there are too few examples, groups or times.
    """
    if k < 2:
        raise RecipeError(f"folds={k}: cross-validation needs at least 2 folds, each judged by training on the others.")
    known = described(source)
    label, time = known.get("label"), known.get("time")
    if time is not None:
        pairs = _by_time(np.asarray(time), k)
    else:
        part = _parts(len(source), label, known.get("group"), k, seed)
        pairs = [(np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in range(k)]
    for number, (train, validation) in enumerate(pairs, 1):
        check_seen(label, train, validation, f"the validation examples of fold {number} of {k}")
    return pairs


def described(source: Indexed) -> dict[str, Shaped[np.ndarray, " example"]]:
    """What a source knows of its examples ("label", "group", "time"), one array each; {} where nothing."""
    if not isinstance(source, Described):
        return {}
    given = source.meta(np.arange(len(source))).items()
    known = {name: np.asarray(value) for name, value in given if value is not None}
    for name, value in known.items():
        if len(value) != len(source):
            raise DataError(
                f"{type(source).__name__}.meta gave {len(value)} values of '{name}' for {len(source)} examples. Give "
                "one for each of the ids that it is asked about."
            )
    return known


def sorted_by_class(label: Shaped[np.ndarray, " example"] | None, order: Ids) -> Ids:
    """A shuffled order of examples, sorted by class: what is dealt out in turn is then dealt out class by class."""
    return order if label is None else order[np.argsort(label[order], kind="stable")]


def deal_groups(
    group: Shaped[np.ndarray, " example"],
    label: Shaped[np.ndarray, " example"] | None,
    shares: Sequence[float],
    seed: int,
) -> Int[np.ndarray, " example"]:
    r"""The part of each example when whole groups are dealt: large ones first, each to the part that lacks most of it.

    With $h_g$ the count of each class in group $g$ and $d_p$ what part $p$ still lacks, $g$ goes to the $p$ of largest
    $h_g \cdot d_p$.

    >>> deal_groups(np.array(["a", "a", "b", "c"]), None, (0.5, 0.5), seed=0).tolist()
    [0, 0, 1, 1]
    """
    which, member = np.unique(group, return_inverse=True)
    classes = np.zeros(len(group), dtype=np.int64) if label is None else np.unique(label, return_inverse=True)[1]
    counts = np.zeros((len(which), classes.max() + 1))
    np.add.at(counts, (member, classes), 1)
    random = np.random.default_rng(stream_seed(seed, "groups"))
    order = np.argsort(-counts.sum(1) * random.uniform(0.7, 1.0, len(which)))
    lacking = np.outer(shares, counts.sum(0))
    part = np.zeros(len(which), dtype=np.int64)
    for g in order:
        part[g] = np.argmax(lacking @ counts[g])
        lacking[part[g]] -= counts[g]
    return _none_empty(part, counts.sum(1), len(shares))[member]


def check_seen(label: Shaped[np.ndarray, " example"] | None, train: Ids, judged: Ids, where: str) -> None:
    """Refuse a class that is judged but never trained on."""
    if label is None:
        return
    unseen = np.setdiff1d(label[judged], label[train])
    if len(unseen) == 0:
        return
    counted = ", ".join(f"{name!r} ({(label[judged] == name).sum()} of them)" for name in unseen[:5].tolist())
    more = f" and {len(unseen) - 5} more classes" if len(unseen) > 5 else ""
    raise DataError(
        f"Class {counted}{more} appears only in {where}, so no model can learn it. Every class needs examples to train "
        "on: split without group or time, spread the class over more groups or earlier times, leave out its rows, or "
        "try another seed."
    )


def staying(
    label: Shaped[np.ndarray, " example"] | None, group: Shaped[np.ndarray, " example"] | None, n: int
) -> Bool[np.ndarray, " example"]:
    """Which examples must be trained on: of a class with one member, or in the only group of a class.

    >>> staying(np.array(["a", "b", "b"]), None, 3).tolist()
    [True, False, False]
    """
    if label is None:
        return np.zeros(n, dtype=bool)
    names, classes = np.unique(label, return_inverse=True)
    unit = np.arange(n) if group is None else np.unique(group, return_inverse=True)[1]
    units = np.bincount(np.unique(np.stack([classes, unit]), axis=1)[0], minlength=len(names))
    alone = units[classes] == 1
    if alone.any():
        kind = "one example" if group is None else "examples in one group only"
        listed = ", ".join(repr(name) for name in names[units == 1][:5].tolist())
        more = f" and {(units == 1).sum() - 5} more" if (units == 1).sum() > 5 else ""
        notice(f"Classes with {kind} are always trained on, never judged: {listed}{more}.")
    return alone if group is None else np.isin(group, group[alone])


def _parts(n: int, label: np.ndarray | None, group: np.ndarray | None, k: int, seed: int) -> np.ndarray:
    """The fold that judges each example; `TRAIN_ALWAYS` where none does."""
    part = np.full(n, TRAIN_ALWAYS)
    dealt = np.flatnonzero(~staying(label, group, n))
    units = len(dealt) if group is None else len(np.unique(group[dealt]))
    if units < k:
        kind = "examples" if group is None else "groups"
        raise DataError(
            f"{k} folds need at least {k} {kind}, but there are {units} that can be judged by training on others. "
            f"{'Ask for fewer folds' if units > 1 else 'Cross-validation needs more data, or none'}."
        )
    if group is None:
        shuffled = np.random.default_rng(stream_seed(seed, "folds")).permutation(dealt)
        part[sorted_by_class(label, shuffled)] = np.arange(len(dealt)) % k
    else:
        part[dealt] = deal_groups(group[dealt], None if label is None else label[dealt], [1 / k] * k, seed)
    return part


def _by_time(time: Num[np.ndarray, " example"], k: int) -> list[tuple[np.ndarray, np.ndarray]]:
    edges = time_edges(time, [1 / (k + 1)] * (k + 1))
    if edges is None:
        raise DataError(
            f"{k} folds in the order of time need at least {k + 1} different times, but there are "
            f"{len(np.unique(time))}. Ask for fewer folds, or split without time."
        )
    block = np.searchsorted(edges, time, side="right")
    return [(np.flatnonzero(block < i), np.flatnonzero(block == i)) for i in range(1, k + 1)]


def time_edges(time: Num[np.ndarray, " example"], shares: Sequence[float]) -> Num[np.ndarray, " edge"] | None:
    """The first time of every block but the earliest, equal times together; None where there are too few times.

    >>> time_edges(np.array([3, 1, 1, 2, 3, 4]), [0.5, 0.25, 0.25]).tolist()
    [3, 4]
    """
    times, counts = np.unique(time, return_counts=True)
    if len(times) < len(shares):
        return None
    before = np.concatenate([[0], np.cumsum(counts)])
    cuts: list[int] = []
    for number, wanted in enumerate(np.cumsum(shares)[:-1] * len(time), 1):
        first, last = (cuts[-1] if cuts else 0) + 1, len(times) - (len(shares) - number)
        cuts.append(int(np.clip(np.argmin(np.abs(before - wanted)), first, last)))
    return times[cuts]


def _none_empty(part: np.ndarray, size: np.ndarray, parts: int) -> np.ndarray:
    """Give an empty part the smallest group of the part that has most groups."""
    for empty in np.setdiff1d(np.arange(parts), part):
        richest = np.bincount(part, minlength=parts).argmax()
        groups = np.flatnonzero(part == richest)
        part[groups[np.argmin(size[groups])]] = empty
    return part
