"""Rows of numbers: the data that come with scikit-learn, and made ones, split and scaled as one does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from thalweg import Splits

Pair = tuple[Any, Any]


def three(x: Any, y: Any, seed: int = 0, classes: bool = True) -> tuple[Pair, Pair, Pair]:
    """60, 20 and 20 % at random, of classes alike."""
    first, rest, first_y, rest_y = train_test_split(
        x, y, test_size=0.4, random_state=seed, stratify=y if classes else None
    )
    second, third, second_y, third_y = train_test_split(
        rest, rest_y, test_size=0.5, random_state=seed, stratify=rest_y if classes else None
    )
    return (first, first_y), (second, second_y), (third, third_y)


def as_splits(train: Pair, validation: Pair, test: Pair) -> Splits:
    """Tensors: inputs as float32, targets as classes or numbers."""
    return Splits(train=tensors(*train), validation=tensors(*validation), test=tensors(*test))


def tensors(x: Any, y: Any) -> Pair:
    """Inputs as float32 (tokens stay whole), targets as int64 or float32."""
    return _tensor(x), _tensor(y)


def _tensor(values: Any) -> torch.Tensor:
    values = torch.as_tensor(np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values)
    return values.float() if values.is_floating_point() else values.long()


def scaled(train: Pair, validation: Pair, test: Pair) -> tuple[Pair, Pair, Pair]:
    """Inputs with mean 0 and standard deviation 1 on the training rows."""
    by = StandardScaler().fit(train[0])
    a, b, c = ((by.transform(x), y) for x, y in (train, validation, test))
    return a, b, c


def digits(train: int | None = None, image: bool = False) -> tuple[Pair, Pair, Pair]:
    """The digits of scikit-learn, pixels from 0 to 1, as rows or as images; `train` of the first part."""
    x, y = datasets.load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    (a, ya), b, c = three(x.reshape(-1, 1, 8, 8) if image else x, y)
    return (a[:train], ya[:train]), b, c


def cancer() -> tuple[Pair, Pair, Pair]:
    """569 tumours, 30 measures, as they are."""
    return three(*datasets.load_breast_cancer(return_X_y=True))


def wine() -> tuple[Pair, Pair, Pair]:
    """178 wines of three kinds, 13 measures, as they are."""
    return three(*datasets.load_wine(return_X_y=True))


def friedman(rows: int = 1000, seed: int = 0) -> tuple[Pair, Pair, Pair]:
    """Ten inputs from 0 to 1, a curved sum of five of them, scaled to mean 0 and standard deviation 1."""
    x, y = datasets.make_friedman1(rows, noise=0.5, random_state=seed)
    return three(x, ((y - 14.4) / 5.0)[:, None], classes=False)


def groups(rows: int = 1500, seed: int = 3, classes: int = 4) -> tuple[Pair, Pair, Pair]:
    """Clouds of points of four classes in twenty dimensions."""
    made = datasets.make_classification(
        rows, 20, n_informative=8, n_redundant=4, n_classes=classes, class_sep=1.6, flip_y=0.0, random_state=seed
    )
    return three(*made)


def moons(rows: int = 1000, seed: int = 1) -> tuple[Pair, Pair, Pair]:
    """Two half moons."""
    return three(*datasets.make_moons(rows, noise=0.15, random_state=seed))


def rings(rows: int = 1000, seed: int = 1) -> tuple[Pair, Pair, Pair]:
    """A ring in a ring."""
    return three(*datasets.make_circles(rows, noise=0.08, factor=0.5, random_state=seed))


def labels(rows: int = 1500, seed: int = 5) -> tuple[Pair, Pair, Pair]:
    """Five yes-or-no labels of one row, each by a curved rule of a few of twelve inputs."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 12))
    y = np.stack(
        [
            x[:, 0] + x[:, 1] > 0,
            x[:, 2] - 2 * x[:, 3] + x[:, 4] > 0.5,
            x[:, 5] + np.abs(x[:, 6]) > 1,
            x[:, 7] + x[:, 8] + x[:, 9] > 0,
            x[:, 10] - x[:, 0] > 0,
        ],
        1,
    )
    return three(x, y.astype(np.float32), classes=False)


def changed(parts: tuple[Pair, Pair, Pair], at: str, change: Callable[[Any, Any], Pair]) -> tuple[Pair, Pair, Pair]:
    """The same three with one of them, or several ("train validation"), changed by a function of inputs and targets."""
    names = ("train", "validation", "test")
    a, b, c = (change(*part) if name in at.split() else part for name, part in zip(names, parts, strict=True))
    return a, b, c
