"""Made data as from the field: signs, faces, letters, rents, houses, heartbeats, mail, orders, songs, demand."""

from typing import Any

import numpy as np
from numpy.random import default_rng

from diagnosis_cases.tables import Pair, three

Parts = tuple[Pair, Pair, Pair]
DISTRICTS = 12
COMMON, OWN = 100, 20
"""Words that say nothing, and words of each topic; the topics' words follow the common ones."""


def signs(rows: int = 1200, size: int = 10, noise: float = 0.25, seed: int = 0) -> Parts:
    """Road signs, red, green and blue: a red or a blue ring or cross, anywhere; four classes."""
    draw = default_rng(seed)
    x, y = noise * draw.normal(size=(rows, 3, size, size)), draw.integers(0, 4, rows)
    ring, cross = np.ones((5, 5)), np.eye(5)
    ring[1:4, 1:4] = 0
    cross = np.maximum(cross, cross[::-1])
    for row in range(rows):
        top, left = draw.integers(0, size - 4, 2)
        place = np.s_[top : top + 5, left : left + 5]
        shape, colour = (ring, cross)[y[row] // 2], 2 * (y[row] % 2)
        x[row, colour][place] += 1.2 * shape
        x[row, 1][place] += 0.3 * shape
    return three(x.astype(np.float32), y)


def faces(rows: int = 1000, size: int = 12, noise: float = 0.1, seed: int = 1) -> Parts:
    """Where the eye and the mouth are: a round spot and a broad one, as x and y of each from -1 to 1."""
    draw = default_rng(seed)
    across, down = np.meshgrid(np.arange(size), np.arange(size))
    at = draw.uniform(2, size - 3, (rows, 4))
    square = lambda axis, n: (axis - at[:, n, None, None]) ** 2  # noqa: E731
    eye = np.exp(-(square(across, 0) + square(down, 1)) / 1.5)
    mouth = np.exp(-square(across, 2) / 8 - square(down, 3) / 0.8)
    x = (eye - mouth)[:, None] + noise * draw.normal(size=(rows, 1, size, size))
    y = 2 * at / (size - 1) - 1
    return three(x.astype(np.float32), y.astype(np.float32), classes=False)


def letters(rows: int = 1200, size: int = 10, noise: float = 0.3, seed: int = 2) -> Parts:
    """The letters b, d, p and q, anywhere in the image."""
    draw = default_rng(seed)
    x, y = noise * draw.normal(size=(rows, 1, size, size)), draw.integers(0, 4, rows)
    b = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]])
    shapes = (b, b[:, ::-1], b[::-1], b[::-1, ::-1])
    for row in range(rows):
        top, left = draw.integers(0, size - 5), draw.integers(0, size - 3)
        x[row, 0, top : top + 6, left : left + 4] += shapes[y[row]]
    return three(x.astype(np.float32), y)


def rents(rows: int = 1500, seed: int = 3) -> Parts:
    """The rent by longitude and latitude (both from 40 to 50 degrees), size and floor."""
    draw = default_rng(seed)
    place, rest = draw.uniform(-1, 1, (rows, 2)), draw.normal(size=(rows, 2))
    y = np.sin(3 * place[:, 0]) * np.cos(2 * place[:, 1]) + 0.8 * place[:, 1] + 0.5 * rest[:, 0]
    y = y + 0.2 * np.tanh(rest[:, 1]) + 0.1 * draw.normal(size=rows)
    return three(np.concatenate([45 + 5 * place, rest], 1), y[:, None].astype(np.float32), classes=False)


def houses(rows: int = 1600, seed: int = 4) -> Parts:
    """Prices, as logarithms, by area (square metres), year, rooms, distance, state and number of the district."""
    draw = default_rng(seed)
    area, year = draw.uniform(40, 160, rows), draw.uniform(1930, 2020, rows)
    rooms, distance, state = draw.integers(1, 7, rows), draw.uniform(0, 20, rows), draw.normal(size=rows)
    district, worth = draw.integers(0, DISTRICTS, rows), draw.permutation(np.linspace(-1, 1, DISTRICTS))
    y = 0.8 * (area - 100) / 35 + 1.2 * ((year - 1975) / 45) ** 2 + worth[district] + 0.2 * state
    y = y + 0.1 * rooms - 0.03 * distance + 0.15 * draw.normal(size=rows)
    x = np.stack([area, year, rooms, distance, state, district], 1)
    return three(x, (y[:, None] - y.mean()).astype(np.float32), classes=False)


def by_district(x: Any, y: Any) -> Pair:
    """The numbers of a house beside its district, one-hot."""
    return np.concatenate([x[:, :5], np.eye(DISTRICTS)[x[:, 5].astype(int)]], 1), y


