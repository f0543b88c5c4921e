"""The study norm: what it measures is what it says, and without its effect it comes out false."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from thalweg.core.errors import RecipeError
from thalweg.core.tokens import NO_TARGET, PADDING
from thalweg.nn.sequence_norm import SequenceNorm
from thalweg.study import norm, run_study
from thalweg.study.hidden_markov import FIRST_WORD, HiddenMarkov, Sentences, hidden_markov, least_losses, sentences
from thalweg.study.norm import BATCH_NORM, IMAGES, LAYER, NORMS, POWER, ROWS, TEXT

SMALL: dict[str, Any] = {"seeds": 2, "epochs": 1, "train": 64, "judged": 20}


def test_norm_is_false_where_all_norms_are_layer_norm() -> None:
    study = run_study("norm", norms=dict.fromkeys(NORMS, LAYER), **SMALL)
    batch_layer, batch_power, *_, leaks, still, _ = study.checks
    assert (batch_layer.value, batch_power.value, leaks.value, still.value) == (0, 0, 0, 0)
    assert not batch_layer.passed
    assert not batch_power.passed
    assert not leaks.passed
    assert not study.held


def test_padding_that_is_counted_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert norm.change_by_padding(BATCH_NORM, 0) < norm.STILL
    monkeypatch.setattr(SequenceNorm, "forward", lambda self, x, mask=None: self.norm(x.flatten(0, 1)).view(x.shape))
    assert norm.change_by_padding(BATCH_NORM, 0) > 100 * norm.STILL
    assert norm.change_by_padding(LAYER, 0) < norm.STILL


@pytest.mark.parametrize(("name", "leaks"), [("layer", False), ("rms", False), ("batch", True), ("power", True)])
def test_norms_of_the_batch_see_later_words(name: str, leaks: bool) -> None:
    found = norm.leak(name, 3)
    assert found > norm.LEAK if leaks else found == 0


def test_what_leaks_is_measured_without_touching_the_global_stream() -> None:
    before = torch.get_rng_state()
    norm.leak(LAYER, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_norm_decides_each_by_itself() -> None:
    random = np.random.default_rng(1)
    curves = {arm: random.normal(0.3, 0.01, size=(6, 2)) for arm in NORMS}
    alike = {name: random.normal(0.2, 0.02, size=(6, 2)) for name in (TEXT, IMAGES, ROWS)}
    nothing = dict.fromkeys(NORMS, np.zeros(6))
    assert [check.passed for check in norm.decide(curves, alike, nothing, nothing)] == [False] * 5 + [True] * 2
    behind = curves | {BATCH_NORM: curves[BATCH_NORM] + 0.2}
    swung, leaks = alike | {TEXT: 3 * alike[TEXT]}, nothing | {BATCH_NORM: np.full(6, 0.1)}
    assert all(check.passed for check in norm.decide(behind, swung, leaks, nothing))
    assert not norm.decide(behind | {POWER: behind[BATCH_NORM]}, swung, leaks, nothing)[1].passed
    seen = norm.decide(behind, swung, dict.fromkeys(NORMS, np.full(6, 0.1)), leaks)
    assert [check.passed for check in seen[-3:]] == [True, False, False]


def test_swings_are_those_of_the_positions_that_are_there() -> None:
    model, features = SequenceNorm("batch", 3), torch.randn(4, 5, 7, 3, dtype=torch.float64)
    model.double()
    masks = torch.rand(4, 5, 7) < 0.6
    means, variances = [], []
    for x, mask in zip(features, masks, strict=True):
        rows = np.array([x[i, j].tolist() for i in range(5) for j in range(7) if mask[i, j]])
        means.append(rows.mean(0))
        variances.append(rows.var(0))
    usual = np.mean(variances, axis=0)
    expected = (
        np.sqrt(np.mean(np.var(means, axis=0) / usual)),
        np.sqrt(np.mean(np.var(variances, axis=0) / usual**2)),
    )
    assert norm.swings_of(model, list(zip(features, masks, strict=True))) == pytest.approx(expected)


def test_swings_of_images_are_those_of_their_channels() -> None:
    images = torch.randn(6, 8, 3, 4, 4)
    images += torch.randn(6, 1, 3, 1, 1)
    channels = images.movedim(2, -1).flatten(1, 3).double()
    expected = (channels.mean(1).var(0, correction=0) / channels.var(1, correction=0).mean(0)).mean().sqrt()
    model = nn.Sequential(nn.BatchNorm2d(3))
    assert norm.swings_of(model, [(each,) for each in images])[0] == pytest.approx(float(expected))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_feature_that_never_changes_does_not_count() -> None:
    x = torch.randn(3, 20, 2)
    x[..., 1] = 5
    whole = norm.swings_of(nn.BatchNorm1d(2), [(each,) for each in x])
    assert whole == pytest.approx(norm.swings_of(nn.BatchNorm1d(1), [(each[:, :1],) for each in x]))


def test_too_few_sentences_are_refused() -> None:
    for settings in ({"train": 63}, {"epochs": 0}):
        with pytest.raises(RecipeError, match="statistics of batches of 32 are compared after training. .* train=64"):
            run_study("norm", **settings)
    with pytest.raises(RecipeError, match="The study has no arm 'bach'. Did you mean 'batch'?"):
        run_study("norm", norms={"bach": "layer"})


# --- the hidden Markov source -----------------------------------------------------------------------------------------


def test_the_least_losses_are_those_of_all_ways_through_the_states() -> None:
    random = np.random.default_rng(4)
    moves, emitted = random.dirichlet(np.ones(3), size=3), random.dirichlet(np.ones(5), size=3)
    source = HiddenMarkov(moves, emitted)
    given = Sentences(
        torch.tensor([[0, 3, 1, 1], [2, 4, 0, 0]]) + FIRST_WORD, torch.tensor([4, 2]), torch.tensor([[0, 2, 1, 1]] * 2)
    )
    tagging = modelling = 0.0
    for words, length, states in zip(*(each.tolist() for each in given), strict=True):
        by_state, whole = np.zeros((length, 3)), 0.0
        for way in product(range(3), repeat=length):
            chance = 1 / 3
            for time, state in enumerate(way):
                chance *= emitted[state, words[time] - FIRST_WORD] * (moves[way[time - 1], state] if time else 1)
            whole += chance
            by_state[np.arange(length), list(way)] += chance
        modelling -= np.log(whole)
        tagging -= sum(np.log(by_state[time, states[time]] / whole) for time in range(length))
    assert least_losses(source, given) == pytest.approx((tagging / 6, modelling / 6))


def test_sentences_are_as_frequent_as_their_source_says() -> None:
    source = hidden_markov(1, states=3, words=7)
    words, lengths, states = sentences(source, 3000, (2, 9), 1)
    there = torch.arange(9) < lengths[:, None]
    assert (words[~there] == PADDING).all()
    assert (states[~there] == NO_TARGET).all()
    assert sorted(set(lengths.tolist())) == list(range(2, 10))
    follows = there[:, 1:]
    for state in range(3):
        of_state = words[there & (states == state)] - FIRST_WORD
        shares = torch.bincount(of_state, minlength=7) / len(of_state)
        np.testing.assert_allclose(shares, source.words[state], atol=0.02)
        next_states = states[:, 1:][follows & (states[:, :-1] == state)]
        np.testing.assert_allclose(
            torch.bincount(next_states, minlength=3) / len(next_states), source.moves[state], atol=0.03
        )
