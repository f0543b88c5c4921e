"""Alignments that go forward, read again, pass over, or are none: found in made ones, with words that say so."""

from typing import Any

import pytest
import torch
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.measure import monotony
from thalweg.nn import monotonic_alignment


def along(*places: int, of: int, blur: float = 0.0) -> Tensor:
    """Weights that look at these places, a part of each spread over the two beside it."""
    weights = torch.eye(of)[list(places)] * (1 - blur)
    return weights + blur / 2 * (weights.roll(1, 1) + weights.roll(-1, 1)) / (1 - blur)


@pytest.mark.parametrize("blur", [0.0, 0.4])
def test_forward_at_any_pace(blur: float) -> None:
    """Waiting, many positions a step, some that are left out, and a step or two back."""
    for places, of in (
        (range(12), 12),
        ([n // 4 for n in range(40)], 10),
        (range(3, 120, 6), 120),
        ([0, 2, 1, 3, 6, 5, 4, 8, 9, 9], 10),
        ([0, 3, 4, 6, 9], 10),
    ):
        found = monotony(along(*places, of=of, blur=blur))
        assert found.monotonic, (list(places), found.says())
        assert found.path == tuple(places)
        assert found.says() == "It goes forward through the source."


def test_what_goes_forward_by_its_kind_never_goes_back() -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(20):
        hard = (torch.rand(9, 14, generator=random) < 0.4).float()
        hard[:, -1] = 1
        assert not monotony(monotonic_alignment(hard), slack=0.0).returns


def test_repeated_input() -> None:
    words = [f"w{n}" for n in range(12)]
    found = monotony(along(*range(8), *range(2, 12), of=12, blur=0.2))
    assert [tuple(each) for each in found.returns] == [(8, 2, 7, True)]
    assert not found.passed_over
    assert not found.monotonic
    assert found.says(words) == 'It reads "w2 w3 w4 w5 w6 w7" again at step 8.'
    assert found.says() == "It reads positions 2 to 7 again at step 8."
    twice = monotony(along(*range(7), *range(7), *range(12), of=12))
    assert [(each.step, each.first, each.last) for each in twice.returns] == [(7, 0, 6), (14, 0, 6)]
    slowly = monotony(along(*range(9), 5, 3, 0, *range(12), of=12))
    assert [(each.step, each.first, each.last) for each in slowly.returns] == [(10, 0, 8)]


def test_skipped_input() -> None:
    found = monotony(along(0, 1, 2, 3, 9, 10, 11, 11, 11, 11, 11, 11, of=12))
    assert (found.returns, found.passed_over) == ((), ((4, 8),))
    assert found.says("abcdefghijkl", between="") == 'It passes over "efghi".'
    for places, range_ in (((5, 6, 7, 8, 9, 9, 9, 9, 9, 9), (0, 4)), ((0, 1, 2, 3, 4, 4, 4, 4, 4, 4), (5, 9))):
        assert monotony(along(*places, of=10)).passed_over == (range_,)
    # a stride of three positions a step: six left out in a row are little, thirty are not
    assert monotony(along(*range(0, 60, 3), of=60)).monotonic
    assert monotony(along(*range(0, 30, 3), *[59] * 10, of=60)).passed_over == ((28, 58),)


def test_out_of_order_is_neither() -> None:
    found = monotony(along(*range(6, 12), *range(6), of=12))
    assert [tuple(each) for each in found.returns] == [(6, 0, 5, False)]
    assert not found.passed_over
    assert found.says() == "It goes back at step 6, to positions 0 to 5, which it had not read."


def test_attention_that_looks_everywhere_is_no_alignment() -> None:
    found = monotony(torch.full((5, 8), 0.125))
    assert found.spread == pytest.approx(1)
    assert not found.aligned
    assert not found.monotonic
    assert found.says() == "It looks at 100% of the source at every step: nothing is aligned."
    assert monotony(torch.ones(3, 1)).monotonic


def test_the_slack_is_in_strides() -> None:
    weights = along(0, 1, 2, 3, 4, 2, 3, 4, 5, 6, of=7)
    assert [monotony(weights, slack=slack).monotonic for slack in (3.0, 2.0, 1.0)] == [True, True, False]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (torch.zeros(2, 3, 4), r"was given \(2, 3, 4\) float32, but it reads the weights of one example"),
        (torch.zeros(0, 4), "a step and a position at least"),
        (torch.ones(2, 2, dtype=torch.int64), "but it reads the weights"),
        ("map", "Give one matrix"),
        (torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "or a step has none"),
        (torch.tensor([[1.0, -0.1]]), "are negative"),
        (torch.tensor([[1.0, torch.nan]]), "not finite"),
    ],
)
def test_what_is_no_alignment_is_refused(weights: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        monotony(weights)


def test_a_slack_below_0_is_refused() -> None:
    with pytest.raises(RecipeError, match="slack is -1.0, but it is a number of strides"):
        monotony(torch.eye(3), slack=-1.0)
