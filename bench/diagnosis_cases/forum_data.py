"""Made data of the kinds that questions are asked about: counts, levels, pairs, bags, graphs, padded and timed rows."""

from typing import Any

import numpy as np
from numpy.random import default_rng
from sklearn import datasets

from diagnosis_cases.tables import Pair, three

Parts = tuple[Pair, Pair, Pair]
PAD = 0
UNKNOWN = -100


def bikes(rows: int = 2000, seed: int = 0, level: float = 0.5) -> Parts:
    """How many bikes are rented in an hour: counts whose rate rises and falls with the hour and the warmth."""
    draw = default_rng(seed)
    x = draw.uniform(-1, 1, (rows, 6))
    rate = np.exp(level + 1.6 * np.sin(3 * x[:, 0]) + 1.2 * x[:, 1] * (x[:, 2] > 0))
    return three(x, draw.poisson(rate)[:, None].astype(np.float32), classes=False)


def grades(rows: int = 1500, seed: int = 1, cuts: Any = (-1.2, -0.4, 0.4, 1.2)) -> Parts:
    """A grade from 0 to 4 by a curved sum that is cut at four levels."""
    draw = default_rng(seed)
    x = draw.normal(size=(rows, 8))
    level = x[:, 0] + np.sin(2 * x[:, 1]) + 0.5 * x[:, 2] * x[:, 3] + 0.1 * draw.normal(size=rows)
    return three(x, np.digitize(level, np.asarray(cuts)))


def digit_pairs(train: int = 3000, seed: int = 0) -> tuple[Any, Any, Any]:
    """Two digits, of the same class or not. Half of the pairs are; no image is in two splits."""
    x, y = datasets.load_digits(return_X_y=True)
    draw, made = default_rng(seed), []
    for (part, label), count in zip(three((x / 16).astype(np.float32), y), (train, 500, 500), strict=True):
        first = draw.integers(0, len(label), count)
        same = draw.random(count) < 0.5
        second = np.array(
            [draw.choice(np.flatnonzero((label == label[i]) == s)) for i, s in zip(first, same, strict=True)]
        )
        made.append(((part[first], part[second]), same.astype(np.float32)))
    return made[0], made[1], made[2]


def utility(x: Any) -> Any:
    """What makes one offer better than another."""
    return 2 * np.sin(2 * x[:, 0]) + x[:, 1] ** 2 - np.abs(x[:, 2]) + 0.5 * x[:, 3] * x[:, 4]


def offers(rows: int = 2000, seed: int = 2) -> tuple[Any, Any, Any]:
    """Two offers, and whether the first is preferred."""
    draw = default_rng(seed)
    x = draw.normal(size=(rows, 2, 6)).astype(np.float32)
    y = (utility(x[:, 0]) > utility(x[:, 1])).astype(np.float32)
    (a, ya), (b, yb), (c, yc) = three(x, y)
    return ((a[:, 0], a[:, 1]), ya), ((b[:, 0], b[:, 1]), yb), ((c[:, 0], c[:, 1]), yc)


def sensors(rows: int = 1500, factors: int = 3, seed: int = 3, noise: float = 0.3) -> Parts:
    """Eight noisy sensors of three hidden factors, and what they would read without noise."""
    draw = default_rng(seed)
    mix, hidden = draw.normal(size=(factors, 8)), draw.normal(size=(rows, factors))
    clean = np.tanh(hidden @ mix) + 0.3 * (hidden**2) @ draw.normal(size=(factors, 8))
    return three(clean + noise * draw.normal(size=clean.shape), clean.astype(np.float32), classes=False)


