"""Made data as in exercises and papers: ratings, games, counts, sweeps, words, lags, loans, parities."""

from typing import Any

import numpy as np
from numpy.random import default_rng
from sklearn import datasets

from diagnosis_cases.forum_data import UNKNOWN
from diagnosis_cases.tables import Pair, three

Parts = tuple[Pair, Pair, Pair]


def ratings(users: int = 40, items: int = 30, rank: int = 3, noise: float = 0.2, seed: int = 0) -> Parts:
    """Who rates what how: products of three hidden tastes. Each pair of user and item occurs once."""
    draw = default_rng(seed)
    taste, style = draw.normal(size=(users, rank)), draw.normal(size=(items, rank))
    y = (taste @ style.T / rank**0.5).reshape(-1, 1) + noise * draw.normal(size=(users * items, 1))
    pairs = np.stack(np.divmod(np.arange(users * items), items), 1)
    return three(pairs, y.astype(np.float32), classes=False)


def games(rows: int = 1500, players: int = 12, seed: int = 1) -> Parts:
    """Whether the first of two players wins; each has a strength, and luck decides some games."""
    draw = default_rng(seed)
    strength = 2.5 * draw.permutation(np.linspace(-1, 1, players))
    first = draw.integers(0, players, rows)
    second = (first + draw.integers(1, players, rows)) % players
    won = strength[first] - strength[second] + 0.3 * draw.logistic(size=rows) > 0
    return three(np.stack([first, second], 1), won.astype(int))


def products(rows: int = 1500, seed: int = 2) -> Parts:
    """Yields of fields: two products of inputs and a curve of a fifth."""
    draw = default_rng(seed)
    x = draw.uniform(-1, 1, (rows, 8))
    y = 2 * (x[:, 0] * x[:, 1] + x[:, 2] * x[:, 3]) + np.sin(2 * x[:, 4]) + 0.1 * draw.normal(size=rows)
    return three(x, y[:, None].astype(np.float32), classes=False)


def blobs(rows: int = 1200, noise: float = 0.1, seed: int = 3) -> Parts:
    """How many blobs, none to four, are in an image of 12 x 12 pixels; no two touch."""
    draw = default_rng(seed)
    x, y = noise * draw.normal(size=(rows, 1, 12, 12)), draw.integers(0, 5, rows)
    blob = np.array([[0.5, 1.0, 0.5], [1.0, 1.5, 1.0], [0.5, 1.0, 0.5]])
    for row in range(rows):
        for cell in draw.choice(9, y[row], replace=False):
            top, left = 4 * np.array(divmod(int(cell), 3)) + draw.integers(0, 2, 2)
            x[row, 0, top : top + 3, left : left + 3] += blob
    return three(x.astype(np.float32), y)


def sweeps(rows: int = 1000, length: int = 48, noise: float = 0.3, seed: int = 4) -> Parts:
    """A tone that rises or falls, at any phase, in noise."""
    draw = default_rng(seed)
    y, time = draw.integers(0, 2, rows), np.arange(length) / length
    turns = 2 * time + 5 * time**2 + draw.uniform(size=(rows, 1))
    x = np.sin(2 * np.pi * turns)
    x = np.where(y[:, None] == 1, x, x[:, ::-1]) + noise * draw.normal(size=x.shape)
    return three(x[:, None].astype(np.float32), y)


def reviews(rows: int = 2400, length: int = 12, kinds: int = 120, seed: int = 5) -> Parts:
    """Reviews of twelve words: twenty words praise, twenty blame, the others say nothing."""
    draw = default_rng(seed)
    words = draw.integers(0, kinds, (3 * rows, length))
    tone = (words < 20).sum(1) - ((words >= 20) & (words < 40)).sum(1)
    words, tone = words[tone != 0][:rows], tone[tone != 0][:rows]
    return three(words, (tone > 0).astype(int))


def word_counts(x: Any) -> Any:
    """How often each of the words occurs."""
    return np.stack([(np.asarray(x) == kind).sum(1) for kind in range(120)], 1)


def delays(rows: int = 700, length: int = 14, kinds: int = 5, lag: int = 5, seed: int = 6) -> Parts:
    """At every step the symbol itself, or, at a 0 or a 1, the symbol five steps before."""
    draw = default_rng(seed)
    x = draw.integers(0, kinds, (rows, length))
    before = np.pad(x, ((0, 0), (lag, 0)))[:, :length]
    y = np.where(x < 2, before, x)
    y[:, :lag] = UNKNOWN
    return three(x, y, classes=False)


def loans(rows: int = 2000, seed: int = 7) -> Parts:
    """Whether a loan is paid back: much of it is chance, the rest is linear."""
    draw = default_rng(seed)
    x = draw.normal(size=(rows, 10))
    y = draw.random(rows) < 1 / (1 + np.exp(-(0.8 * x[:, 0] - 0.6 * x[:, 1] + 0.4 * x[:, 2] - 0.4 * x[:, 3])))
    return three(x, y[:, None].astype(np.float32))


def frauds(rows: int = 2500, share: float = 0.04, seed: int = 8) -> Parts:
    """Four payments in a hundred are frauds, and look a little otherwise."""
    draw = default_rng(seed)
    y = (draw.random(rows) < share).astype(int)
    x = draw.normal(size=(rows, 8)) + 1.5 * y[:, None] * (np.arange(8) < 3)
    return three(x, y)


def parity(rows: int = 1500, bits: int = 10, seed: int = 9) -> Parts:
    """Whether the product of three of ten signs is positive."""
    draw = default_rng(seed)
    x = draw.choice([-1.0, 1.0], size=(rows, bits))
    return three(x, (x[:, 1] * x[:, 4] * x[:, 7] > 0).astype(int))


def delays_of_trains(rows: int = 1500, seed: int = 10) -> Parts:
    """By how much a train is late: a curve of four inputs, and now and then far more."""
    draw = default_rng(seed)
    x = draw.uniform(-1, 1, (rows, 6))
    y = np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] + np.abs(x[:, 3]) + 0.25 * draw.standard_t(3, rows)
    return three(x, y[:, None].astype(np.float32), classes=False)


def iris() -> Parts:
    """150 irises of three kinds, four measures."""
    return three(*datasets.load_iris(return_X_y=True))


def patches(image: Any) -> Any:
    """Images of 9 x 9 pixels as nine patches of 3 x 3."""
    return image.reshape(-1, 3, 3, 3, 3).transpose(0, 1, 3, 2, 4).reshape(-1, 9, 9)


def noisy_yields(rows: int = 1500, seed: int = 11) -> Parts:
    """Yields of fields of which half of the variance is chance."""
    train, validation, test = products(rows, seed)
    draw = default_rng(seed)
    a, b, c = ((x, (y + draw.normal(size=y.shape)).astype(np.float32)) for x, y in (train, validation, test))
    return a, b, c


def warmth(rows: int = 1500, seed: int = 12, kelvin: float = 0.0) -> Parts:
    """What a house needs by six temperatures, as deviations from their mean, or in Kelvin by as much more."""
    draw = default_rng(seed)
    x = draw.normal(size=(rows, 6))
    y = np.sin(1.5 * x[:, 0]) + 0.7 * x[:, 1] * x[:, 2] + 0.5 * np.abs(x[:, 3]) + 0.1 * draw.normal(size=rows)
    return three(5 * x + kelvin if kelvin else x, y[:, None].astype(np.float32), classes=False)
