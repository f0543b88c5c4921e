"""Exposure bias: edits of continuations against all ways of cutting a reference, and models whose bias is known."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg.core.convert import Deferred
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.tokens import END, NO_TARGET, PADDING, START
from thalweg.measure.exposure import continuation_edits
from thalweg.recipes.exposure import continued, exposure_bias


def distance(first: Sequence[int], second: Sequence[int]) -> int:
    """Levenshtein's, by its recursion."""
    if not first or not second:
        return len(first) + len(second)
    changed = distance(first[1:], second[1:]) + (first[0] != second[0])
    return min(changed, distance(first[1:], second) + 1, distance(first, second[1:]) + 1)


def test_a_continuation_is_compared_with_what_is_left_from_the_nearest_beginning() -> None:
    random = np.random.default_rng(0)
    for _ in range(40):
        output, reference = (random.integers(3, size=random.integers(0, 6)).tolist() for _ in range(2))
        for length in range(len(output) + 1):
            ways = [(distance(output[:length], reference[:j]), abs(j - length), j) for j in range(len(reference) + 1)]
            place = min(ways)[2]
            assert continuation_edits(output, reference, length) == distance(output[length:], reference[place:])


def test_after_a_gold_prefix_they_are_the_edits_of_the_rest() -> None:
    random = np.random.default_rng(1)
    for _ in range(40):
        reference = random.integers(3, size=random.integers(1, 7)).tolist()
        length, rest = int(random.integers(0, len(reference))), random.integers(3, size=random.integers(0, 5)).tolist()
        assert continuation_edits([*reference[:length], *rest], reference, length) == distance(rest, reference[length:])


def test_an_output_that_is_shorter_than_its_prefix() -> None:
    with pytest.raises(
        RecipeError, match="length=3, but the output has 2 tokens.* Leave out outputs that ended before"
    ):
        continuation_edits("ab", "abc", 3)


class Walker(nn.Module):
    """Puts out each token after the one before it, `next_of`, and END after `last`; begins with `begin`."""

    def __init__(self, begin: int, next_of: dict[int, int]) -> None:
        super().__init__()
        self.after = {START: begin, **next_of}

    def encode(self, source: Tensor) -> Tensor:
        return source

    def step(self, state: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        wanted = torch.tensor([self.after.get(token, END) for token in tokens.tolist()])
        return nn.functional.one_hot(wanted, 20).float() * 9, state


class Held:
    """A source of one batch of targets."""

    def __init__(self, *targets: Sequence[int]) -> None:
        width = 1 + max(map(len, targets))
        self.prefix, self.y = torch.full((len(targets), width), PADDING), torch.full((len(targets), width), NO_TARGET)
        for row, target in enumerate(targets):
            self.prefix[row, : len(target) + 1] = torch.tensor([START, *target])
            self.y[row, : len(target) + 1] = torch.tensor([*target, END])

    def batches(self, epoch: int, start: int, generator: Any) -> Iterator[Any]:
        yield {"source": torch.zeros(len(self.y)), "prefix": self.prefix}, self.y


COUNTING = {token: token + 1 for token in range(4, 9)}
TARGET = [4, 5, 6, 7, 8, 9]


def test_a_decoder_that_never_comes_back_from_its_mistake() -> None:
    lost = Walker(14, COUNTING | {token: token + 1 for token in range(14, 19)})
    found = exposure_bias(lost, Held(TARGET, [4, 5, 6, 7], [4, 5]))
    assert (found.gold, found.wrong, found.examples, found.left_out) == (3 / 6, 1.0, 3, 0)
    assert found.own == 1.0
    assert found.value == 0.5
    assert found.low <= found.value <= found.high
    rows = continued(lost, Held(TARGET, [4, 5, 6, 7], [4, 5]))
    assert (rows.gold.tolist(), rows.left.tolist()) == ([0, 2, 1], [3, 2, 1])  # no more than were left


def test_a_decoder_that_goes_on_as_if_nothing_had_happened() -> None:
    found = exposure_bias(Walker(14, COUNTING | {14: 5}), Held(TARGET, TARGET))
    assert (found.gold, found.own, found.value, found.wrong) == (0.0, 0.0, 0.0, 1.0)


def test_own_prefixes_that_are_the_gold_ones_have_no_bias() -> None:
    found = exposure_bias(Walker(4, {4: 5, 5: 6, 6: 8}), Held(TARGET, TARGET))
    assert (found.value, found.wrong) == (0.0, 0.0)
    assert found.gold == found.own > 0


def test_a_prefix_is_a_share_of_the_target_and_at_least_one_token() -> None:
    ends = Walker(4, {4: 5, 5: 6})  # three tokens, then END
    rows = {share: continued(ends, Held(TARGET, [4, 5]), share).left.tolist() for share in (0.1, 0.5, 0.99)}
    assert rows[0.1] == [5, 1]
    assert rows[0.5] == [3, 1]
    assert np.isnan(rows[0.99][0])  # five tokens, of which it puts out three
    assert rows[0.99][1] == 1


def test_an_output_that_runs_away_is_as_bad_as_none() -> None:
    loop = Walker(14, COUNTING | {14: 14})
    found = continued(loop, Held(TARGET))
    assert (found.gold.tolist(), found.own.tolist(), found.left.tolist()) == ([0], [3], [3])


def test_a_split_that_is_loaded_when_it_is_used() -> None:
    found = exposure_bias(Walker(4, COUNTING), Deferred(lambda: Held(TARGET)))
    assert (found.value, found.examples) == (0.0, 1)


def test_a_mistake_that_makes_the_prefix_longer_is_no_mistake_of_the_rest() -> None:
    stutters = Walker(4, {4: 14, 14: 5, **{token: token + 1 for token in range(5, 9)}})
    found = continued(stutters, Held(TARGET))  # 4 14 5 | 6 7 8 9: one behind, and right from there
    assert (found.own.tolist(), found.wrong.tolist()) == ([0], [1])


def test_what_cannot_be_compared() -> None:
    assert exposure_bias(Walker(4, COUNTING), Held(TARGET, [4])).left_out == 1
    with pytest.raises(DataError, match="None of the 2 examples can be compared.* Train it longer, or give a smaller"):
        exposure_bias(Walker(4, {}), Held([4], TARGET))


def test_what_is_asked_for_wrongly() -> None:
    with pytest.raises(RecipeError, match=r"share=1\.0, but it is how much of a target the prefix is"):
        exposure_bias(Walker(4, {}), Held(TARGET), share=1.0)
    with pytest.raises(RecipeError, match=r"A model alone has no data\. Give exposure_bias\(model, source\)"):
        exposure_bias(Walker(4, {}))
    with pytest.raises(RecipeError, match="without a prefix of tokens"):
        continued(
            Walker(4, {}), type("Bare", (), {"batches": lambda *args: iter([(torch.zeros(2), torch.zeros(2))])})()
        )
    data = thalweg.Splits(train=(torch.ones(5, 3), torch.ones(5, 1)))
    run = thalweg.train(thalweg.Recipe(data=data, model=lambda: nn.Linear(3, 1), objective=nn.MSELoss(), epochs=1))
    with pytest.raises(RecipeError, match="The run has neither a test nor a validation split"):
        exposure_bias(run)


def test_a_mode_is_put_back() -> None:
    model = Walker(4, COUNTING).train()
    exposure_bias(model, Held(TARGET))
    assert model.training