def regimes(rows: int = 2000, seed: int = 4, shares: Any = (0.34, 0.33, 0.33)) -> Parts:
    """Three kinds of machine, each with its own curve of the other inputs."""
    draw = default_rng(seed)
    kind = draw.choice(3, rows, p=np.asarray(shares))
    x = draw.uniform(-1, 1, (rows, 5))
    y = np.select([kind == 0, kind == 1], [2 * x[:, 0] - x[:, 1], np.sin(4 * x[:, 2])], 1 - 3 * x[:, 0] * x[:, 3])
    y = y + 0.1 * draw.normal(size=rows)
    return three(np.concatenate([np.eye(3)[kind], x], 1), y[:, None].astype(np.float32), classes=False)


def sentences(rows: int = 800, longest: int = 9, kinds: int = 9, seed: int = 5, shortest: int = 4) -> Parts:
    """Tagged sentences of any length, padded: the tag is the kind of word modulo 4, one further before a 1."""
    draw = default_rng(seed)
    words = draw.integers(1, kinds, (rows, longest))
    after = np.pad(words, ((0, 0), (0, 1)), constant_values=2)[:, 1:]
    over = np.arange(longest) >= draw.integers(shortest, longest + 1, rows)[:, None]
    tags = (words + (after == 1)) % 4
    last = np.roll(over, -1, 1) | (np.arange(longest) == longest - 1)
    tags = np.where(last, words % 4, tags)
    return three(np.where(over, PAD, words), np.where(over, UNKNOWN, tags), classes=False)


def molecules(rows: int = 1000, nodes: int = 9, density: float = 0.22, seed: int = 6) -> tuple[Any, Any, Any]:
    """Directed graphs, and whether two nodes or more of the first kind are reached from one of the second."""
    draw = default_rng(seed)
    kinds = draw.integers(0, 4, (rows, nodes))
    edges = (draw.random((rows, nodes, nodes)) < density).astype(np.float32) * (1 - np.eye(nodes, dtype=np.float32))
    x = np.eye(4, dtype=np.float32)[kinds]
    y = (reached(x, edges) > 1).astype(int)
    made = [(tuple(part[0]), part[1]) for part in _three_of((x, edges), y)]
    return made[0], made[1], made[2]


def reached(x: Any, edges: Any) -> Any:
    """How many nodes of the first kind are reached from one of the second; edges[i, j] goes from j to i."""
    return (x[:, :, 0] * ((edges @ x)[:, :, 1] > 0)).sum(1)


def _three_of(columns: Any, y: Any, classes: bool = True) -> Any:
    (a, ya), (b, yb), (c, yc) = three(np.arange(len(y)), y, classes=classes)
    return [([column[at] for column in columns], label) for at, label in ((a, ya), (b, yb), (c, yc))]


def loads(steps: int = 1400, lags: int = 24, seed: int = 7, drift: float = 0.0) -> Parts:
    """The load of a grid, an hour ahead, from the hours before; the splits follow one another in time."""
    draw = default_rng(seed)
    time = np.arange(steps)
    noise = draw.normal(size=steps)
    series = np.zeros(steps)
    for t in range(2, steps):
        series[t] = 1.2 * series[t - 1] - 0.75 * series[t - 2] + 0.25 * noise[t]
    series = series + np.sin(2 * np.pi * time / 12) * (1 + 0.5 * np.sin(2 * np.pi * time / 8))
    series = series + drift * (time > 0.8 * steps)
    x = np.stack([series[t : t + lags] for t in range(steps - lags)])[:, None]
    y = series[lags:, None]
    first, second = int(0.6 * len(y)), int(0.8 * len(y))
    parts = [
        (x[s].astype(np.float32), y[s].astype(np.float32))
        for s in (slice(first), slice(first, second), slice(second, None))
    ]
    return parts[0], parts[1], parts[2]


