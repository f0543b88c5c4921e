"""Cases: recipes with a known illness, on the digits that come with scikit-learn.

The same cases test the diagnosis, teach in the docs, and run from the command line: `thalweg diagnose case:too-small`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.core.source import Splits
from thalweg.diagnosis import Cause
from thalweg.loss import Categorical
from thalweg.measure.metrics import accuracy
from thalweg.nn import mlp
from thalweg.training import Recipe


@dataclass(frozen=True)
class Case:
    """A recipe with a known illness: its cause, and what was done to it.

    >>> CASES["too-small"].what
    'a hidden layer of two units'
    """

    name: str
    cause: Cause
    what: str
    make: Callable[[], Recipe]


def digits(train: int | None = None, test: Callable[[np.ndarray], np.ndarray] | None = None) -> Splits:
    """The digits in 60 / 20 / 20 %, pixels from 0 to 1; `train` examples of the first part, test images passed on."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    first, rest, first_y, rest_y = train_test_split(x, y, test_size=0.4, random_state=0, stratify=y)
    second, third, second_y, third_y = train_test_split(rest, rest_y, test_size=0.5, random_state=0, stratify=rest_y)
    shifted = third if test is None else test(third).astype(np.float32)
    return Splits(train=(first[:train], first_y[:train]), validation=(second, second_y), test=(shifted, third_y))


def plain(**changes: Any) -> Recipe:
    """The healthy recipe that the cases make ill."""
    recipe = Recipe(
        data=digits(),
        model=partial(mlp, 64, 10, width=64, depth=2),
        objective=Categorical(),
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        epochs=30,
        metrics={"accuracy": accuracy},
    )
    return recipe.but(**changes)


def at_zero() -> nn.Module:
    """A network of one hidden layer whose weights are all zero: no layer gives the other a gradient."""
    network = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    return network


def darkened(images: np.ndarray) -> np.ndarray:
    """Images as another camera would take them: less contrast, on a grey ground."""
    return 0.45 * images + 0.4


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("healthy", Cause.NONE, "nothing", plain),
        Case(
            "too-small",
            Cause.MODEL_BIAS,
            "a hidden layer of two units",
            lambda: plain(model=partial(mlp, 64, 10, width=2, depth=1), optimizer=partial(torch.optim.Adam, lr=1e-2)),
        ),
        Case(
            "rate-too-low",
            Cause.OPTIMIZATION,
            "a learning rate a hundred times too low",
            lambda: plain(optimizer=partial(torch.optim.Adam, lr=1e-5)),
        ),
        Case(
            "rate-too-high",
            Cause.OPTIMIZATION,
            "a learning rate a hundred times too high",
            lambda: plain(optimizer=partial(torch.optim.Adam, lr=0.3)),
        ),
        Case(
            "at-a-saddle",
            Cause.OPTIMIZATION,
            "all weights begin at zero, which is a saddle",
            lambda: plain(model=at_zero, optimizer=partial(torch.optim.SGD, lr=0.1)),
        ),
        Case(
            "too-few-examples",
            Cause.OVERFITTING,
            "sixty training examples",
            lambda: plain(data=digits(train=60), batch_size=10, epochs=80),
        ),
        Case("shifted-test", Cause.MISMATCH, "test images of less contrast", lambda: plain(data=digits(test=darkened))),
    )
}


def get(name: str) -> Recipe:
    """The recipe of a case.

    >>> get("too-small").model()[1].out_features
    2

    Raises `RecipeError` for an unknown name (did you mean).
    """
    if name not in CASES:
        raise RecipeError(f"There is no case '{name}'." + did_you_mean(name, CASES))
    return CASES[name].make()