def beats(rows: int = 1200, length: int = 40, noise: float = 0.25, seed: int = 5) -> Parts:
    """A heartbeat on two leads: as it should be, its last wave inverted, all of it low, or its first wave missing."""
    draw = default_rng(seed)
    y, time = draw.integers(0, 4, rows), np.arange(length)
    shift = draw.integers(-2, 3, (rows, 1))
    wave = lambda at, width: np.exp(-(((time - at - shift) / width) ** 2))  # noqa: E731
    kind = y[:, None]
    first, last = np.where(kind == 3, 0, 0.7) * wave(9, 2), np.where(kind == 1, -0.7, 0.7) * wave(29, 3)
    signal = np.where(kind == 2, 0.55, 1.0) * (first + 1.8 * wave(18, 1.2) + last)
    x = np.stack([signal, 0.5 * signal - 0.3 * wave(20, 1.5)], 1) + noise * draw.normal(size=(rows, 2, length))
    return three(x.astype(np.float32), y)


def mail(rows: int = 1600, length: int = 16, seed: int = 6) -> Parts:
    """Letters of sixteen words about one of four topics: at most seven of them, mostly fewer, are of the topic."""
    draw = default_rng(seed)
    weight = 1 / np.arange(1, COMMON + 1)
    words, y = draw.choice(COMMON, (rows, length), p=weight / weight.sum()), draw.integers(0, 4, rows)
    own = COMMON + OWN * y[:, None] + draw.integers(0, OWN, (rows, length))
    places = draw.permuted(np.tile(np.arange(length) < 7, (rows, 1)), axis=1) & (draw.random((rows, length)) < 0.55)
    return three(np.where(places, own, words), y)


def words_counted(x: Any) -> Any:
    """How often each word occurs."""
    return np.stack([(np.asarray(x) == kind).sum(1) for kind in range(COMMON + 4 * OWN)], 1)


def orders(rows: int = 1400, length: int = 9, seed: int = 7) -> Parts:
    """What customers did: of three things that each did once, which came last (0, 1 or 2), among others (3 to 7)."""
    draw = default_rng(seed)
    x = draw.integers(3, 8, (rows, length))
    places = draw.permuted(np.tile(np.arange(length), (rows, 1)), axis=1)[:, :3]
    np.put_along_axis(x, places, np.tile(np.arange(3), (rows, 1)), 1)
    return three(x, places.argmax(1))


def when_done(x: Any) -> Any:
    """At which step each of the three things was done, and which of two was earlier."""
    at = np.stack([(np.asarray(x) == kind).argmax(1) for kind in range(3)], 1)
    return np.concatenate([at, at - np.roll(at, 1, axis=1)], 1)


def songs(rows: int = 1500, seed: int = 8) -> Parts:
    """Four tags of a song, each given to about half of them, by curved rules of ten measures."""
    draw = default_rng(seed)
    x = draw.normal(size=(rows, 10))
    y = np.stack(
        [x[:, 0] + x[:, 1] > 0, x[:, 2] + np.abs(x[:, 3]) > 0.8, x[:, 4] - x[:, 5] > 0, x[:, 6] + x[:, 7] ** 2 > 0.8], 1
    )
    return three(x, y.astype(np.float32), classes=False)


def demand(rows: int = 1800, seed: int = 9) -> Parts:
    """The demand by hour (0 to 24), month (1 to 12), day (1 to 28) and warmth."""
    draw = default_rng(seed)
    hour, warmth = draw.uniform(0, 24, rows), draw.normal(size=rows)
    month, day = draw.integers(1, 13, rows), draw.integers(1, 29, rows)
    season = np.cos(2 * np.pi * (month + day / 28) / 12)
    daily = np.sin(2 * np.pi * (hour - 8) / 24) + 0.4 * np.cos(4 * np.pi * hour / 24)
    y = daily + season * (1 - 0.3 * warmth) + 0.2 * warmth**2 + 0.1 * draw.normal(size=rows)
    return three(np.stack([hour, month, day, warmth], 1), y[:, None].astype(np.float32), classes=False)


def around(x: Any, y: Any) -> Pair:
    """Hour and date on their circles, and the warmth."""
    turns = np.stack([x[:, 0] / 24, (x[:, 1] + x[:, 2] / 28) / 12], 1) * 2 * np.pi
    return np.concatenate([np.sin(turns), np.cos(turns), x[:, 3:]], 1), y


def strips(rows: int = 900, length: int = 24, noise: float = 0.3, seed: int = 10) -> Parts:
    """Where along a strip it is rough: from one place to another it swings, elsewhere it is smooth."""
    draw = default_rng(seed)
    start, long = draw.integers(0, length - 8, (rows, 1)), draw.integers(7, 14, (rows, 1))
    step = np.arange(length)
    rough = (step >= start) & (step < start + long)
    swing = np.where((step + draw.integers(0, 2, (rows, 1))) % 2, 1.0, -1.0)
    x = np.where(rough, swing, 0.7 * draw.normal(size=(rows, 1))) + noise * draw.normal(size=(rows, length))
    return three(x[:, None].astype(np.float32), rough.astype(np.float32), classes=False)


def batteries(rows: int = 1600, length: int = 10, seed: int = 11) -> Parts:
    """What is in a battery in the end, from what flowed in and out; it is never below 0 nor above 1."""
    draw = default_rng(seed)
    x, charge = 0.35 * draw.normal(size=(rows, length)), np.full(rows, 0.5)
    for step in range(length):
        charge = np.clip(charge + x[:, step], 0, 1)
    return three(3 * x[:, :, None].astype(np.float32), charge[:, None].astype(np.float32), classes=False)
