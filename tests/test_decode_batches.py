"""Decoding of many examples at once: none knows its neighbours, what is impossible, and when one leaves."""

from typing import Any

import pytest
import torch
from decoders import (
    BOTH,
    NEVER,
    VOCABULARY,
    Grams,
    Recaller,
    fixed,
    grams,
    logs_of,
    plain_score,
    ranked,
    recaller,
    same,
    same_outputs,
    searched,
    take,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from thalweg.core.tokens import END
from thalweg.decode import Hypothesis, beam_search, forced_log_likelihood, greedy, log_likelihood

# --- an example does not know its neighbours ---


def results(model: Any, inputs: dict[str, Tensor], prefix: list[list[int]], limits: list[int], options: Any) -> Any:
    return beam_search(model, inputs, prefix=prefix, longest=limits, nbest=2, **options)


@given(
    st.integers(0, 99),
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    st.sampled_from(
        [
            {"width": 2},
            {"width": 5, "length_penalty": 0.0},
            {"width": 4, "groups": 2},
            {"width": 4, "required": [4, (5, 1)]},
        ]
    ),
    st.booleans(),
)
@settings(max_examples=10, deadline=None)
def test_outputs_do_not_depend_on_the_batch(seed: int, batch: list[int], options: Any, own_state: bool):
    model: Any
    if own_state:
        model = Recaller(seed).eval()
        lengths = torch.tensor([1, 4, 0, 3, 2])
        source = torch.randint(1, 11, (5, 4), generator=torch.Generator().manual_seed(seed))
        inputs = {"source": source * (torch.arange(4) < lengths[:, None]), "lengths": lengths}
    else:
        model, inputs = grams(5, seed=seed)
    prefix, limits = [[], [4], [5, 5], [], [1]], [3, 7, 6, 5, 4]
    alone = [
        results(model, take(inputs, [one]), [prefix[one]], [limits[one]], options)[0] for one in range(len(limits))
    ]
    own = [prefix[one] for one in batch]
    together = results(model, take(inputs, batch), own, [limits[one] for one in batch], options)
    for example, found in zip(batch, together, strict=True):
        same_outputs(found, alone[example])


def test_decoding_is_deterministic_and_leaves_random_numbers_alone():
    model, inputs = recaller()
    before = torch.get_rng_state()
    assert beam_search(model, inputs, longest=6, nbest=5) == beam_search(model, inputs, longest=6, nbest=5)
    assert torch.equal(before, torch.get_rng_state())


def test_the_model_is_in_evaluation_mode_and_put_back():
    model, inputs = recaller()
    expected = beam_search(model, inputs, longest=6)
    model.train()
    model.target.eval()
    assert beam_search(model, inputs, longest=6) == expected
    assert greedy(model, inputs, longest=6) == greedy(model.eval(), inputs, longest=6)
    assert not model.target.training
    model.train()
    greedy(model, inputs, longest=6)
    assert model.training
    assert model.drop.training


# --- ties, and what is impossible ---


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_of_equal_tokens_the_smaller_comes_first(dtype: torch.dtype):
    model, inputs = fixed([0.0, 0.0, 0.0, -9.0, 0.0, 0.0], [0.0, -0.0, 0.0, -9.0, 0.0, 0.0], dtype=dtype)
    for one in greedy(model, inputs, longest=3):
        assert one.tokens == (1, 1, 1)
    for own in beam_search(model, inputs, width=4, nbest=4, longest=2, shortest=2):
        assert [one.tokens for one in own] == [(1, 1), (1, 4), (1, 5), (4, 1)]


def test_rows_of_minus_infinity_end_unfinished():
    model, inputs = fixed([NEVER] * 6, [0.0] * 6, [NEVER, NEVER, NEVER, NEVER, 1.0, 0.0])
    found = beam_search(model, inputs, width=3, nbest=2, longest=4)
    assert model.rows[:2] == [9, 6]  # what cannot go on is not asked about again
    assert found[0] == [Hypothesis((), 0.0, 0.0, finished=False)]
    assert [one.finished for one in found[1]] == [True, True]
    assert [one.tokens for one in found[2]] == [(4, 4, 4, 4), (4, 4, 4, 5)]  # END is impossible
    likely = torch.tensor([1.0, 0.0]).log_softmax(0).double()
    assert found[2][1].log_likelihood == pytest.approx(float(3 * likely[0] + likely[1]), abs=1e-6)
    assert found[2][1].score == pytest.approx(found[2][1].log_likelihood / 4**0.6)
    assert not found[2][0].finished
    single = greedy(model, inputs, longest=4)
    assert single[0] == Hypothesis((), 0.0, 0.0, finished=False)
    assert single[2].tokens == (4, 4, 4, 4)
    assert not single[2].finished


def test_what_is_required_but_impossible_ends_unfinished():
    model, inputs = fixed([0.0, 0.0, 0.0, 0.0, 0.0, NEVER], [0.0] * 6)
    found = beam_search(model, inputs, width=3, longest=3, required=[5])
    assert not found[0][0].finished
    assert found[1][0].finished
    assert 5 in found[1][0].tokens


@BOTH
def test_an_empty_batch_gives_nothing(made: Any):
    model, inputs = made()
    none = take(inputs, [])
    assert beam_search(model, none) == greedy(model, none) == []
    assert log_likelihood(model, none, []).shape == forced_log_likelihood(model, none, []).shape == (0,)
    assert model.rows == []


# --- an example leaves as soon as nothing can change ---


def early() -> tuple[Grams, dict[str, Tensor]]:
    """The first kind ends at once, the second soon, the third never by itself."""
    model, inputs = grams()
    for kind, log in enumerate((9.0, -0.5, -9.0)):
        model.table[kind, :, :, END] = log
    return model, inputs


def test_examples_leave_the_batch_when_nothing_can_beat_their_best():
    model, inputs = early()
    found = beam_search(model, inputs, width=3, longest=8, length_penalty=0.0)
    assert model.rows[:2] == [9, 6]
    assert 3 < model.rows.count(3) < 8
    assert len(model.rows) == 9
    for example, own in enumerate(found):
        (finished,) = searched(logs_of(model, inputs, example), 3, 8)
        same(own, ranked(finished, plain_score(0.0))[:1])
    model.rows.clear()
    greedy(model, inputs, longest=8)
    assert model.rows[:2] == [3, 2]


def test_no_example_leaves_before():
    """With a length penalty a longer output may still win: the bound is what it would score without another loss."""
    logs = {(): {END: 0.6, 4: 0.4}, (4,): {4: 1.0}, (4, 4): {4: 1.0}, (4, 4, 4): {END: 1.0}}

    class Late:
        def encode(self, source: Tensor) -> Tensor:
            return source.long()

        def step(self, state: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
            scores = torch.full((len(tokens), VOCABULARY), NEVER)
            for row, time in enumerate(state.tolist()):
                for token, share in logs.get((4,) * time, {}).items():
                    scores[row, token] = torch.tensor(share).log()
            return scores, state + 1

    inputs = {"source": torch.zeros(1)}
    assert beam_search(Late(), inputs, width=2, longest=3, length_penalty=0.0)[0][0].tokens == ()
    (won,) = beam_search(Late(), inputs, width=2, longest=3, length_penalty=1.0)[0]
    assert won.tokens == (4, 4, 4)
    assert won.score == pytest.approx(float(torch.tensor(0.4).log()) / 4, abs=1e-6)


def test_caches_are_not_copied_for_one_example_of_many():
    """A state of its own form is shortened when an eighth of the batch is done, tensors at once."""
    source = torch.arange(1, 11).repeat(4)[:, None]
    model, inputs = Recaller(3).eval(), {"source": source, "lengths": torch.ones(40, dtype=torch.int64)}
    limits = torch.tensor([0] + [5] * 33 + [1] * 6)
    beam_search(model, inputs, width=2, longest=limits, shortest=0, banned=[])
    assert model.rows[:2] == [80, 80]
    assert model.rows[2] <= 66
    tensors = Grams(40)
    beam_search(tensors, {"source": torch.arange(40)}, width=2, longest=limits)
    assert tensors.rows[1] <= 78
