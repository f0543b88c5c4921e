"""The studies of sequences: tasks and costs are what they say, and without its effect each study comes out false."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from thalweg.nn import encoder, rnn
from thalweg.study import position, rnn_vs_attention, run_study, truncate
from thalweg.study.operations import multiply_adds
from thalweg.study.position import Scores
from thalweg.study.rnn_vs_attention import ATTENTION, GRU, LOCAL, LSTM
from thalweg.study.sequence_tasks import ASK, FIRST, copy, distances, order, recall
from thalweg.study.truncate import Cost


def passed(checks: Sequence[Any]) -> list[bool]:
    return [check.passed for check in checks]


def noisy(value: float, seeds: int = 5, noise: float = 0.01) -> np.ndarray:
    return value + noise * np.random.default_rng(1).normal(size=seeds)


# --- what they measure ------------------------------------------------------------------------------------------------


def test_the_answers_of_the_tasks_are_what_a_loop_finds() -> None:
    tokens, target = copy(7, 11, symbols=3, furthest=5, seed=1)
    asked = distances(tokens, 3)
    assert sorted(set(asked.flatten().tolist())) == [1, 2, 3, 4, 5]
    symbols = (tokens - FIRST) % 3
    for row in range(7):
        for at in range(11):
            source = at - int(asked[row, at])
            assert target[row, at] == (symbols[row, source] if source >= 0 else -100)
    tokens, target = recall(50, 6, 4, seed=1)
    assert (tokens[:, -1] == ASK).all()
    assert (tokens[:, :-1] != ASK).all()
    assert torch.equal(tokens[:, 0] - FIRST, target)
    assert len(set(tokens[:, 1].tolist())) == 4
    tokens, target = order(200, 9, seed=1)
    assert 70 < int(target.sum()) < 130
    assert torch.equal((tokens == 3).int().argmax(1) < (tokens == 2).int().argmax(1), target.bool())


def test_multiply_adds_are_those_of_the_formulas() -> None:
    tokens = torch.randint(4, 20, (3, 40))
    assert multiply_adds(rnn(8, vocabulary=20, width=5), tokens) == 40 * 2 * 4 * 25 + 8 * 5
    assert multiply_adds(rnn(8, vocabulary=20, width=5, cell="gru"), tokens) == 40 * 2 * 3 * 25 + 8 * 5
    layer = 40 * 12 * 8 * 8 + 8 * 8
    net = partial(encoder, 8, vocabulary=20, width=8, depth=1, heads=2)
    assert multiply_adds(net(), tokens) == layer + 40 * 40 * 2 * 8
    assert multiply_adds(net(causal=True), tokens) == layer + 40 * 41 // 2 * 2 * 8
    assert multiply_adds(net(causal=True, window=3), tokens) == layer + (6 + 32 * 19 + 5 * 8) * 2 * 8


def test_what_is_kept_for_the_backward_pass_counts_each_piece_once() -> None:
    x = torch.randn(3, 5)

    class Products(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(5, 4))

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return (x @ self.weight)[None]

    target = torch.zeros(1, 3, dtype=torch.int64)
    twice = truncate.kept(Products(), x, target)
    logits = 3 * 4 * 4
    assert 3 * 5 * 4 + logits <= twice <= 3 * 5 * 4 + 2 * logits + 3 * 8 + 8


@pytest.mark.parametrize("causal", [False, True])
def test_only_what_sees_order_moves_by_a_permutation(causal: bool) -> None:
    tokens, _ = order(10, 7, seed=0)
    model = encoder(2, vocabulary=16, width=8, heads=2, positions=None, causal=causal)
    assert (position.moved(model, tokens, seed=1) > 1e-3) is causal
    assert position.moved(encoder(2, vocabulary=16, width=8, heads=2), tokens, seed=1) > 1e-3
    assert model.head.weight.dtype != torch.float64


def test_what_a_network_reaches_is_what_its_gradient_reaches() -> None:
    for name, arm in truncate.ARMS.items():
        model = truncate._net(**arm).double()
        vectors = torch.randn(1, 12, truncate.WIDTH, dtype=torch.float64, requires_grad=True)
        model.embedding = torch.nn.Identity()
        model(vectors)[0, -1].sum().backward()
        assert vectors.grad is not None
        seen = vectors.grad[0].abs().sum(-1) > 0
        assert min(truncate.FURTHEST, int(seen.sum()) - 1) == truncate.reach(name)


# --- each comes out false where its effect is absent ------------------------------------------------------------------


def test_position_is_false_where_no_network_is_told_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(position, "ARMS", dict.fromkeys(position.ARMS))
    study = run_study("position", seeds=2, epochs=1, train=64, length=5)
    assert passed(study.checks)[0]
    assert passed(study.checks)[1::2] == [False] * 3
    assert not any(passed(study.checks)[3:])


def test_position_is_false_where_all_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(position, "ARMS", dict.fromkeys(position.ARMS, "sinusoidal"))
    study = run_study("position", seeds=2, epochs=1, train=64, length=5)
    assert not study.checks[0].passed
    assert study.checks[1].value > 0.01
    assert study.checks[4].value == 0.0


def told(moved: float, *right: float) -> Scores:
    return Scores(noisy(moved, noise=0.01 * moved), np.stack([noisy(each) for each in right], axis=1))


def test_position_decides_by_equivariance_chance_and_length() -> None:
    added, attended = told(0.5, 0.99, 0.6, 0.5), told(0.5, 0.99, 0.9, 0.7)
    scores = {"sinusoidal": added, "learned": added, "relative": attended, "rotary": attended}
    scores |= {position.NONE: told(1e-15, 0.5, 0.5, 0.5)}
    assert passed(position.decide(scores)) == [True] * 6
    knows = scores | {position.NONE: told(0.3, 0.9, 0.5, 0.5)}
    assert passed(position.decide(knows)) == [False, True, False, True, True, True]
    endless = scores | {"sinusoidal": told(0.5, 0.99, 0.99, 0.99), "learned": told(0.5, 0.99, 0.99, 0.99)}
    assert passed(position.decide(endless)) == [True, True, True, True, False, False]
    blind = scores | {"rotary": told(1e-9, 0.5, 0.5, 0.5)}
    assert passed(position.decide(blind)) == [True, False, True, False, True, False]


def test_truncate_is_false_where_no_window_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {"depth": 1, "window": None}
    monkeypatch.setattr(truncate, "ARMS", dict.fromkeys(truncate.ARMS, whole))
    study = run_study("truncate", seeds=2, epochs=1, train=64, long=64, windows=(8, 64))
    assert not any(passed(study.checks)[1:5])
    assert not study.held


def test_truncate_decides_by_reach_and_counted_costs() -> None:
    cheap = {8: Cost(10, 5, 0.1), 32: Cost(15, 5, 0.1), None: Cost(40, 5, 0.1)}

    def scores(within: float = 0.98, beyond: float = 0.25) -> dict[str, np.ndarray]:
        return {
            name: np.stack([noisy(within if k < truncate.reach(name) else beyond) for k in range(6)], axis=1)
            for name in truncate.ARMS
        }

    assert passed(truncate.decide(scores(), cheap)) == [True] * 8
    assert passed(truncate.decide(scores(beyond=0.98), cheap)) == [True, False, False, False, False, True, True, True]
    assert passed(truncate.decide(scores(within=0.25), cheap))[:5] == [False, True, False, False, False]
    late = scores() | {truncate.REACHING: scores(within=0.85)[truncate.REACHING]}
    assert passed(truncate.decide(late, cheap)) == [False, True, True, False, True, False, True, True]
    dear = cheap | {32: Cost(10, 5, 0.1), None: Cost(12, 5, 0.1)}
    assert passed(truncate.decide(scores(), dear))[6:] == [False, False]


def test_recall_is_false_where_all_networks_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rnn_vs_attention, "ARMS", dict.fromkeys(rnn_vs_attention.ARMS, rnn_vs_attention.ARMS[LSTM]))
    study = run_study("rnn-vs-attention", seeds=2, steps=4, distances=(2, 3, 4), lengths=(8, 16), rates=(0.01,))
    assert study.checks[0].value == 0.0
    assert [study.checks[place].passed for place in (0, 1, 2, 5)] == [False] * 4


def test_recall_decides_by_accuracy_and_growth() -> None:
    lengths, linear = (256, 1024), np.array([1.0, 4.0])
    counts = np.array([np.array([1.0, 12.0]), linear, linear, linear])
    times = np.broadcast_to(np.array([[1.0, 12.0], *[[1.0, 4.0]] * 3]), (5, 4, 2))
    weights = dict(zip(rnn_vs_attention.ARMS, (100, 100, 103, 102), strict=True))

    def scores(**far: float) -> dict[str, np.ndarray]:
        ends = {ATTENTION: 0.99, LOCAL: 0.125, LSTM: 0.13, GRU: 0.13} | far
        return {name: np.stack([noisy(0.98), noisy(0.98), noisy(end)]) for name, end in ends.items()}

    assert passed(rnn_vs_attention.decide(scores(), weights, lengths, counts, times)) == [True] * 10
    remembers = rnn_vs_attention.decide(scores(**{GRU: 0.99}), weights, lengths, counts, times)
    assert passed(remembers) == [False, *[True] * 9]
    sees = rnn_vs_attention.decide(scores(**{LOCAL: 0.99}), weights, lengths, counts, times)
    assert passed(sees) == [True, True, True, False, *[True] * 6]
    flat = rnn_vs_attention.decide(scores(), weights | {LSTM: 200}, lengths, np.ones((4, 2)), np.ones((5, 4, 2)))
    assert passed(flat)[4:] == [False] * 6
