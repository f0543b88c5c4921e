"""Stacked frames: what a network reads of them is what it would read of the same vectors laid side by side."""

from typing import Any

import pytest
import torch
from sequence_pairs import TARGETS, made

from thalweg.core.errors import RecipeError
from thalweg.core.tokens import START
from thalweg.nn import rnn_seq2seq
from thalweg.nn.stacking import stacked

LENGTHS = torch.tensor([11, 7, 0, 4])


def frames(seed: int = 0) -> torch.Tensor:
    values = torch.randn(4, 11, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.masked_fill((torch.arange(11) >= LENGTHS[:, None])[..., None], 0.0)


def prefix() -> torch.Tensor:
    return torch.tensor([[START, 5, 6, 7]]).expand(4, 4).clone()


def test_it_is_the_loop_over_neighbours() -> None:
    values = frames()
    found, lengths = stacked(values, LENGTHS, 3)
    assert lengths.tolist() == [4, 3, 0, 2]
    assert found.shape == (4, 4, 15)
    for row in range(4):
        for position in range(4):
            own = [values[row, at] if at < 11 else torch.zeros(5) for at in range(3 * position, 3 * position + 3)]
            assert torch.equal(found[row, position], torch.cat(own).double())


def test_what_stands_in_padding_is_not_read() -> None:
    model, values = made(rnn_seq2seq, vocabulary=None, inputs=5, width=7, stack=3, attention="location"), frames()
    dirty = values.masked_fill((torch.arange(11) >= LENGTHS[:, None])[..., None], torch.nan)
    assert torch.equal(model(values, LENGTHS, prefix()), model(dirty, LENGTHS, prefix()))


@pytest.mark.parametrize("attention", ["additive", "location", "monotonic"])
def test_a_network_that_stacks_is_that_of_vectors_side_by_side(attention: str) -> None:
    stacking = made(rnn_seq2seq, vocabulary=None, inputs=5, width=7, stack=3, attention=attention)
    plain: Any = rnn_seq2seq(TARGETS, inputs=15, width=7, attention=attention).double().eval()
    plain.load_state_dict(stacking.state_dict())
    values = frames()
    own = stacked(values, LENGTHS, 3)
    assert torch.equal(stacking(values, LENGTHS, prefix()), plain(*own, prefix()))
    scores, weights, there = stacking.aligned(values, LENGTHS, prefix())
    assert weights.shape == (4, 4, 4)
    assert there.sum(1).tolist() == [4, 3, 0, 2]
    state = stacking.encode(values, LENGTHS)
    for step in range(4):
        found, state = stacking.step(state, prefix()[:, step])
        torch.testing.assert_close(found, scores[:, step])
        torch.testing.assert_close(stacking.attended(state)[0], weights[:, step])


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"vocabulary": 7, "stack": 2}, "stack is 2, but a source of tokens is not stacked. Leave stack out"),
        ({"inputs": 7, "stack": 2, "copying": True}, "stack is 2, but copying, which takes one position at a time"),
        ({"inputs": 7, "stack": 0}, "stack is 0, but it must be a whole number of at least 1"),
    ],
)
def test_knobs_that_do_not_go_together(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        rnn_seq2seq(9, **knobs)


def test_vectors_of_another_size_are_refused() -> None:
    with pytest.raises(RecipeError, match="rnn was built for 15 inputs at each position and given values"):
        rnn_seq2seq(9, inputs=5, stack=3)(torch.zeros(2, 6, 4), None, prefix()[:2])
