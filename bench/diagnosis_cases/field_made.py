"""Data of the field: an arm, shells, pulses, brackets, gratings, calls, motifs, sets, circuits and votes."""

from typing import Any

import numpy as np
from sklearn import datasets

from diagnosis_cases.sequences import Parts
from diagnosis_cases.tables import three

MOTIF = (3, 7, 1)


def arm(rows: int = 1200, tool: float = 0.6, seed: int = 0) -> Parts:
    """Where the hand of an arm of three links is, from the angles of its joints."""
    angles = np.random.default_rng(seed).uniform(-1.5, 1.5, (rows, 3))
    turned = angles.cumsum(1)
    links = np.array([1.0, 0.8, tool])
    hand = np.stack([(links * np.cos(turned)).sum(1), (links * np.sin(turned)).sum(1)], 1)
    return three(angles, hand.astype(np.float32), classes=False)


def shells(rows: int = 1500, seed: int = 2) -> Parts:
    """Points of three shells in four dimensions."""
    return three(*datasets.make_gaussian_quantiles(n_samples=rows, n_features=4, n_classes=3, random_state=seed))


def orders(rows: int = 1200, length: int = 14, noise: float = 0.1, seed: int = 0) -> Parts:
    """Two pulses at any two times, each on one of two wires: which wire came first and which second."""
    draw = np.random.default_rng(seed)
    x = noise * draw.normal(size=(rows, length, 2))
    wires = draw.integers(0, 2, (rows, 2))
    for row in range(rows):
        for time, wire in zip(np.sort(draw.choice(length, 2, replace=False)), wires[row], strict=True):
            x[row, time, wire] += 1.0
    return three(x.astype(np.float32), 2 * wires[:, 0] + wires[:, 1])


def depths(rows: int = 600, length: int = 14, seed: int = 0) -> Parts:
    """How deep brackets are nested at every step: 0 opens, 1 closes if one is open, 2 is a word."""
    draw = np.random.default_rng(seed)
    tokens = draw.choice(3, (rows, length), p=[0.4, 0.35, 0.25])
    deep, said = np.zeros(rows), []
    for step in np.array([1, -1, 0])[tokens].T:
        deep = np.maximum(deep + step, 0)
        said.append(deep)
    return three(tokens, (np.stack(said, 1)[:, :, None] / 2).astype(np.float32), classes=False)


def gratings(rows: int = 800, size: int = 12, noise: float = 0.5, seed: int = 0, coarse: float = 1.0) -> Parts:
    """Stripes of any phase in noise: lying, upright, or sloping to either side."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 4, rows)
    turn = (np.pi / 4 * y + draw.normal(0, 0.1, rows))[:, None, None]
    down, right = np.mgrid[:size, :size]
    along = np.cos(turn) * down + np.sin(turn) * right
    cycles = draw.uniform(0.15, 0.25, (rows, 1, 1)) / coarse
    x = np.sin(2 * np.pi * (cycles * along + draw.random((rows, 1, 1)))) + noise * draw.normal(size=along.shape)
    return three(x[:, None].astype(np.float32), y)


def calls(rows: int = 1500, seed: int = 0) -> Parts:
    """Calls in an hour: the day of the week, the time of the day, and three numbers of which one matters."""
    draw = np.random.default_rng(seed)
    day, time, more = draw.integers(0, 7, rows), draw.uniform(-1, 1, rows), draw.normal(size=(rows, 3))
    level = np.array([1.4, 1.2, 1.1, 1.2, 1.5, 0.2, -0.3])[day]
    peak = np.where(day < 5, -0.3, 0.4)
    rate = np.exp(level + 1.2 * np.cos(2.5 * (time - peak)) + 0.5 * more[:, 0])
    x = np.column_stack([day, time, more])
    return three(x.astype(np.float32), draw.poisson(rate)[:, None].astype(np.float32), classes=False)


def has_motif(tokens: Any) -> Any:
    """Whether the three tokens of the motif follow each other anywhere."""
    follow = [tokens[:, n : tokens.shape[1] - 2 + n] == token for n, token in enumerate(MOTIF)]
    return np.logical_and.reduce(follow).any(1)


def motifs(rows: int = 1500, length: int = 18, kinds: int = 12, seed: int = 0) -> Parts:
    """Whether a motif of three tokens occurs; in the others its tokens stand in another order."""
    draw = np.random.default_rng(seed)
    tokens = draw.integers(0, kinds, (rows, length))
    for row, place in enumerate(draw.integers(0, length - 2, rows)):
        tokens[row, place : place + 3] = MOTIF if row % 2 else draw.permutation(MOTIF)
    return three(tokens, has_motif(tokens)[:, None].astype(np.float32), classes=False)


def pairs_of_motif(tokens: Any) -> Any:
    """Which pairs of the motif's tokens follow each other, and the motif itself."""
    tokens = np.asarray(tokens)
    first = ((tokens[:, :-1] == MOTIF[0]) & (tokens[:, 1:] == MOTIF[1])).any(1)
    second = ((tokens[:, :-1] == MOTIF[1]) & (tokens[:, 1:] == MOTIF[2])).any(1)
    return np.stack([first, second, has_motif(tokens)], 1).astype(float)


def spans(rows: int = 1200, size: int = 8, seed: int = 0) -> Parts:
    """Sets of readings of an instrument: how far the largest and the smallest lie apart."""
    draw = np.random.default_rng(seed)
    x = draw.uniform(0.2, 1.5, (rows, 1)) * draw.normal(size=(rows, size)) + draw.normal(size=(rows, 1))
    return three(x[:, :, None].astype(np.float32), np.ptp(x, axis=1, keepdims=True).astype(np.float32), classes=False)


def circuits(rows: int = 1000, seed: int = 0) -> Parts:
    """The impedance of circuits in ohms, from measures whose scales differ by a thousand and more."""
    x, y = datasets.make_friedman2(rows, noise=20.0, random_state=seed)
    return three(x, y[:, None], classes=False)


def in_kiloohms(parts: Any) -> Any:
    """The same with targets centred and scaled."""
    return tuple((x, (y - 500.0) / 400.0) for x, y in parts)


def votes(rows: int = 1500, seed: int = 0, sure: float = 1.2) -> Parts:
    """Votes of people of whom only how likely each vote is can be known."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 8))
    chance = 1 / (1 + np.exp(-sure * (x[:, 0] + np.abs(x[:, 1]) - x[:, 2] - 0.8)))
    return three(x, (draw.random(rows) < chance).astype(int))


def tailed(rows: int = 1200, seed: int = 0) -> Parts:
    """A curve of two of five inputs under errors with heavy tails."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 5))
    y = np.sin(1.5 * x[:, 0]) + 0.6 * x[:, 1] + 0.4 * draw.standard_t(3, rows)
    return three(x, y[:, None], classes=False)
