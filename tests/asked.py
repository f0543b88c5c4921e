"""What the checks of data say of splits, and splits to ask about."""

from typing import Any

import numpy as np
from sklearn import datasets
from torch import nn

from thalweg.core.convert import as_source
from thalweg.core.source import Indexed, Splits
from thalweg.diagnosis.checks.data import data_flaws
from thalweg.diagnosis.flaw import Flaw
from thalweg.training import Recipe

Pair = tuple[Any, Any]


def names(flaws: Any) -> list[str]:
    return [flaw.mechanism for flaw in flaws]


def indexed(given: Any) -> Indexed:
    """A split as a source with subsets, which checks of data read."""
    source = as_source(given, "train")
    assert isinstance(source, Indexed)
    return source


def recipe_of(data: Splits, inputs: int, outputs: int, loss: Any = None, **changes: Any) -> Recipe:
    model = changes.pop("model", lambda: nn.Sequential(nn.Flatten(), nn.Linear(inputs, 8), nn.Linear(8, outputs)))
    return Recipe(data=data, model=model, objective=loss or nn.CrossEntropyLoss(), **changes)


def asked(train_split: Any, validation: Any, test: Any = None, **more: Any) -> tuple[Flaw, ...]:
    ours = indexed(train_split)
    x, y = next(iter(ours.batches(0, 0, None)))
    outputs = 10 if not y.is_floating_point() else 1
    loss = nn.CrossEntropyLoss() if not y.is_floating_point() else nn.MSELoss()
    data = Splits(train=train_split, validation=validation, test=test)
    recipe = recipe_of(data, int(np.prod(x.shape[1:])), outputs, more.pop("loss", loss), **more)
    return data_flaws(recipe, ours, indexed(validation), None if test is None else as_source(test, "train"))


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def split(x: np.ndarray, y: np.ndarray, seed: int = 0) -> tuple[Pair, Pair, Pair]:
    """Three fifths, one and one, standardized by the first."""
    order = np.random.default_rng(seed).permutation(len(y))
    a, b = int(0.6 * len(y)), int(0.8 * len(y))
    mean, scale = x[order[:a]].mean(0), x[order[:a]].std(0)
    x = ((x - mean) / np.where(scale > 0, scale, 1)).astype(np.float32)
    first, second, third = order[:a], order[a:b], order[b:]
    return (x[first], y[first]), (x[second], y[second]), (x[third], y[third])


def digits() -> Pair:
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return (x[order] / 16).reshape(-1, 1, 8, 8).astype(np.float32), y[order]
