"""Repairs of the data: train examples left out that mislead, classes weighed, inputs that tell nothing hidden.

Validation and test data stay as they are: what is left out or weighed is train's alone.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.convert import loaded
from thalweg.core.errors import ThalwegError
from thalweg.core.randomness import untouched
from thalweg.core.source import plain_of
from thalweg.diagnosis.checks.data_rows import Rows, read_rows
from thalweg.diagnosis.checks.label_noise import confident_joint
from thalweg.diagnosis.checks.opinions import opinions
from thalweg.diagnosis.laboratory import open_indexed
from thalweg.loss import balanced_weights
from thalweg.remedy.altered import judge_kept, traced
from thalweg.remedy.restraining import rows_of
from thalweg.training import Recipe

FEWEST_LEFT = 10
EVEN = 1.5
"""Classes of which the commonest is not so many times as common as the rarest are even."""


def without_doubted(recipe: Recipe) -> Recipe:
    """The recipe without the train examples whose label learners that did not see them contradict surely.

    Confident learning (Northcutt et al. 2021), as in the check of labels; out of fold, on train alone.
    """
    rows = rows_of(recipe)
    known = None if rows is None else opinions(rows)
    if rows is None or known is None:
        return recipe
    _, doubted, _ = confident_joint(known)
    return _without(recipe, rows.places[rows.kept[known.rows[doubted]]])


def without_contradictions(recipe: Recipe) -> Recipe:
    """The recipe without the train examples whose input another example has with another target."""
    rows = rows_of(recipe)
    if rows is None or rows.targets is None:
        return recipe
    targets = rows.targets if rows.targets.ndim > 1 else rows.targets[:, None]
    _, which = np.unique(rows.hashes, return_inverse=True)
    low = np.full((which.max() + 1, targets.shape[1]), np.inf)
    high = -low
    np.minimum.at(low, which, targets)
    np.maximum.at(high, which, targets)
    return _without(recipe, rows.places[(low != high).any(1)[which]])


def without_shared(recipe: Recipe) -> Recipe:
    """The recipe without the train examples whose input is in the validation split too."""
    rows = rows_of(recipe)
    if rows is None or recipe.data.validation is None:
        return recipe
    with untouched():
        try:
            judged = read_rows(open_indexed(recipe, loaded(recipe.data.validation), "validation"), "validation")
        except (ThalwegError, RuntimeError, ValueError, TypeError):
            return recipe
    return recipe if judged is None else _without(recipe, rows.places[np.isin(rows.hashes, judged.hashes)])


def _without(recipe: Recipe, places: np.ndarray) -> Recipe:
    """The recipe without the train examples at these places; itself where there are none, or too few would be left."""
    train = open_indexed(recipe, loaded(recipe.data.train), "train")
    rest = np.setdiff1d(np.arange(len(train)), places)
    if not len(places) or len(rest) < FEWEST_LEFT:
        return recipe
    return recipe.but(data=replace(recipe.data, train=train.take(rest)))


def unaugmented(recipe: Recipe) -> Recipe:
    """The recipe whose train examples are trained on as they are."""
    train = loaded(recipe.data.train)
    plain = plain_of(train)
    return recipe if plain is train else recipe.but(data=replace(recipe.data, train=plain))


def balanced(recipe: Recipe) -> Recipe:
    """The recipe whose loss counts each class of train alike, judged as before.

    Weights n / (classes x count), where the loss has class weights and none are set: cross-entropy, or of two classes
    binary cross-entropy. What a class is worth is no likelihood: the judge stays the loss without them.
    """
    loss, rows, seen = recipe.objective, rows_of(recipe), traced(recipe)
    if rows is None or rows.targets is None or seen is None or not isinstance(seen.output, Tensor):
        return recipe
    weighs = _weighing(loss, int(seen.output.shape[1]) if seen.output.dim() == 2 else 1)
    labels = rows.targets.squeeze()
    if weighs is None or labels.ndim != 1 or not np.isin(labels, np.arange(1000)).all():
        return recipe
    counts = np.bincount(labels.astype(int))
    if len(counts[counts > 0]) < 2 or counts.max() < EVEN * counts[counts > 0].min():
        return recipe
    return recipe.but(objective=weighs(torch.from_numpy(labels.astype(np.int64))), judge=judge_kept(recipe))


def _weighing(loss: Any, outputs: int) -> Callable[[Tensor], Any] | None:
    """What gives the loss with weights for labels; None where it has none to set."""
    if isinstance(loss, nn.BCEWithLogitsLoss) and outputs == 1 and loss.pos_weight is None:
        return lambda labels: _with(loss, pos_weight=(labels == 0).sum() / (labels == 1).sum().clamp(min=1))
    name = next((name for name in ("class_weights", "weight") if getattr(loss, name, 0) is None), None)
    if not isinstance(loss, nn.Module) or name is None or outputs < 2 or isinstance(loss, nn.BCEWithLogitsLoss):
        return None
    return lambda labels: _with(loss, **{name: torch.tensor(balanced_weights(labels, outputs))})


def _with(loss: nn.Module, **buffers: Tensor) -> nn.Module:
    """A copy of a loss with some buffers set."""
    other = copy.deepcopy(loss)
    for name, value in buffers.items():
        setattr(other, name, value)
    return other


def constants(rows: Rows) -> tuple[int, ...]:
    """The columns that never change; one with what is not finite is no such column, for it cannot be trained on."""
    if rows.x is None:
        return ()
    same = np.isfinite(rows.x).all(axis=0) & (np.ptp(np.nan_to_num(rows.x), axis=0) == 0)
    return tuple(np.flatnonzero(same).tolist())
