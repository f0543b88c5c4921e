"""Counter-based random numbers: uniform, independent, and a function of their place alone."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from thalweg.core.counter import hashed, normal, uniform

KEYS = (0, 1, -1, 2**63 - 1, 2**64 + 5)
WORD = 2**64


def splitmix(state: int) -> int:
    """The mixing function with Python's whole numbers, which do not wrap around by themselves."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % WORD
    return state ^ (state >> 31)


@pytest.mark.parametrize("key", KEYS)
def test_hashes_are_those_of_whole_numbers(key: int) -> None:
    ids = torch.tensor([0, 1, 7, 2**40, -3])
    golden = 0x9E3779B97F4A7C15
    for row, example in zip(hashed(key, ids, 3), ids.tolist(), strict=True):
        start = splitmix((splitmix(key % WORD) + example * golden) % WORD)
        assert [int(h) % WORD for h in row] == [splitmix((start + golden * (draw + 1)) % WORD) for draw in range(3)]


@pytest.mark.parametrize("key", KEYS)
def test_numbers_are_uniform(key: int) -> None:
    numbers = uniform(key, torch.arange(500), 200).double().numpy()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-4
    counts = np.bincount((numbers.ravel() * 256).astype(int), minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-4


def correlation(one: Tensor, other: Tensor) -> float:
    """How many standard errors a correlation lies from none."""
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) * one.numel() ** 0.5


def test_neighbours_draws_and_keys_are_independent() -> None:
    numbers, others = (uniform(key, torch.arange(400), 300) for key in (5, 6))
    for one, other in (
        (numbers[1:], numbers[:-1]),
        (numbers[:, 1:], numbers[:, :-1]),
        (numbers[1:, 1:], numbers[:-1, :-1]),
        (numbers, others),
    ):
        assert abs(correlation(one, other)) < 4
        joint = np.histogram2d(one.flatten().numpy(), other.flatten().numpy(), bins=16, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(joint.ravel()).pvalue > 1e-4


@pytest.mark.parametrize("draw", [uniform, normal])
def test_a_number_depends_on_its_place_alone(draw: type) -> None:
    ids = torch.tensor([3, 90, 4, 4])
    whole = draw(7, ids, 5)
    assert torch.equal(draw(7, ids.flip(0), 5).flip(0), whole)
    assert torch.equal(draw(7, ids[1:2], 5)[0], whole[1])
    assert torch.equal(draw(7, ids, 9)[:, :5], whole)
    assert torch.equal(whole[2], whole[3])
    assert not torch.equal(draw(8, ids, 5), whole)


def test_normal_numbers_are_normal() -> None:
    numbers = normal(3, torch.arange(300), 301)
    assert numbers.shape == (300, 301)
    assert stats.kstest(numbers.double().numpy().ravel(), "norm").pvalue > 1e-4
    assert abs(correlation(numbers[:, 0:300:2], numbers[:, 1:300:2])) < 4  # the two of one hash
    assert abs(correlation(numbers[:, 0:300:2].square(), numbers[:, 1:300:2].square())) < 4


def test_no_examples_and_no_draws() -> None:
    assert uniform(0, torch.arange(0), 3).shape == (0, 3)
    assert normal(0, torch.arange(3), 0).shape == (3, 0)