def melodies(rows: int = 1000, length: int = 10, kinds: int = 5, seed: int = 8) -> Parts:
    """The next note is the sum of the last two modulo five; the first two are free. In the test it is played on.

    In training and validation all notes are given, and at each the next is asked for. In the test a melody ends
    somewhere, with rests after it, and the note after its last one is asked for.
    """
    draw = default_rng(seed)
    notes = draw.integers(0, kinds, (rows, length + 1))
    for t in range(2, length + 1):
        notes[:, t] = (notes[:, t - 1] + notes[:, t - 2]) % kinds
    x, y = notes[:, :-1].copy(), notes[:, 1:].copy()
    y[:, 0] = UNKNOWN
    train, validation, (tx, ty) = three(x, y, classes=False)
    end = draw.integers(1, length, len(tx))[:, None]
    tx, ty = np.where(np.arange(length) > end, kinds, tx), np.where(np.arange(length) == end, ty, UNKNOWN)
    return train, validation, (tx, ty)


def drawings(rows: int = 1200, size: int = 10, noise: float = 0.25, seed: int = 9) -> Parts:
    """Which of an upright line, a lying line and a ring are in an image: any of them, or none."""
    draw = default_rng(seed)
    x, y = noise * draw.normal(size=(rows, 1, size, size)), draw.integers(0, 2, (rows, 3))
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
    for row in range(rows):
        for shape, (height, width) in enumerate(((5, 1), (1, 5), (3, 3))):
            top, left = draw.integers(0, size - height + 1), draw.integers(0, size - width + 1)
            if y[row, shape]:
                x[row, 0, top : top + height, left : left + width] += ring if shape == 2 else 1
    return three(x.astype(np.float32), y.astype(np.float32), classes=False)


def bags(rows: int = 1200, size: int = 8, seed: int = 10) -> Parts:
    """Bags of eight cells; a bag is positive where one of them lies in a small ball."""
    draw = default_rng(seed)
    x = draw.normal(size=(rows, size, 4))
    centre = np.array([1.5, 1.0, -1.0, 0.5])
    y = draw.integers(0, 2, rows)
    near = np.linalg.norm(x - centre, axis=2) < 1.4
    x = np.where(near[:, :, None], -x, x)
    sick = centre + 0.35 * draw.normal(size=(rows, 4))
    x[np.flatnonzero(y), draw.integers(0, size, rows)[y == 1]] = sick[y == 1]
    return three(x.astype(np.float32), y)


def visits(rows: int = 1000, longest: int = 12, seed: int = 11, shortest: int = 3) -> tuple[Any, Any, Any]:
    """Visits of a patient, padded with zeros, and their number; the class is the state at the last visit but one."""
    draw = default_rng(seed)
    x = 0.3 * draw.normal(size=(rows, longest, 4))
    states, lengths = draw.integers(0, 4, (rows, longest)), draw.integers(shortest, longest + 1, rows)
    x += 1.5 * np.eye(4)[states]
    x *= (np.arange(longest) < lengths[:, None])[:, :, None]
    y = states[np.arange(rows), lengths - 2]
    parts = [({"visits": a, "lengths": b}, label) for (a, b), label in _three_of((x.astype(np.float32), lengths), y)]
    return parts[0], parts[1], parts[2]


def screening(rows: int = 2000, seed: int = 12, share: float = 0.1) -> Parts:
    """One person in ten is ill: a shell of rows around the healthy ones."""
    draw = default_rng(seed)
    y = (draw.random(rows) < share).astype(int)
    x = 0.7 * draw.normal(size=(rows, 6))
    x[:, :3] = np.where(
        y[:, None] == 1, 3.2 * _unit(draw.normal(size=(rows, 3))) + 0.4 * draw.normal(size=(rows, 3)), x[:, :3]
    )
    return three(x, y)


