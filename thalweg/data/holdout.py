"""Holding out: the examples that choose the epoch (validation) and judge at the end (test), never trained on.

By class each part holds every class in its share; by group whole groups stay together; by time the latest examples
test, those before them validate. Otherwise a model is judged on what it has all but seen, and the number is too good.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.folds import check_seen, deal_groups, described, sorted_by_class, staying, time_edges
from thalweg.core.randomness import stream_seed
from thalweg.core.source import Indexed
from thalweg.core.wording import counted

Ids = Int[np.ndarray, " _example"]
PARTS = ("train", "validation", "test")


class HeldOut(NamedTuple):
    """The examples of each split, in their own order; empty where a share is 0."""

    train: Ids
    validation: Ids
    test: Ids


def hold_out(
    source: Indexed, *, validation_share: float | int = 0.2, test_share: float | int = 0.2, seed: int = 0
) -> HeldOut:
    """Which examples of a source train, validate and test: by its groups or time where it knows them, else by class.

    A class with one member, or all of it in one group, is trained on. The same seed gives the same split.

    >>> from thalweg.core.arrays import ArraySource
    >>> import torch
    >>> parts = hold_out(ArraySource(torch.arange(10), None))
    >>> [len(part) for part in parts]
    [6, 2, 2]

    Raises `RecipeError` for shares that leave nothing to train on, `DataError` where there are too few examples,
    groups or times, or a class would be judged that is not trained on.
    """
    validation, test = float(validation_share), float(test_share)
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise RecipeError(
            f"validation_share={validation_share} and test_share={test_share} leave nothing to train on. Each is from "
            "0 to less than 1, and together they are less than 1, such as 0.2 and 0.2."
        )
    known = described(source)
    label, group, time = (known.get(name) for name in ("label", "group", "time"))
    if group is not None and time is not None:
        raise RecipeError(
            "A split by group and by time at once would need every group to end before the next begins. Give one of "
            "--group and --time."
        )
    used = [part for part, share in enumerate((1, validation, test)) if share > 0]
    shares = [(1 - validation - test, validation, test)[part] for part in used]
    if time is not None:
        dealt = _by_time(time, shares)
    elif group is not None:
        dealt = _by_group(group, label, shares, seed)
    else:
        dealt = _by_class(len(source), label, shares, seed)
    part = np.array(used)[dealt]
    held = HeldOut(*(np.flatnonzero(part == i) for i in range(len(PARTS))))
    for name, ids in zip(PARTS[1:], held[1:], strict=True):
        check_seen(label, held.train, ids, f"the {name} examples")
    return held


def _by_class(n: int, label: np.ndarray | None, shares: list[float], seed: int) -> Int[np.ndarray, " example"]:
    part = np.zeros(n, dtype=np.int64)
    dealt = np.flatnonzero(~staying(label, None, n))
    classes = 1 if label is None else len(np.unique(label))
    sizes = [max(1, round(share * n)) for share in shares[1:]]
    while n - sum(sizes) < classes and max(sizes, default=1) > 1:
        sizes[int(np.argmax(sizes))] -= 1
    train = n - sum(sizes) - (n - len(dealt))
    if n - sum(sizes) < classes or train < 0:
        examples = counted(n, "example") + ("" if label is None else f" of {counted(classes, 'class')}")
        raise DataError(
            f"{examples} {'is' if n == 1 else 'are'} too few for {len(shares)} splits: training needs one of each "
            "class, validation and test one each. Hold out less (validation_share=0, test_share=0), or add examples."
        )
    order = sorted_by_class(label, np.random.default_rng(stream_seed(seed, "hold out")).permutation(dealt))
    part[order] = _spread([train, *sizes])
    return part if label is None else _every_class_trained(part, label)


def _spread(sizes: list[int]) -> Int[np.ndarray, " place"]:
    """The part at each place of an order, such that every stretch of it holds all parts in their shares.

    >>> _spread([4, 2]).tolist()
    [0, 1, 0, 0, 1, 0]
    """
    at = np.concatenate([(np.arange(size) + 0.5) / max(size, 1) for size in sizes])
    return np.repeat(np.arange(len(sizes)), sizes)[np.argsort(at, kind="stable")]


def _every_class_trained(
    part: Int[np.ndarray, " example"], label: Shaped[np.ndarray, " example"]
) -> Int[np.ndarray, " example"]:
    """Swap a member of each class that is not trained on with a training example of the class that has most."""
    _, classes = np.unique(label, return_inverse=True)
    trained = np.bincount(classes[part == 0], minlength=classes.max() + 1)
    for absent in np.flatnonzero(trained == 0):
        richest = int(trained.argmax())
        member = np.flatnonzero(classes == absent)[0]
        other = np.flatnonzero((classes == richest) & (part == 0))[0]
        part[member], part[other] = 0, part[member]
        trained[absent], trained[richest] = 1, trained[richest] - 1
    return part


def _by_group(
    group: np.ndarray, label: np.ndarray | None, shares: list[float], seed: int
) -> Int[np.ndarray, " example"]:
    part = np.zeros(len(group), dtype=np.int64)
    dealt = np.flatnonzero(~staying(label, group, len(group)))
    count = len(np.unique(group[dealt]))
    if count < len(shares):
        raise DataError(
            f"{len(shares)} splits need as many groups that may be held out, but there are {count} (a class "
            "in a single group keeps it in training). Hold out less (validation_share=0, test_share=0), or leave off "
            "--group."
        )
    wanted = np.array(shares) * len(group)
    wanted[0] = max(wanted[0] - (len(group) - len(dealt)), 0.0)
    part[dealt] = deal_groups(group[dealt], None if label is None else label[dealt], list(wanted / wanted.sum()), seed)
    return part


def _by_time(time: np.ndarray, shares: list[float]) -> Int[np.ndarray, " example"]:
    if len(shares) == 1:
        return np.zeros(len(time), dtype=np.int64)
    edges = time_edges(time, shares)
    if edges is None:
        raise DataError(
            f"{len(np.unique(time))} different times are too few for {len(shares)} splits, each of its own times. Hold "
            "out less (validation_share=0, test_share=0), or leave off --time."
        )
    return np.searchsorted(edges, time, side="right").astype(np.int64)
