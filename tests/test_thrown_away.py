"""Traces of what was thrown away: each is found, a healthy twin bears none; they decide where much is left untold."""

from typing import Any

import numpy as np
import pytest
import torch
from rows import rows_of

from thalweg.diagnosis.checks.thrown_away import thrown_away
from thalweg.diagnosis.finding import Score
from thalweg.diagnosis.ranking import THROWN_AWAY, Gaps, decisive

N = 200


def seen(x: Any, y: Any = None) -> list[str]:
    y = np.arange(len(x)) % 2 if y is None else y
    return [flaw.mechanism for flaw in thrown_away(rows_of(x, y))]


def events() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 9, (N, 11))


def words() -> np.ndarray:
    """Words as common as one over their rank."""
    share = 1 / np.arange(1, 301)
    return np.random.default_rng(0).choice(np.arange(1, 301), (N, 30), p=share / share.sum())


def images() -> np.ndarray:
    return np.random.default_rng(0).random((N, 3, 12, 9)).astype(np.float32)


def waves() -> np.ndarray:
    random = np.random.default_rng(0)
    phase = random.uniform(0, 6, (N, 1))
    return (np.sin(phase + np.arange(32) / 4) + 0.1 * random.normal(size=(N, 32))).astype(np.float32)


def test_the_order_of_events() -> None:
    x = events()
    assert seen(np.sort(x, 1)) == ["order thrown away"]
    padded = np.concatenate([np.sort(x, 1), np.zeros((N, 5), int)], 1)
    assert seen(padded) == ["order thrown away"]
    assert seen(x) == seen(np.ones_like(x)) == []


def test_one_word_for_all_rare_ones() -> None:
    x = words()
    assert seen(x) == []
    assert seen(np.where(x > 70, 299, x)) == ["one word for many"]
    assert seen(np.concatenate([x[:, :12], np.zeros((N, 40), int)], 1)) == []  # padding is no word


def test_channels_that_are_the_same() -> None:
    x = images()
    assert seen(np.repeat(x.mean(1, keepdims=True), 3, 1)) == ["colour thrown away"]
    assert seen(x) == seen(x[:, :1]) == []


@pytest.mark.parametrize("axis", [2, 3])
def test_a_part_of_images_that_never_changes(axis: int) -> None:
    x = images()
    part: list[Any] = [slice(None)] * 4
    part[axis] = slice(0, 5)
    x[tuple(part)] = 0.5
    assert seen(x) == ["a part that never changes"]
    x = images()
    x[:, :, :1] = x[:, :, -1:] = 0  # an edge where nothing is
    assert seen(x) == []


def test_windows_that_end_too_early() -> None:
    x = waves()
    x[:, 20:] = 0
    assert seen(x) == ["a part that never changes"]
    assert seen(x[:, None]) == ["a part that never changes"]


def test_numbers_that_are_cut_off_at_the_upper_end() -> None:
    x = waves()
    assert seen(x) == []
    assert seen(np.clip(x, -0.6, 0.6)) == ["cut off at an end"]
    assert seen(np.maximum(x, 0)) == []  # a rectifier, or a dark ground: natural
    assert seen(np.round(np.clip(x, -0.6, 0.6), 1)) == []  # whole steps meet anyway
    marked = np.stack([x, np.eye(32, dtype=np.float32)[np.arange(N) % 32]], 2)
    assert seen(marked) == []  # a channel of marks, each example with one of 1


def test_gaps_filled_within_the_range_that_cost() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(600, 10)).astype(np.float32)
    y = x.sum(1, keepdims=True)
    lost = random.random(x.shape) < random.random((600, 1))
    assert seen(np.where(lost, 0, x), y) == ["gaps filled with a number"]
    assert seen(np.where(lost, 0, x), np.where(lost, 0, x).sum(1, keepdims=True)) == []  # a number like others


def test_a_trace_decides_only_where_much_is_left_untold_and_the_network_is_no_worse_than_others() -> None:
    flaws = tuple(thrown_away(rows_of(np.sort(events(), 1), torch.arange(N) % 2)))
    assert flaws[0].mechanism in THROWN_AWAY

    def decides(train: bool | None, left: float, behind: float) -> bool:
        return bool(decisive(flaws, Gaps(train, False, False, (None, Score(behind, behind, behind)), left)))

    assert decides(False, 0.3, 0.0)
    assert not decides(False, 0.03, 0.0)  # all is told in spite of it
    assert not decides(True, 0.3, 0.0)  # the network does not fit: its training or its size is asked first
    assert not decides(False, 0.2, 0.4)  # references tell much more
