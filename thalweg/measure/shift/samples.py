"""What the tests of two samples are given: rows of finite numbers, of each sample no more than a test can use."""

from typing import Any

import numpy as np

from thalweg.core.errors import DataError

CONSTANT = 1e-9
"""A column whose deviation is less than this share of its numbers does not vary."""


def two_samples(first: Any, second: Any, who: str, most: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Both samples as double numbers `(rows, columns)`, at most so many rows of each, spread evenly.

    >>> first, second = two_samples(np.ones((5, 2)), np.ones(3), "mmd", most=None)
    Traceback (most recent call last):
    thalweg.core.errors.DataError: mmd was given samples of (5, 2) and (3,). Give rows of as many columns: (rows, 2).

    Raises `DataError` for samples of other shapes, of fewer than two rows, or with numbers that are not finite.
    """
    own = [np.asarray(sample, dtype=np.float64) for sample in (first, second)]
    shapes = " and ".join(str(sample.shape) for sample in own)
    if any(sample.ndim != 2 for sample in own) or own[0].shape[1] != own[1].shape[1] or not own[0].shape[1]:
        columns = next((sample.shape[1] for sample in own if sample.ndim == 2 and sample.shape[1]), 1)
        raise DataError(f"{who} was given samples of {shapes}. Give rows of as many columns: (rows, {columns}).")
    if min(map(len, own)) < 2:
        raise DataError(f"{who} was given samples of {shapes}, but one row says nothing. Give two of each at least.")
    if not all(np.isfinite(sample).all() for sample in own):
        raise DataError(f"{who} was given numbers that are not finite. Leave out their rows, or fill them in.")
    kept = [sample if most is None else sample[:: -(-len(sample) // most)] for sample in own]
    return kept[0], kept[1]


def standardized(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Both samples, one behind the other, each column with mean 0 and deviation 1 over both; a constant one becomes 0.

    >>> standardized(np.array([[1.0, 5.0]]), np.array([[3.0, 5.0]])).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    whole = np.concatenate([first, second])
    centred = whole - whole.mean(0)
    deviation = centred.std(0)
    varies = deviation > CONSTANT * np.abs(whole).max(0)
    return np.where(varies, centred / np.where(varies, deviation, 1.0), 0.0)


def labelings(first: int, second: int, count: int, seed: int) -> np.ndarray:
    """Rows of 1 for the first sample and 0 for the second: as it is, then `count` random orders of it.

    >>> labelings(2, 1, 3, seed=0).sum(1).tolist()
    [2.0, 2.0, 2.0, 2.0]
    """
    own = np.repeat([1.0, 0.0], [first, second])
    random = np.random.default_rng(seed)
    return np.stack([own, *(random.permutation(own) for _ in range(count))])


def permutation_p(statistics: np.ndarray) -> float:
    """The p-value of the first statistic among those of random labelings: (1 + as large ones) / (1 + labelings).

    >>> permutation_p(np.array([3.0, 1.0, 2.0, 3.0]))
    0.5
    """
    slack = 1e-12 * max(1.0, float(np.abs(statistics).max()))
    return float((statistics >= statistics[0] - slack).mean())
