"""The studies of networks: sharing, pooling and batch norm come out false where their effect is taken out."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg
from thalweg.core.randomness import generator
from thalweg.nn import cnn
from thalweg.study import batch_norm, pooling, run_study, sharing
from thalweg.study.digits import digits, images


def passed(checks: Sequence[Any]) -> list[bool]:
    return [check.passed for check in checks]


# --- sharing ----------------------------------------------------------------------------------------------------------


@pytest.mark.battery
def test_sharing_holds_on_a_small_scale_where_digits_stand_anywhere():
    study = run_study("sharing", seeds=2, sizes=(80, 160), steps=40)
    assert study.checks[0].value > 0.05
    assert study.checks[2].passed


@pytest.mark.battery
def test_sharing_is_false_where_all_digits_stand_in_the_middle():
    study = run_study("sharing", seeds=2, sizes=(40, 80), steps=20, moved=False)
    assert not study.held


def test_sharing_is_false_where_all_three_are_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sharing, "ARMS", dict.fromkeys(sharing.ARMS, "convolution"))
    study = run_study("sharing", seeds=2, sizes=(40, 80), steps=4)
    assert passed(study.checks) == [False, False, False]


def test_sharing_decides_by_the_better_of_the_others():
    random = np.random.default_rng(1)
    noise = {name: random.normal(0.5, 0.02, size=(3, 6)) for name in sharing.ARMS}
    counts = dict(zip(sharing.ARMS, (9, 3, 1), strict=True))
    assert passed(sharing.decide(noise, counts)) == [False, False, True]
    ahead = noise | {sharing.SHARED: noise[sharing.SHARED] + np.array([[0.4], [0.3], [0.2]])}
    assert passed(sharing.decide(ahead, counts)) == [True, True, True]
    assert not sharing.decide(ahead | {sharing.LOCAL: ahead[sharing.SHARED]}, counts)[0].passed


def test_digits_keep_their_pixels_wherever_they_are_put():
    split = digits(0, train=50).train
    x, y = images(split, 12, seed=3)
    assert torch.equal(y, split[1])
    dark = x.min()
    assert dark == split[0].min()
    torch.testing.assert_close((x - dark).sum((1, 2, 3)), (split[0] - dark).sum(1))
    assert torch.equal(images(split, 12, seed=3)[0], x)
    assert not torch.equal(images(split, 12, seed=4)[0], x)
    places = {tuple((image[0] > dark).nonzero().min(0).values.tolist()) for image in x}
    assert len(places) > 10


# --- pooling ----------------------------------------------------------------------------------------------------------


def test_pooling_is_false_where_no_arm_pools(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pooling, "ARMS", {name: {"pool": None} for name in pooling.ARMS})
    study = run_study("pooling", seeds=2, epochs=1, train=32, test=50)
    assert not study.checks[1].passed
    assert study.checks[0].value == 0.0


def test_pooling_decides_by_accuracy_products_and_time():
    seeds = np.linspace(0.9, 0.92, 5)
    scores = {name: np.stack([seeds, seeds, seeds]) for name in pooling.ARMS}
    times = np.broadcast_to(np.array([1.0, 1.0, 0.5, 2.0]), (5, 4))
    products = dict(zip(pooling.ARMS, (100, 100, 20, 300), strict=True))
    assert passed(pooling.decide(scores, products, times)) == [True, True, True]
    assert passed(pooling.decide(scores, dict.fromkeys(products, 100), np.ones((5, 4)))) == [True, False, False]
    worse = scores | {pooling.POOLED: scores[pooling.POOLED] - 0.05}
    assert passed(pooling.decide(worse, products, times)) == [False, True, True]


def test_multiplications_are_those_of_the_formula():
    def convolution(pixels: int, inputs: int, outputs: int) -> int:
        return pixels * inputs * outputs * 9

    whole, quarter = 12 * 12, 6 * 6
    first = convolution(whole, 1, 8) + convolution(whole, 8, 8)
    net = cnn(1, 10, width=8)
    assert pooling.multiplications(net) == first + convolution(quarter, 8, 16) + convolution(quarter, 16, 16) + 160
    plain = pooling.multiplications(cnn(1, 10, width=8, pool=None))
    assert plain == first + convolution(whole, 8, 16) + convolution(whole, 16, 16) + 160
    assert not any(module._forward_hooks for module in net.modules())


# --- batch norm -------------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"train": 128, "points": (1,), "rates": (0.01, 0.1), "sizes": (2, 32)}


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.battery
def test_batch_norm_is_false_where_both_arms_are_alike(norm: bool):
    study = run_study("batch-norm", seeds=3, epochs=8, norms=(norm, norm), **SMALL)
    assert passed(study.checks[:4]) == [False] * 4
    assert study.checks[4].passed is norm  # without batch norm training and evaluation are one
    if not norm:
        assert study.checks[4].value == pytest.approx(0, abs=1e-6)


def test_batch_norm_is_false_where_it_is_the_other_way_round():
    study = run_study("batch-norm", seeds=2, epochs=4, train=128, points=(2,), rates=(0.01, 0.1), norms=(True, False))
    assert passed(study.checks) == [False] * 5


def test_the_surface_is_looked_at_around_the_rate_in_training_mode():
    """The median over the same batches, by a loop of its own."""
    x, y = torch.randn(160, 64), torch.randint(0, 10, (160,))
    recipe = batch_norm._recipe(True, 3, epochs=1, train=160)
    run = thalweg.train(recipe.but(data=thalweg.Splits(train=(x, y))), device="cpu")
    random, expected = generator(3, "surfaces"), []
    for _ in range(batch_norm.DRAWS):
        ids = torch.randperm(160, generator=random)[: batch_norm.BATCH]
        losses, changes, first = [], [], None
        for far in (0.0, *batch_norm.ALONG):
            model = copy.deepcopy(run.last).train()
            if first is not None:
                start = nn.utils.parameters_to_vector(model.parameters()).detach()
                nn.utils.vector_to_parameters(start - far * batch_norm.RATE * first, model.parameters())
            loss = nn.functional.cross_entropy(model(x[ids]), y[ids])
            gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
            first = gradient if first is None else first
            losses.append(loss.item())
            changes.append(float((gradient - first).norm()))
        ways = [far * batch_norm.RATE * float(first.norm()) for far in batch_norm.ALONG]
        losses, changes = losses[1:], changes[1:]
        expected.append((max(losses) - min(losses), max(changes), max(np.array(changes) / np.array(ways))))
    assert batch_norm.along_steps(run) == pytest.approx(np.median(expected, axis=0), rel=1e-3)


@pytest.mark.parametrize(
    ("losses", "largest"),
    [([0.1, 0.2, 2.3], 0.1), ([9.0, 0.2, 0.3], 1.0), ([0.1, 9.0, 0.4], 1.0), ([2.3, np.nan, np.inf], 0.001)],
)
def test_the_largest_rate_that_trains(losses: list[float], largest: float):
    assert batch_norm.largest_rate((0.01, 0.1, 1.0), np.array(losses)) == pytest.approx(largest)
