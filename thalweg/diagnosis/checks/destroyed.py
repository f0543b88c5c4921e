"""Augmentation that destroys the signal: what is learned from the changed examples says nothing of the plain ones."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.core.randomness import generator, untouched
from thalweg.core.source import Altering, Indexed
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.data_rows import Rows
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.diagnosis.references import PATCHES, Inputs, as_rows, classifiers

MOST, COPIES, FEWEST = 300, 2, 100
"""Examples that are changed, how often, and how many at least."""
KEPT, LEAST_SKILL = 0.25, 0.3
"""The share of skill that a destroyed signal leaves at most; the skill that learners need without any change."""


def destroyed_signal(train: Indexed, rows: Rows) -> list[Flaw]:
    """Learners fitted to augmented examples against learners fitted to plain ones: number, the share of skill kept.

    Both are asked of plain examples. A linear learner and one over patches; the better of both counts, so that changes
    which a network could see through are not blamed.
    """
    if not isinstance(train, Altering) or not rows.classes or rows.x is None or rows.tokens:
        return []
    n = len(train)
    order = np.random.default_rng(0).permutation(n)[: 2 * MOST]
    fit, ask = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    plain = train.plain()
    if len(fit) < FEWEST or not isinstance(plain, Indexed):
        return []
    changed = [_read(train.take(fit), epoch) for epoch in range(1, COPIES + 1)]
    own, asked = _read(plain.take(fit), None), _read(plain.take(ask), None)
    if own is None or asked is None or any(part is None for part in changed):
        return []
    x = np.concatenate([part[0] for part in changed if part is not None])
    y = np.concatenate([part[1] for part in changed if part is not None])
    if len(np.unique(own[1])) < 2 or x.shape[1] != asked[0].shape[1] or len(np.unique(y)) < 2:
        return []
    guess = float(np.bincount(asked[1]).max() / len(asked[1]))
    before = after = guess
    for name in _names(rows):  # patches take longer, and are asked only where pixels do not suffice
        before = max(before, _accuracy(name, own[0], own[1], asked, rows.shape))
        after = max(after, _accuracy(name, x, y, asked, rows.shape))
        kept = (after - guess) / max(before - guess, 1e-12)
        if before - guess < LEAST_SKILL * (1 - guess) or kept > KEPT:
            return []
    return [
        Flaw(
            Cause.DATA,
            Mechanism.AUGMENTATION_DESTROYS_THE_SIGNAL,
            f"Learners fitted to augmented train examples get {after:.1%} of plain ones right, fitted to plain ones "
            f"{before:.1%}, and {guess:.1%} is the commonest class: {max(kept, 0.0):.0%} of the skill is left",
            kept,
            "above 50 %",
            "Weaken the augmentation: show some augmented examples with their labels, and take out what a person could "
            "not read",
            "a network that trained with it and is as good on validation as without",
            Sure.LIKELY,
            Raises.TRAIN,
        )
    ]


def _names(rows: Rows) -> list[str]:
    learners = classifiers(Inputs(np.zeros((1, int(np.prod(rows.shape)))), rows.shape))
    return [name for name in learners if name == "logistic regression" or name.startswith(PATCHES)]


def _read(source: Any, epoch: int | None) -> tuple[np.ndarray, np.ndarray] | None:
    """All examples of a source as rows and classes: as they are, or as one epoch of training changes them."""
    xs, ys = [], []
    with untouched():
        drawn = None if epoch is None else generator(0, "augmentation check", epoch)
        for batch in source.batches(epoch or 0, 0, drawn):
            x, y = batch
            if not isinstance(x, Tensor) or not isinstance(y, Tensor) or not bool(torch.isfinite(x).all()):
                return None
            xs.append(as_rows(x.float())[0])
            y = y.argmax(1) if y.dim() == 2 and y.shape[1] > 1 else y.reshape(-1)
            ys.append(y.round().long())
    return torch.cat(xs).double().numpy(), torch.cat(ys).numpy()


def _accuracy(name: str, x: np.ndarray, y: np.ndarray, asked: tuple[np.ndarray, np.ndarray], shape: Any) -> float:
    import warnings

    whole = Inputs(np.concatenate([x, asked[0]]), tuple(shape))
    read = whole.read_by(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a reference need not be at its best
        learner = classifiers(whole)[name]().fit(read[: len(x)], y)
        return float((learner.predict(read[len(x) :]) == asked[1]).mean())
