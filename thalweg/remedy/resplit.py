"""Train and validation split anew, so that validation resembles test: by whole groups, or by the last stretch of time.

What is measured on a split that was drawn otherwise than test will be is too good, and the epoch that it chooses is
another. Neither validation split can judge whether a new one is better: of the old one the changed recipe trains on
much, and of the new one the recipe as it was has. So these remedies are of a mismatch and are judged by the probe half
of test, which neither has seen.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.core.beginning import has_seen_train
from thalweg.core.errors import ThalwegError
from thalweg.core.folds import deal_groups, described, staying, time_edges
from thalweg.core.source import Altering, Indexed, Joining, Splits, plain_of
from thalweg.diagnosis.laboratory import open_indexed
from thalweg.training import Recipe

SHARE = 0.2
"""So much of train is held out where there is no validation split."""


def split_by_group(recipe: Recipe) -> Recipe:
    """The recipe whose validation split holds groups of its own, so that it tells what new groups cost.

    Only where train and validation are rows of the same table, or examples of the same data set; else as it is, and so
    where they share no group, or the model begins with weights that have seen train.
    """
    return _split(recipe, "group")


def split_by_time(recipe: Recipe) -> Recipe:
    """The recipe whose validation split is the last stretch of time, behind all of train, as test is behind both.

    Only where train and validation are rows of the same table, or examples of the same data set; else as it is, and so
    where validation is later already, or the model begins with weights that have seen train.
    """
    return _split(recipe, "time")


def trains_on(recipe: Recipe, held: Indexed) -> bool:
    """Whether a recipe, which was split anew, trains on some of the examples that were held out before.

    >>> import thalweg
    >>> iris = thalweg.load("iris")
    >>> trains_on(iris, iris.data.validation), trains_on(iris, iris.data.train)
    (False, True)
    """
    train = open_indexed(recipe, recipe.data.train, "train")
    if _whole(train, held) is None:
        return False
    own, other = (getattr(plain_of(part), "ids", ()) for part in (train, held))
    return bool(np.isin(np.asarray(other), np.asarray(own)).any())


def _split(recipe: Recipe, by: str) -> Recipe:
    if has_seen_train(recipe.model):
        return recipe  # its weights would be judged by what they were trained on
    try:
        train = open_indexed(recipe, recipe.data.train, "train")
        held = None if recipe.data.validation is None else open_indexed(recipe, recipe.data.validation, "validation")
        whole = _whole(train, held)
        known = {} if whole is None else described(whole)
    except ThalwegError:
        return recipe
    key, label = known.get(by), known.get("label")
    if whole is None or key is None or (held is not None and _apart(key, len(plain_of(train)), by)):
        return recipe
    share = SHARE if held is None else len(held) / len(whole)
    behind = _by_time(key, share) if by == "time" else _by_group(key, label, share, recipe.seed)
    if behind is None or not 0 < behind.sum() < len(key):
        return recipe
    if label is not None and not np.isin(label[behind], label[~behind]).all():
        return recipe  # a class would be judged that is not trained on
    kept: Any = whole.take(np.flatnonzero(~behind))
    kept = train.around(kept) if isinstance(train, Altering) else kept
    data = Splits(train=kept, validation=whole.take(np.flatnonzero(behind)), test=recipe.data.test)
    return recipe.but(data=data)


def _whole(train: Indexed, held: Indexed | None) -> Any:
    """Train and validation as one source, those of train first; None where they are not parts of one."""
    first: Any = plain_of(train)
    if held is None:
        return first
    second: Any = plain_of(held)
    pairs = [(getattr(first, name, None), getattr(second, name, None)) for name in ("frame", "examples", "content")]
    own, other = (getattr(part, "ids", None) for part in (first, second))
    if own is None or other is None or not any(one is not None and one is another for one, another in pairs):
        return None
    if isinstance(first, Joining):
        return _joined(first, second)
    return replace(first, ids=torch.cat([own, other]) if isinstance(own, Tensor) else np.concatenate([own, other]))


def _joined(first: Joining, second: Any) -> Any:
    try:
        return first.joined(second)
    except ValueError:
        return None


def _apart(key: np.ndarray, train: int, by: str) -> bool:
    """Whether validation is of other groups than train, or later than all of it, already."""
    own, other = key[:train], key[train:]
    return bool(other.min() >= own.max()) if by == "time" else not np.isin(other, own).any()


def _by_group(group: np.ndarray, label: np.ndarray | None, share: float, seed: int) -> np.ndarray | None:
    """Which examples are of the groups that are held out; a class within one group stays in train."""
    dealt = np.flatnonzero(~staying(label, group, len(group)))
    if len(np.unique(group[dealt])) < 2:
        return None
    behind = np.zeros(len(group), dtype=bool)
    classes = None if label is None else label[dealt]
    behind[dealt] = deal_groups(group[dealt], classes, (1 - share, share), seed) == 1
    return behind


def _by_time(time: np.ndarray, share: float) -> np.ndarray | None:
    edges = time_edges(time, (1 - share, share))
    return None if edges is None else np.asarray(time >= edges[0])
