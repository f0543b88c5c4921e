"""Made sequences, signals and tiny images, each with a rule that a small network of its family can learn."""

from typing import Any

import numpy as np

from diagnosis_cases.tables import Pair, three

Parts = tuple[Pair, Pair, Pair]


def majority(rows: int = 1200, length: int = 12, seed: int = 0) -> Parts:
    """Noisy steps of +1 and -1; is their sum above 0? An odd number of them, so that there is an answer."""
    draw = np.random.default_rng(seed)
    signs = draw.choice([-1.0, 1.0], size=(rows, length - 1 + length % 2))
    x = signs + 0.1 * draw.normal(size=signs.shape)
    return three(x[:, :, None].astype(np.float32), (signs.sum(1) > 0).astype(int))


def first_sign(rows: int = 1200, length: int = 10, seed: int = 0) -> Parts:
    """Which of three marks came first, noise after it."""
    draw = np.random.default_rng(seed)
    x = 0.5 * draw.normal(size=(rows, length, 3))
    y = draw.integers(0, 3, rows)
    x[np.arange(rows), 0, y] += 3.0
    return three(x.astype(np.float32), y)


def adding(rows: int = 1500, length: int = 8, seed: int = 0, scale: float = 1.0) -> Parts:
    """Two of the numbers of a sequence are marked: their sum."""
    draw = np.random.default_rng(seed)
    values, marks = draw.uniform(-1, 1, (rows, length)), np.zeros((rows, length))
    for row in range(rows):
        marks[row, draw.choice(length, 2, replace=False)] = 1
    y = scale * (values * marks).sum(1, keepdims=True)
    return three(np.stack([values, marks], 2).astype(np.float32), y.astype(np.float32), classes=False)


def echo(rows: int = 600, length: int = 12, seed: int = 0) -> Parts:
    """At every step the mean of this and the last two numbers."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, length)).astype(np.float32)
    past = np.pad(x, ((0, 0), (2, 0)))
    y = (past[:, 2:] + past[:, 1:-1] + past[:, :-2]) / 3**0.5
    return three(x[:, :, None], y[:, :, None].astype(np.float32), classes=False)


def tags(rows: int = 700, length: int = 10, kinds: int = 6, seed: int = 0) -> Parts:
    """A tag for every token: its kind modulo three, one further if the token before was of kind 0."""
    draw = np.random.default_rng(seed)
    tokens = draw.integers(0, kinds, (rows, length))
    before = np.pad(tokens, ((0, 0), (1, 0)), constant_values=1)[:, :-1]
    return three(tokens, (tokens + (before == 0)) % 3, classes=False)


def last_of_two(rows: int = 1500, length: int = 10, kinds: int = 8, seed: int = 0) -> Parts:
    """Which of the tokens 0 and 1 came last? Both occur, among others."""
    draw = np.random.default_rng(seed)
    tokens = draw.integers(2, kinds, (rows, length))
    y = draw.integers(0, 2, rows)
    for row in range(rows):
        early, late = np.sort(draw.choice(length, 2, replace=False))
        tokens[row, early], tokens[row, late] = 1 - y[row], y[row]
    return three(tokens, y)


def counted(rows: int = 1200, length: int = 15, kinds: int = 10, seed: int = 0) -> Parts:
    """Whether tokens of the lower half of the alphabet outnumber the others."""
    draw = np.random.default_rng(seed)
    tokens = draw.integers(0, kinds, (rows, length))
    return three(tokens, ((tokens < kinds // 2).sum(1) > length // 2).astype(int))


def lookup(rows: int = 2000, pairs: int = 4, kinds: int = 4, seed: int = 0) -> Parts:
    """Pairs of key and value as one-hot rows and a question for one key: its value."""
    draw = np.random.default_rng(seed)
    keys = np.stack([draw.permutation(pairs) for _ in range(rows)])
    values = draw.integers(0, kinds, (rows, pairs))
    asked = draw.integers(0, pairs, rows)
    x = np.zeros((rows, pairs + 1, pairs + kinds), np.float32)
    x[np.arange(rows)[:, None], np.arange(pairs), keys] = 1
    x[np.arange(rows)[:, None], np.arange(pairs), pairs + values] = 1
    x[np.arange(rows), pairs, asked] = 1
    return three(x, values[np.arange(rows), (keys == asked[:, None]).argmax(1)])


def waves(rows: int = 900, length: int = 32, noise: float = 0.4, seed: int = 0) -> Parts:
    """A wave of one of three frequencies in noise, at any phase."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 3, rows)
    turns = np.array([2.0, 4.0, 7.0])[y][:, None]
    x = np.sin(2 * np.pi * (turns * np.arange(length) / length + draw.uniform(size=(rows, 1))))
    return three((x + noise * draw.normal(size=x.shape))[:, None].astype(np.float32), y)


def forecast(rows: int = 1000, length: int = 12, seed: int = 0) -> Parts:
    """The next number of a wave of its own frequency and phase, in a little noise."""
    draw = np.random.default_rng(seed)
    time = np.arange(length + 1)
    x = np.sin(draw.uniform(0.3, 1.2, (rows, 1)) * time + draw.uniform(0, 2 * np.pi, (rows, 1)))
    x = (x + 0.05 * draw.normal(size=x.shape)).astype(np.float32)
    return three(x[:, :-1, None], x[:, -1:], classes=False)


def bars(rows: int = 900, size: int = 10, noise: float = 0.3, seed: int = 0, channels: int = 1) -> Parts:
    """A short line anywhere in a noisy image: upright, lying, or a slope."""
    draw = np.random.default_rng(seed)
    x = noise * draw.normal(size=(rows, channels, size, size))
    y = draw.integers(0, 3, rows)
    for row in range(rows):
        top, left = draw.integers(0, size - 4, 2)
        along = np.arange(5)
        place = {0: (top + along, left + 2), 1: (top + 2, left + along), 2: (top + along, left + along)}[int(y[row])]
        x[(row, slice(None), *place)] += 1.0
    return three(x.astype(np.float32), y)


def spots(rows: int = 900, size: int = 9, noise: float = 0.1, seed: int = 0) -> Parts:
    """A spot in a noisy image: where it is, from -1 to 1 in both directions."""
    draw = np.random.default_rng(seed)
    where = draw.uniform(1, size - 2, (rows, 2))
    grid = np.arange(size)
    down = np.exp(-((grid - where[:, :1]) ** 2) / 1.5)
    right = np.exp(-((grid - where[:, 1:]) ** 2) / 1.5)
    x = down[:, None, :, None] * right[:, None, None, :] + noise * draw.normal(size=(rows, 1, size, size))
    return three(x.astype(np.float32), ((where - (size - 1) / 2) / (size / 2 - 1.5)).astype(np.float32), classes=False)


def counts(x: Any) -> Any:
    """How often each token occurs: what a reference learner sees of a bag."""
    return np.stack([(np.asarray(x) == kind).sum(1) for kind in range(10)], 1)


def places(x: Any) -> Any:
    """The place at which tokens 0 and 1 stand."""
    return np.stack([(np.asarray(x) == kind).argmax(1) for kind in (0, 1)], 1)


def sums(x: Any) -> Any:
    """The sum over time, and of the product of the channels."""
    x = np.asarray(x)
    return np.concatenate([x.sum(1), x.prod(2, keepdims=True).sum(1)], 1)


def windows(x: Any) -> Any:
    """The spectrum of a signal."""
    return np.abs(np.fft.rfft(np.asarray(x)[:, 0], axis=1))