def _unit(x: Any) -> Any:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def sales(rows: int = 2000, shops: int = 12, seed: int = 13) -> tuple[Any, Any, Any]:
    """What a shop sells: its own level and its own answer to the price, with weather beside it."""
    draw = default_rng(seed)
    shop, x = draw.integers(0, shops, rows), draw.uniform(-1, 1, (rows, 4)).astype(np.float32)
    level, slope = draw.normal(size=shops), draw.normal(size=shops)
    y = level[shop] + 1.5 * slope[shop] * x[:, 0] + np.sin(3 * x[:, 1]) + 0.1 * draw.normal(size=rows)
    made = [(tuple(part), label) for part, label in _three_of((shop, x), y[:, None].astype(np.float32), False)]
    return made[0], made[1], made[2]


def survival(rows: int = 2000, seed: int = 14, censored: float = 0.5) -> Parts:
    """Whether a patient lives beyond each of four years: 1, 0, or -1 where it is not known, as the study ended."""
    draw = default_rng(seed)
    x = draw.normal(size=(rows, 7))
    risk = np.exp(1.2 * x[:, 0] + np.abs(x[:, 1]) - 0.8 * x[:, 2] * (x[:, 3] > 0) - 0.6)
    died = 3.0 / risk * draw.gamma(12, 1 / 12, rows)
    left = np.where(draw.random(rows) < censored, draw.uniform(0, 4, rows), 9.0)
    years = np.array([0.5, 1.5, 2.5, 3.5])
    y = np.where(years < np.minimum(died, left)[:, None], 1, np.where((died <= left)[:, None], 0, -1))
    return three(x, y.astype(np.float32), classes=False)


def tickets(rows: int = 1500, seed: int = 15) -> tuple[Any, Any, Any]:
    """Support tickets: whether one is urgent, and how many hours it takes, both curved."""
    draw = default_rng(seed)
    x = draw.normal(size=(rows, 8)).astype(np.float32)
    urgent = (x[:, 0] * x[:, 1] + x[:, 2] > 0).astype(np.float32)
    hours = (np.sin(2 * x[:, 3]) + x[:, 4] + 0.1 * draw.normal(size=rows)).astype(np.float32)
    made = [(part[0], label, part[1]) for part, label in _three_of((x, hours), urgent)]
    return made[0], made[1], made[2]


def gaits(people: int = 60, windows: int = 20, seed: int = 16, test_people: int = 20, apart: bool = True) -> Parts:
    """Windows of a walk: does the person limp? Everybody has a gait, and either limps or does not.

    The test has people of its own; so has the validation part where the people are kept apart.
    """
    draw = default_rng(seed)
    limps = np.arange(people) % 2
    gait = 1.5 * draw.normal(size=(people, 24))
    sign = np.zeros(24)
    sign[:4] = 1.0
    who = np.repeat(np.arange(people), windows)
    x = gait[who] + 0.6 * draw.normal(size=(len(who), 24)) + 1.2 * np.outer(2.0 * limps[who] - 1, sign)
    tested = who >= people - test_people
    free = np.flatnonzero(~tested)
    shown = (who[free] < people - test_people - 10) if apart else draw.random(len(free)) < 0.75
    parts = [(x[at].astype(np.float32), limps[who[at]]) for at in (free[shown], free[~shown], np.flatnonzero(tested))]
    return parts[0], parts[1], parts[2]


def spirals(rows: int = 1500, seed: int = 17) -> Parts:
    """Two arms of a spiral."""
    draw = default_rng(seed)
    y = np.arange(rows) % 2
    turn = 0.6 + 2.2 * np.pi * np.sqrt(draw.random(rows))
    x = np.stack([np.cos(turn + np.pi * y), np.sin(turn + np.pi * y)], 1) * turn[:, None] / 4
    return three(x + 0.04 * draw.normal(size=x.shape), y)


def winds(rows: int = 1500, seed: int = 18) -> Parts:
    """A wind whose gusts are stronger where it is warmer."""
    draw = default_rng(seed)
    x = draw.uniform(-1, 1, (rows, 4))
    y = np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] + np.exp(-2.5 + 1.0 * x[:, 3]) * draw.normal(size=rows)
    return three(x, y[:, None].astype(np.float32), classes=False)
