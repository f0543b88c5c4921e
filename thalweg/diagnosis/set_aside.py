"""Where a recipe has no validation split, a part of train is set aside for a diagnosis, and validates."""

import numpy as np

from thalweg.core.beginning import check_unseen
from thalweg.core.errors import DataError
from thalweg.core.folds import described
from thalweg.core.notices import notice
from thalweg.core.randomness import stream_seed
from thalweg.core.source import Indexed
from thalweg.core.wording import counted
from thalweg.training import Recipe


def hold_out(recipe: Recipe, train: Indexed) -> tuple[Indexed, Indexed]:
    """A train split without a fifth of its examples, and these, which validate: the same for the same recipe seed.

    Every class keeps an example to train on. Raises `DataError` where so none is left to hold out, and `Unsupported`
    where the model begins with weights that have seen train.
    """
    check_unseen(
        recipe.model,
        "there is no validation split, and what were held out of train they have seen. Give a validation split that "
        "they were not trained on.",
    )
    ids = np.random.default_rng(stream_seed(recipe.seed, "hold out")).permutation(len(train))
    label = described(train).get("label")
    free = np.arange(len(ids)) < len(ids) - 1 if label is None else ~_last_of_class(label[ids])
    if not free.any():
        raise DataError(
            f"The train split is {counted(len(train), 'example')}"
            f"{'' if len(train) == 1 else ', each the only one of its class,'} and there is no validation split, so "
            "none can be held out for the diagnosis. Give a validation split, or two examples of a class at least."
        )
    held = np.flatnonzero(free)[: max(1, len(train) // 5)]
    notice(
        f"There is no validation split: {len(held)} of the {len(train)} training examples are held out for the "
        "diagnosis."
    )
    return train.take(np.delete(ids, held)), train.take(ids[held])


def _last_of_class(label: np.ndarray) -> np.ndarray:
    """Which examples are the last of their class."""
    last = np.ones(len(label), dtype=bool)
    classes = np.unique(label, return_inverse=True)[1]
    order = np.argsort(classes, kind="stable")
    last[order[:-1]] = classes[order[1:]] != classes[order[:-1]]
    return last
