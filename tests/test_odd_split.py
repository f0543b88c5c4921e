"""A train split that is the odd one: learners of validation are asked of it."""

from typing import Any

import numpy as np
import pytest
from rows import rows_of

from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.odd_split import odd_train_of_classes, odd_train_of_numbers
from thalweg.diagnosis.checks.opinions import opinions

ODD = ["train of another kind than validation"]


def found(flaws: Any) -> list[str]:
    return [flaw.mechanism for flaw in flaws]


def numbers(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, size=(n, 5))
    y = np.stack([x[:, 0] + x[:, 1], x[:, 2] - x[:, 1]], 1) + 0.1 * random.normal(size=(n, 2))
    return x, y.astype(np.float32)


def classes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, n)
    return random.normal(size=(n, 4)) + 3 * np.eye(4)[y], y


def some(n: int, share: float) -> np.ndarray:
    return np.random.default_rng(7).random(n) < share


def exchanged_targets(x: np.ndarray, y: np.ndarray) -> Any:
    return x, np.where(some(len(y), 0.45)[:, None], y[:, ::-1], y)


def negative_inputs(x: np.ndarray, y: np.ndarray) -> Any:
    return np.where(some(len(y), 0.4)[:, None], -x, x), y


def other_unit(x: np.ndarray, y: np.ndarray) -> Any:
    return x, np.where(some(len(y), 0.3)[:, None], 10 * y, y)


def as_it_is(x: np.ndarray, y: np.ndarray) -> Any:
    return x, y


@pytest.mark.parametrize(
    ("spoil", "expected"), [(exchanged_targets, ODD), (negative_inputs, ODD), (other_unit, ODD), (as_it_is, [])]
)
def test_a_part_of_train_whose_numbers_were_made_otherwise(spoil: Any, expected: list[str]) -> None:
    train, validation = rows_of(*spoil(*numbers(500, 0)), "train"), rows_of(*numbers(200, 1), "validation")
    flaws = odd_train_of_numbers(train, validation, rows_of(*numbers(200, 2), "test"))
    assert found(flaws) == expected
    assert all(flaw.also is Cause.MISMATCH and "go together" in flaw.says for flaw in flaws)


def test_where_validation_is_the_odd_one_train_is_not_blamed() -> None:
    x, y = numbers(200, 1)
    train, test = rows_of(*numbers(500, 0), "train"), rows_of(*numbers(200, 2), "test")
    assert odd_train_of_numbers(train, rows_of(x, y[:, ::-1].copy(), "validation"), test) == []


def labels(x: np.ndarray, y: np.ndarray) -> Any:
    return x, np.where(some(len(y), 0.3), (y + 1) % 3, y)


def columns(x: np.ndarray, y: np.ndarray) -> Any:
    return np.where(some(len(y), 0.5)[:, None], x[:, [1, 2, 0, 3]], x), y


@pytest.mark.parametrize(("spoil", "expected"), [(labels, ODD), (columns, ODD), (as_it_is, [])])
def test_a_part_of_train_whose_classes_or_columns_were_made_otherwise(spoil: Any, expected: list[str]) -> None:
    train, validation = rows_of(*spoil(*classes(500, 0)), "train"), rows_of(*classes(200, 1), "validation")
    known = opinions(train)
    assert known is not None
    flaws = odd_train_of_classes(known, validation, rows_of(*classes(200, 2), "test"))
    assert found(flaws) == expected
    assert all(flaw.number > 0.15 for flaw in flaws)


def test_validation_of_people_whom_train_does_not_know_does_not_spoil_train() -> None:
    """Each person has a place of their own, by which others of the same person are known, and nobody else."""
    random = np.random.default_rng(3)
    people, y = random.normal(size=(60, 4)) * 4, random.integers(0, 2, 60)
    who = np.repeat(np.arange(60), 12)
    x, y = people[who] + 0.2 * random.normal(size=(720, 4)), y[who]
    train, validation = rows_of(x[:480], y[:480], "train"), rows_of(x[480:], y[480:], "validation")
    known = opinions(train)
    assert known is not None
    assert known.accuracy > 0.9
    assert odd_train_of_classes(known, validation) == []
