"""Tests of two samples, and shares of classes: against slow twins, known answers and their own false alarms."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp

from thalweg.core.errors import DataError, RecipeError, ThalwegError
from thalweg.measure.shift import classifier_two_sample, kolmogorov_smirnov, label_shift, mmd

RANDOM = np.random.default_rng(0)


def normal(rows: int, columns: int, mean: float = 0.0, deviation: float = 1.0) -> np.ndarray:
    return RANDOM.normal(mean, deviation, (rows, columns))


@pytest.mark.parametrize("rounded", [False, True])
def test_kolmogorov_smirnov_is_scipys_column_by_column(rounded: bool) -> None:
    first, second = normal(70, 5), normal(90, 5, 0.4)
    if rounded:  # many equal numbers
        first, second = first.round(), second.round()
    found = kolmogorov_smirnov(first, second)
    twins = [ks_2samp(first[:, j], second[:, j], method="asymp") for j in range(5)]
    np.testing.assert_allclose(found.distance, [twin.statistic for twin in twins], atol=1e-12)
    np.testing.assert_allclose(found.p, np.minimum([5 * twin.pvalue for twin in twins], 1.0), rtol=1e-9)


def test_the_discrepancy_is_the_double_sum_of_its_definition() -> None:
    first, second = normal(12, 3), normal(9, 3, 1.0)
    found = mmd(first, second)
    whole = np.concatenate([first, second])
    x = (whole - whole.mean(0)) / whole.std(0)
    kernel = [[np.exp(-np.sum((a - b) ** 2) / (2 * found.width**2)) for b in x] for a in x]

    def mean(rows: range, columns: range) -> float:
        return float(np.mean([kernel[i][j] for i in rows for j in columns if i != j]))

    own, other = range(12), range(12, 21)
    assert found.squared == pytest.approx(mean(own, own) + mean(other, other) - 2 * mean(own, other))
    apart = [np.sum((a - b) ** 2) for i, a in enumerate(x) for b in x[:i]]
    assert found.width**2 == pytest.approx(np.median(apart))


def test_the_classifier_is_fitted_anew_without_each_row() -> None:
    """The closed form against 24 regressions, each without the row that it is asked about."""
    first, second = normal(14, 2), normal(10, 2, 1.0)
    whole = np.concatenate([first, second])
    x = (whole - whole.mean(0)) / whole.std(0)
    x = np.concatenate([x, (x**2 - (x**2).mean(0)) / (x**2).std(0)], 1)
    y = np.repeat([1.0, 0.0], [14, 10]) - 14 / 24
    ridge = 0.1 * np.sum(x**2) / len(x)
    right = []
    for i in range(24):
        rest = np.arange(24) != i
        weights = np.linalg.solve(x[rest].T @ x[rest] + ridge * np.eye(4), x[rest].T @ y[rest])
        right.append((x[i] @ weights > 0) == (y[i] > 0))
    expected = (np.mean(right[:14]) + np.mean(right[14:])) / 2
    assert classifier_two_sample(first, second).accuracy == pytest.approx(expected)


@pytest.mark.parametrize("test", [lambda a, b: mmd(a, b).p, lambda a, b: classifier_two_sample(a, b).p])
def test_false_alarms_are_as_rare_as_they_are_said_to_be(test: Callable[[Any, Any], float]) -> None:
    p = np.array([test(normal(20, 4), normal(30, 4)) for _ in range(200)])
    assert (p < 0.05).mean() < 0.1
    assert 0.4 < p.mean() < 0.6
    assert test(normal(60, 4), normal(60, 4, 1.0)) < 0.01
    assert test(normal(60, 4), normal(60, 4, 0.0, 3.0)) < 0.01


def test_columns_that_do_not_vary_change_nothing() -> None:
    first, second = normal(30, 3), normal(30, 3, 0.5)
    more = [np.concatenate([part, np.full((30, 2), 7.0)], 1) for part in (first, second)]
    assert classifier_two_sample(*more) == classifier_two_sample(first, second)
    assert mmd(*more).p == mmd(first, second).p
    assert mmd(np.ones((5, 2)), np.ones((5, 2))).p == 1.0
    assert kolmogorov_smirnov(*more).moved.max(initial=0) < 3


def test_shares_of_classes_are_found_without_labels() -> None:
    """A classifier that is wrong in a fifth of the cases; counting what it says would give .56, not .7."""

    def drawn(shares: list[float], n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = RANDOM.choice(3, n, p=shares)
        return labels, np.where(RANDOM.random(n) < 0.2, RANDOM.choice(3, n), labels)

    labels, said = drawn([0.2, 0.3, 0.5], 3000)
    _, there = drawn([0.7, 0.2, 0.1], 3000)
    found = label_shift(said, labels, there, 3)
    np.testing.assert_allclose(found.after, [0.7, 0.2, 0.1], atol=0.05)
    assert ((found.low < [3.5, 2 / 3, 0.2]) & (np.array([3.5, 2 / 3, 0.2]) < found.high)).all()
    assert found.moved.tolist() == [0, 1, 2]
    _, same = drawn([0.2, 0.3, 0.5], 3000)
    assert len(label_shift(said, labels, same, 3).moved) <= 1


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: mmd(np.ones((3, 2)), np.ones((3, 4))), r"samples of \(3, 2\) and \(3, 4\)"),
        (lambda: kolmogorov_smirnov(np.ones((1, 2)), np.ones((3, 2))), "one row says nothing"),
        (lambda: kolmogorov_smirnov(np.ones((3, 0)), np.ones((3, 0))), "Give rows of as many columns"),
        (lambda: classifier_two_sample(np.full((3, 2), np.nan), np.ones((3, 2))), "not finite"),
        (lambda: mmd(np.ones((3, 2)), np.ones((3, 2)), permutations=5), "permutations=5 cannot reach"),
        (lambda: classifier_two_sample(np.ones((3, 2)), np.ones((3, 2)), permutations=0), "cannot reach"),
        (lambda: label_shift([0, 1], [0], [0], 2), "2 predictions and 1 labels"),
        (lambda: label_shift([0, 1], [0, 2], [0], 2), "class numbers go from 0 to 2"),
        (lambda: label_shift([0.5], [0], [0], 2), "takes class numbers"),
        (lambda: label_shift([0, 0], [0, 0], [0], 2), "class 1 has no example"),
        (lambda: label_shift([0, 1, 0, 1], [0, 0, 1, 1], [0], 2), "confuses its classes"),
    ],
)
def test_what_cannot_be_compared_is_refused(ask: Callable[[], Any], words: str) -> None:
    with pytest.raises((DataError, RecipeError), match=words) as told:
        ask()
    assert isinstance(told.value, ThalwegError)
