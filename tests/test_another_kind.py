"""Splits of another kind than train, and a train split that tells less than it should."""

from typing import Any

import numpy as np
import pytest
from rows import rows_of

from thalweg.diagnosis.checks.another_kind import (
    other_kind_of_classes,
    other_kind_of_numbers,
    train_tells_less,
    train_tells_less_of_numbers,
)
from thalweg.diagnosis.checks.opinions import opinions

RANDOM = np.random.default_rng(0)


def numbers(n: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    x = RANDOM.normal(size=(n, 4))
    y = x[:, 0] - 2 * x[:, 1] * (x[:, 2] > 0) + noise * RANDOM.normal(size=n)
    return x, y.astype(np.float32)


def scrambled(y: np.ndarray, share: float) -> np.ndarray:
    y, at = y.copy(), np.flatnonzero(RANDOM.random(len(y)) < share)
    y[at] = y[RANDOM.permutation(at)]
    return y


def found(flaws: Any) -> list[str]:
    return [flaw.mechanism for flaw in flaws]


def test_targets_scrambled_in_a_part_of_train() -> None:
    (x, y), other = numbers(800), rows_of(*numbers(250), "validation")
    spoiled = train_tells_less_of_numbers(rows_of(x, scrambled(y, 0.35), "train"), other)
    assert found(spoiled) == ["train tells less than validation"]
    assert spoiled[0].number > 0.2
    assert found(train_tells_less_of_numbers(rows_of(x, y, "train"), other)) == []


@pytest.mark.parametrize("noise", [0.1, 1.0, 5.0])
def test_noise_that_is_in_both_splits_spoils_neither(noise: float) -> None:
    train, other = rows_of(*numbers(600, noise), "train"), rows_of(*numbers(200, noise), "validation")
    assert train_tells_less_of_numbers(train, other) == []
    assert other_kind_of_numbers(train, other) == []


def test_a_smaller_train_split_is_not_compared() -> None:
    x, y = numbers(100)
    assert (
        train_tells_less_of_numbers(rows_of(x, scrambled(y, 0.5), "train"), rows_of(*numbers(300), "validation")) == []
    )


def test_numbers_of_another_kind() -> None:
    (x, y), train = numbers(250), rows_of(*numbers(600), "train")
    assert found(other_kind_of_numbers(train, rows_of(x, -y, "test"))) == ["test of another kind than train"]
    assert found(other_kind_of_numbers(train, rows_of(x, y, "test"))) == []


def test_classes_of_another_kind_and_train_labels_that_tell_less() -> None:
    x, y = RANDOM.normal(size=(900, 3)), np.arange(900) % 3
    x[:, 0] += 4 * y
    train, other = rows_of(x[:600], y[:600], "train"), rows_of(x[600:], y[600:], "validation")
    known = opinions(train)
    assert known is not None
    assert found(other_kind_of_classes(known, other)) == found(train_tells_less(known, other)) == []
    moved = rows_of(x[600:] - [4.0, 0, 0], y[600:], "validation")
    assert found(other_kind_of_classes(known, moved)) == ["validation of another kind than train"]
    noisy = opinions(rows_of(x[:600], scrambled(y[:600], 0.5), "train"))
    assert noisy is not None
    assert found(train_tells_less(noisy, other)) == ["train tells less than validation"]
