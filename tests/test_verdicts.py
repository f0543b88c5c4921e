"""Verdicts on illnesses that have no case of their own: each holds one mechanism of the diagnosis to a known truth."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import make_circles, make_classification, make_moons
from torch import Tensor, nn

import thalweg
from thalweg import Cause, Recipe, Splits
from thalweg.core.arrays import ArraySource
from thalweg.diagnosis.floor import reference_floor
from thalweg.nn import mlp
from thalweg.training.judging import Judge


def parts(x: np.ndarray, y: np.ndarray, test: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> Splits:
    """The first 60 % to train on, 20 % each for validation and test; the test inputs passed on."""
    first, second = int(0.6 * len(x)), int(0.8 * len(x))
    inputs = x[:first], x[first:second], test(x[second:])
    targets = np.split(y if y.dtype.kind == "i" else y.astype(np.float32), [first, second])
    return Splits(*((part.astype(np.float32), target) for part, target in zip(inputs, targets, strict=True)))


def moons() -> Splits:
    return parts(*make_moons(700, noise=0.2, random_state=0))


def rings() -> Splits:
    return parts(*make_circles(700, noise=0.08, factor=0.5, random_state=0))


def line(noise: float = 0.3, **more: Any) -> Splits:
    random = np.random.default_rng(5)
    x = random.normal(size=(700, 7))
    y = x @ random.normal(size=(7, 1)) / 7**0.5 + noise * random.normal(size=(700, 1))
    return parts(x, y, **more)


def yes_or_no(splits: Splits) -> Splits:
    """Classes as a column of 0.0 and 1.0, as binary cross-entropy reads them."""
    return Splits(*((x, y.astype(np.float32)[:, None]) for x, y in (splits.train, splits.validation, splits.test)))


def noisy_labels() -> Splits:
    x, y = make_classification(700, 20, n_informative=8, n_classes=3, random_state=3)
    random = np.random.default_rng(1)
    return parts(x, np.where(random.random(700) < 0.4, random.integers(3, size=700), y))


def zeros() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def adam(lr: float, **more: Any) -> Any:
    return partial(torch.optim.Adam, lr=lr, **more)


@thalweg.objective
def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


CE, BCE, MSE = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss(), nn.MSELoss()
ILL: dict[str, tuple[Cause, Callable[[], Recipe]]] = {
    "a column of yes and no, trained too slowly": (
        Cause.OPTIMIZATION,
        lambda: Recipe(
            data=yes_or_no(rings()), model=partial(mlp, 2, 1, width=32), objective=BCE, optimizer=adam(3e-5), epochs=20
        ),
    ),
    "all weights begin at zero": (
        Cause.OPTIMIZATION,
        lambda: Recipe(data=moons(), model=zeros, objective=CE, optimizer=adam(1e-2), epochs=20),
    ),
    "a schedule that decays at once": (
        Cause.OPTIMIZATION,
        lambda: Recipe(
            data=moons(), model=partial(mlp, 2, 2, width=32), objective=CE, optimizer=adam(1e-2), epochs=20,
            schedule=lambda step, steps: 0.1 ** (20 * step / steps),
        ),
    ),
    "a marked objective that diverges": (
        Cause.OPTIMIZATION,
        lambda: Recipe(
            data=moons(), model=partial(mlp, 2, 2, width=32), objective=cross_entropy, epochs=10,
            optimizer=partial(torch.optim.SGD, lr=1e12),
        ),
    ),
    "a linear model of rings": (
        Cause.MODEL_BIAS,
        lambda: Recipe(data=rings(), model=lambda: nn.Linear(2, 2), objective=CE, optimizer=adam(0.03), epochs=20),
    ),
    "dropout of nine tenths": (
        Cause.MODEL_BIAS,
        lambda: Recipe(
            data=rings(), model=partial(mlp, 2, 2, width=32, dropout=0.9), objective=CE, optimizer=adam(1e-2),
            epochs=20,
        ),
    ),
    "far too much weight decay": (
        Cause.MODEL_BIAS,
        lambda: Recipe(
            data=rings(), model=partial(mlp, 2, 2, width=32), objective=CE, epochs=20,
            optimizer=partial(torch.optim.AdamW, lr=1e-2, weight_decay=30.0),
        ),
    ),
    "labels learned by heart after the best epoch": (
        Cause.OVERFITTING,
        lambda: Recipe(
            data=noisy_labels(), model=partial(mlp, 20, 3, width=128), objective=CE, optimizer=adam(3e-3), epochs=60
        ),
    ),
    "inputs of the test moved, beside a train loss that is a little high": (
        Cause.MISMATCH,
        lambda: Recipe(
            data=line(test=lambda x: x + 0.7), model=lambda: nn.Linear(7, 1), objective=MSE, optimizer=adam(1e-2),
            epochs=20,
        ),
    ),
}  # fmt: skip
HEALTHY: dict[str, Callable[[], Recipe]] = {
    "a linear truth in much noise": lambda: Recipe(
        data=line(noise=3.0), model=lambda: nn.Linear(7, 1), objective=MSE, optimizer=adam(1e-2), epochs=20
    ),
    "weighted classes": lambda: Recipe(
        data=parts(*make_classification(700, 20, n_classes=2, weights=[0.9], random_state=3)),
        model=partial(mlp, 20, 2, width=32), objective=nn.CrossEntropyLoss(weight=torch.tensor([0.6, 4.0])),
        optimizer=adam(1e-3), epochs=15,
    ),
    "a test split of one example": lambda: Recipe(
        data=Splits(moons().train, moons().validation, tuple(part[:1] for part in moons().test)),
        model=partial(mlp, 2, 2, width=32), objective=CE, optimizer=adam(1e-2), epochs=25,
    ),
}  # fmt: skip


DEAR = (  # what others beside them hold too: a case, tests/test_diagnosis.py, the floor below, schedules
    "all weights begin at zero",
    "a linear model of rings",
    "a column of yes and no, trained too slowly",
    "far too much weight decay",
    "dropout of nine tenths",
    "a schedule that decays at once",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.battery] if name in DEAR else []) for name in ILL]
)
def test_an_illness_is_found(name: str) -> None:
    cause, make = ILL[name]
    finding = thalweg.diagnose(make())
    assert finding.cause is cause, finding


@pytest.mark.parametrize("name", HEALTHY)
def test_what_is_healthy_is_accused_of_nothing(name: str) -> None:
    finding = thalweg.diagnose(HEALTHY[name]())
    assert finding.cause in (Cause.NONE, Cause.UNDECIDED), finding


def test_a_test_loss_worse_than_a_constant_is_no_clean_bill() -> None:
    """One confident mistake among few examples: too little to accuse the test data, too much for NONE."""
    splits = moons()
    x, y = (part[:30].copy() for part in splits.test)
    x[0], y[0] = (40.0, -40.0), 0  # deep inside the other class
    recipe = Recipe(
        data=Splits(splits.train, splits.validation, (x, y)), model=partial(mlp, 2, 2, width=32), objective=CE,
        optimizer=adam(1e-2), epochs=25,
    )  # fmt: skip
    finding = thalweg.diagnose(recipe)
    probe = finding.losses["test"].value
    assert (finding.cause is Cause.UNDECIDED) == (probe > 2.0), finding  # the example may lie in the other half
    if probe > 2.0:
        assert "far worse than a constant prediction" in finding.mechanism


def test_the_floor_of_yes_or_no_in_floats_is_that_of_the_classes() -> None:
    x, y = make_circles(300, noise=0.08, factor=0.5, random_state=0)
    floors = []
    for target, loss in ((torch.from_numpy(y), CE), (torch.from_numpy(y).float()[:, None], BCE)):
        data = torch.from_numpy(x).float(), target
        recipe = Recipe(data=Splits(train=data), model=nn.Flatten, objective=loss)
        floors.append(reference_floor(Judge.of(recipe), [ArraySource(data, 32)]))
    assert floors[0].high == pytest.approx(floors[1].high, rel=1e-4)
    assert floors[0].high < 0.1


@pytest.mark.battery
def test_the_reference_is_compared_on_the_same_examples_of_a_large_set() -> None:
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.normal(size=(5003, 2))).float()
    data = x, x.sum(1, keepdim=True)
    recipe = Recipe(data=Splits(train=data), model=nn.Flatten, objective=MSE)
    sources = [
        ArraySource(tuple(part[:4001] for part in data), 32),
        ArraySource(tuple(part[4001:] for part in data), 32),
    ]
    floor = reference_floor(Judge.of(recipe), sources)
    places = [known.places for known in floor.values]
    assert places[0].tolist() == list(range(0, 4001, 2))
    assert places[1].tolist() == list(range(1, 1002, 2))  # every second of all, and 4001 is odd
    assert all(len(known.places) == len(known.losses) for known in floor.values)


def few_units() -> Recipe:
    """Two hidden units for a hundred digits."""
    whole = thalweg.cases.get("too-small")
    few = ((x[:100], y[:100]) for x, y in (whole.data.train, whole.data.validation, whole.data.test))
    return whole.but(data=Splits(*few), epochs=15)


def test_an_interrupt_keeps_the_losses_that_were_known() -> None:
    def interrupt(stage: thalweg.diagnosis.Stage) -> None:
        if stage.name.startswith("trained 3 x"):
            raise KeyboardInterrupt

    with pytest.raises(thalweg.diagnosis.Interrupted) as caught:
        thalweg.diagnose(few_units(), progress=interrupt)
    assert set(caught.value.finding.losses) == {"floor", "train", "validation", "test"}


def test_too_few_examples_say_nothing_where_nothing_is_found() -> None:
    draw = np.random.default_rng(3)
    x = torch.from_numpy(draw.normal(size=(30, 4))).float()
    y = torch.from_numpy(draw.integers(0, 2, 30))
    few = Recipe(
        data=Splits(train=(x[:24], y[:24]), validation=(x[24:], y[24:])),
        model=partial(nn.Linear, 4, 2),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        epochs=10,
    )
    finding = thalweg.diagnose(few)
    assert finding.cause is Cause.UNDECIDED
    assert "too few" in finding.mechanism
