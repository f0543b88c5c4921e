"""Beam and greedy search against twins that write down every output, or search with lists and loops."""

from typing import Any

import pytest
import torch
from decoders import (
    VOCABULARY,
    WRITTEN,
    Grams,
    Recaller,
    everything,
    holds,
    logs_of,
    plain_score,
    ranked,
    searched,
    searched_by_banks,
    with_coverage,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from thalweg.core.tokens import END, START
from thalweg.decode import BeamTree, Hypothesis, beam_search, forced_log_likelihood, greedy, log_likelihood
from thalweg.decode.continuations import Blocks
from thalweg.decode.finished import Place, _dealt
from thalweg.decode.largest import largest
from thalweg.nn import transformer

LONGEST = 3
ALL = sum(len(WRITTEN) ** length for length in range(LONGEST + 1))
"""As many beams as there are beginnings of outputs of `LONGEST` tokens: 40."""
Scored = tuple[tuple[int, ...], float, float]


def grams(kinds: int = 3, **options: Any) -> tuple[Grams, dict[str, Tensor]]:
    return Grams(kinds, **options), {"source": torch.arange(kinds)}


def recaller(**options: Any) -> tuple[Recaller, dict[str, Tensor]]:
    """Three sources, of which one is empty."""
    source = torch.tensor([[4, 7, 9, 5], [6, 2, 0, 0], [0, 0, 0, 0]])
    return Recaller(**options).eval(), {"source": source, "lengths": torch.tensor([4, 2, 0])}


BOTH = pytest.mark.parametrize("made", [grams, recaller], ids=["tensors", "own-state"])


def same(found: list[Hypothesis], expected: list[Scored]) -> None:
    """Tokens in the same order, scores and log-likelihoods to the last digits of double precision."""
    assert [one.tokens for one in found] == [tokens for tokens, _, _ in expected]
    scores, totals = [score for _, score, _ in expected], [total for _, _, total in expected]
    torch.testing.assert_close([one.score for one in found], scores, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close([one.log_likelihood for one in found], totals, rtol=1e-12, atol=1e-12)
    assert all(one.finished for one in found)


def take(inputs: dict[str, Tensor], examples: list[int]) -> dict[str, Tensor]:
    return {name: value[examples] for name, value in inputs.items()}


# --- as wide as all beginnings: nothing is missed ---


@BOTH
@pytest.mark.parametrize(
    ("options", "alpha", "gnmt"),
    [
        ({"length_penalty": 0.0}, 0.0, False),
        ({}, 0.6, False),
        ({"length_penalty": 1.0}, 1.0, False),
        ({"length_penalty": 2.5}, 2.5, False),
        ({"length_penalty": -0.7, "groups": 1}, -0.7, False),
        ({"length_penalty": 0.6, "normalization": "gnmt"}, 0.6, True),
        ({"length_penalty": -1.5, "normalization": "gnmt"}, -1.5, True),
    ],
)
def test_a_beam_of_all_beginnings_finds_the_best_of_all(made: Any, options: Any, alpha: float, gnmt: bool):
    model, inputs = made()
    for nbest in (1, ALL):
        found = beam_search(model, inputs, width=ALL, nbest=nbest, longest=LONGEST, **options)
        for example, own in enumerate(found):
            outputs = everything(logs_of(model, inputs, example), LONGEST)
            same(own, ranked(outputs, plain_score(alpha, gnmt))[:nbest])


@pytest.mark.parametrize(("shortest", "longest"), [(0, 0), (0, 1), (1, 1), (0, 2), (1, 3), (3, 3)])
def test_shortest_and_longest(shortest: int, longest: int):
    model, inputs = recaller()
    found = beam_search(model, inputs, width=ALL, nbest=ALL, shortest=shortest, longest=longest)
    for example, own in enumerate(found):
        same(own, ranked(everything(logs_of(model, inputs, example), longest, shortest), plain_score(0.6)))


@BOTH
def test_each_example_has_a_longest_of_its_own(made: Any):
    model, inputs = made()
    found = beam_search(model, inputs, width=ALL, nbest=ALL, longest=torch.tensor([3, 0, 2]))
    for example, longest in enumerate((3, 0, 2)):
        same(found[example], ranked(everything(logs_of(model, inputs, example), longest), plain_score(0.6)))


@BOTH
@pytest.mark.parametrize("banned", [[1], [4, 5], [1, 4, 5], torch.tensor([5])])
def test_banned_tokens_never_come(made: Any, banned: Any):
    model, inputs = made()
    found = beam_search(model, inputs, width=ALL, nbest=ALL, banned=banned, longest=LONGEST)
    allowed = [token for token in WRITTEN if token not in [int(one) for one in banned]]
    for example, own in enumerate(found):
        outputs = everything(logs_of(model, inputs, example), LONGEST, tokens=allowed)
        same(own, ranked(outputs, plain_score(0.6)))


@BOTH
@pytest.mark.parametrize("prefix", [[[4], [5, 1], []], torch.tensor([[4, 0], [5, 1], [0, 0]]), [5]])
def test_outputs_begin_with_the_prefix(made: Any, prefix: Any):
    model, inputs = made()
    found = beam_search(model, inputs, width=ALL, nbest=ALL, prefix=prefix, longest=LONGEST)
    for example, begun in enumerate([(5,)] * 3 if prefix == [5] else [(4,), (5, 1), ()]):
        outputs = everything(logs_of(model, inputs, example), LONGEST)
        kept = [one for one in outputs if one[0][: len(begun)] == begun]
        same(found[example], ranked(kept, plain_score(0.6)))


@BOTH
@pytest.mark.parametrize(
    "required",
    [
        [4],
        [4, 5],
        [1, 4, 5],
        [(4, 5)],
        [(4, 4)],
        [(5, 4, 5)],
        [(4, 5), (5, 4)],
        [(4, 5), 5],
        [[5], [(1, 1), 4], []],
        [[], [], [4, 4]],
    ],
    ids=str,
)
def test_required_tokens_and_phrases_all_come(made: Any, required: Any):
    model, inputs = made()
    found = beam_search(model, inputs, width=ALL, nbest=ALL, required=required, longest=LONGEST)
    for example, own in enumerate(found):
        wanted = required[example] if isinstance(required[0], list) else required
        phrases = [one if isinstance(one, tuple) else (one,) for one in wanted]
        outputs = everything(logs_of(model, inputs, example), LONGEST)
        kept = [one for one in outputs if all(holds(one[0], phrase) for phrase in phrases)]
        same(own, ranked(kept, plain_score(0.6)))


def test_all_rules_at_once():
    model, inputs = recaller()
    rules: Any = {"prefix": [[5], [], [1]], "required": [(4, 1)], "shortest": 3}
    found = beam_search(model, inputs, width=121, nbest=20, longest=4, length_penalty=0.5, **rules)
    for example, begun in enumerate([(5,), (), (1,)]):
        outputs = everything(logs_of(model, inputs, example), 4, 3)
        kept = [one for one in outputs if one[0][: len(begun)] == begun and holds(one[0], (4, 1))]
        same(found[example], ranked(kept, plain_score(0.5))[:20])


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.2), (1.0, 0.3), (-0.5, 1.0)])
@pytest.mark.parametrize("nbest", [1, 7])
def test_coverage_is_part_of_the_score(alpha: float, beta: float, nbest: int):
    model, inputs = recaller()
    found = beam_search(
        model, inputs, width=ALL, nbest=nbest, longest=LONGEST, length_penalty=alpha, coverage_penalty=beta
    )
    for example, own in enumerate(found):
        score = with_coverage(model, inputs, example, beta, plain_score(alpha))
        same(own, ranked(everything(logs_of(model, inputs, example), LONGEST), score)[:nbest])


# --- narrower: the same search with lists and loops, run to its end ---


@BOTH
@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize(("alpha", "shortest"), [(0.0, 0), (1.0, 2), (-1.0, 0)])
def test_a_narrow_beam_is_the_plain_search(made: Any, width: int, alpha: float, shortest: int):
    model, inputs = made(seed=width + shortest)
    for nbest in {1, width}:
        found = beam_search(model, inputs, width=width, nbest=nbest, longest=6, shortest=shortest, length_penalty=alpha)
        for example, own in enumerate(found):
            (finished,) = searched(logs_of(model, inputs, example), width, 6, shortest=shortest)
            same(own, ranked(finished, plain_score(alpha))[:nbest])


@BOTH
@pytest.mark.parametrize("options", [{}, {"shortest": 3}, {"banned": [4]}, {"prefix": [[5], [], [1, 4]]}])
def test_one_beam_is_greedy_search(made: Any, options: Any):
    for seed in range(2):
        model, inputs = made(seed=seed)
        beams = beam_search(model, inputs, width=1, longest=7, length_penalty=0.0, **options)
        assert greedy(model, inputs, longest=7, **options) == [one for (one,) in beams]


def test_greedy_takes_the_likeliest():
    model, inputs = grams()
    for example, found in enumerate(greedy(model, inputs, longest=9)):
        logs = logs_of(model, inputs, example)
        for place, token in enumerate((*found.tokens, END)[:9]):
            allowed = {one: logs(found.tokens[:place])[one] for one in (*WRITTEN, END)}
            assert token == max(allowed, key=allowed.__getitem__)


# --- the numbers are the model's own ---


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@BOTH
def test_log_likelihoods_are_the_models_own(made: Any, dtype: torch.dtype):
    model, inputs = made(dtype=dtype)
    with torch.no_grad():
        for found in (
            greedy(model, inputs, longest=12),
            [own[-1] for own in beam_search(model, inputs, width=4, nbest=4, longest=12)],
        ):
            tokens = [one.tokens for one in found]
            own = torch.tensor([one.log_likelihood for one in found], dtype=torch.float64)
            torch.testing.assert_close(own, log_likelihood(model, inputs, tokens), rtol=2e-7, atol=0)
            torch.testing.assert_close(own, forced_log_likelihood(model, inputs, tokens), rtol=2e-7, atol=0)


def test_log_likelihoods_of_a_large_vocabulary_in_single_precision():
    draw = torch.Generator().manual_seed(0)
    table = 5 * torch.randn(8000, generator=draw) + 30

    class Flat:
        def encode(self, source: Tensor) -> Tensor:
            return source

        def step(self, state: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
            return table.expand(len(tokens), -1), state

    found = beam_search(Flat(), {"source": torch.zeros(1)}, width=3, nbest=3, longest=30, shortest=30)[0]
    logs = table.double().log_softmax(0)
    for one in found:
        exact = float(logs[list(one.tokens)].sum() + logs[END])
        assert abs(one.log_likelihood - exact) <= 2e-7 * abs(exact)


def test_log_likelihood_without_an_end_and_with_gradients():
    model, inputs = recaller()
    tokens = [[4, 5], [], [1, 1, 4]]
    open_, closed = (log_likelihood(model, inputs, tokens, ended=ended).detach() for ended in (False, True))
    for example, written in enumerate(tokens):
        logs = logs_of(model, inputs, example)
        total = sum(logs(tuple(written[:place]))[token] for place, token in enumerate(written))
        assert float(open_[example]) == pytest.approx(total, abs=1e-12)
        assert float(closed[example]) == pytest.approx(total + logs(tuple(written))[END], abs=1e-12)
    for likelihood in (log_likelihood, forced_log_likelihood):
        model.zero_grad()
        likelihood(model, inputs, tokens).sum().backward()
        gradient = model.out.weight.grad
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


@given(st.integers(0, 99), st.integers(1, 6), st.sampled_from([0.0, 1.0, 0.6]), st.sampled_from([1, 2]))
@settings(max_examples=8, deadline=None)
def test_the_best_are_sorted_and_distinct(seed: int, width: int, alpha: float, groups: int):
    model, inputs = grams(seed=seed)
    width *= groups
    for own in beam_search(model, inputs, width=width, nbest=width, groups=groups, longest=5, length_penalty=alpha):
        assert own
        assert [one.score for one in own] == sorted((one.score for one in own), reverse=True)
        assert len({one.tokens for one in own}) == len(own) <= width
        for one in own:
            assert one.score == pytest.approx(one.log_likelihood / one.length**alpha, rel=1e-12)


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


def same_outputs(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [(one.tokens, one.finished, one.group) for one in found] == [
        (one.tokens, one.finished, one.group) for one in expected
    ]
    scores, others = [one.score for one in found], [one.score for one in expected]
    torch.testing.assert_close(scores, others, rtol=1e-12, atol=1e-12)


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


class Fixed:
    """The same scores at each step, for each row its own."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores
        self.rows: list[int] = []

    def encode(self, source: Tensor) -> Tensor:
        return source

    def step(self, state: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        self.rows.append(len(tokens))
        return self.scores[state], state


def fixed(*rows: list[float], dtype: torch.dtype = torch.float32) -> tuple[Fixed, dict[str, Tensor]]:
    return Fixed(torch.tensor(rows, dtype=dtype)), {"source": torch.arange(len(rows))}


NEVER = -float("inf")


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


# --- required: a narrow beam keeps its word ---


@given(st.integers(0, 99), st.integers(1, 6), st.sampled_from([[4], [1, 4, 5], [(4, 5), 1], [(5, 5), (4, 1)]]))
@settings(max_examples=8, deadline=None)
def test_a_narrow_beam_holds_what_is_required(seed: int, width: int, required: list[Any]):
    model, inputs = grams(seed=seed)
    model.table[:, :, :, 4] -= 7  # far from likely
    needed = sum(len(one) if isinstance(one, tuple) else 1 for one in required)
    for own in beam_search(model, inputs, width=width, nbest=width, required=required, longest=needed + 2):
        for one in own:
            assert one.finished
            assert all(holds(one.tokens, entry if isinstance(entry, tuple) else (entry,)) for entry in required)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("required", [[(4, 5), (5, 4)], [(4, 4), (4, 5, 4), 5], [(5, 5, 4), (5, 4)]], ids=str)
@pytest.mark.parametrize("spare", [0, 1, 4])
def test_a_narrow_beam_holds_phrases_that_share_tokens(width: int, required: list[Any], spare: int):
    model, inputs = grams(seed=width)
    model.table[:, :, :, 1] += 9  # another token is always likelier
    phrases = [one if isinstance(one, tuple) else (one,) for one in required]
    for groups in (1, 2):
        for (best,) in beam_search(
            model,
            inputs,
            width=width * groups,
            groups=groups,
            required=required,
            longest=sum(map(len, phrases)) + spare,
        ):
            assert best.finished
            assert all(holds(best.tokens, phrase) for phrase in phrases)


@pytest.mark.parametrize("width", [1, 2, 4, 7])
@pytest.mark.parametrize("phrases", [[(4,)], [(1,), (4,), (5,)], [(4, 5), (1,)], [(5, 5)]], ids=str)
def test_a_beam_is_shared_among_banks(width: int, phrases: list[tuple[int, ...]]):
    model, inputs = grams(seed=width)
    required = [phrase if len(phrase) > 1 else phrase[0] for phrase in phrases]
    found = beam_search(model, inputs, width=width, nbest=width, required=required, longest=5)
    for example, own in enumerate(found):
        finished = searched_by_banks(logs_of(model, inputs, example), width, 5, phrases)
        same(own, ranked(finished, plain_score(0.6))[:width])


def test_an_end_that_must_wait_takes_no_place_among_the_best():
    model, inputs = fixed([9.0, 1.0, 9.0, 9.0, 0.0, 0.5])
    (found,) = beam_search(model, inputs, width=1, required=[4, 5], longest=4)
    assert found[0].tokens == (1, 1, 5, 4)


def test_required_with_exactly_room_for_it():
    model, inputs = grams()
    found = beam_search(model, inputs, width=2, nbest=2, required=[(4, 5), 1], longest=3)
    for own in found:
        assert {one.tokens for one in own} <= {(4, 5, 1), (1, 4, 5)}
        assert own[0].finished


def test_what_stands_in_the_prefix_need_not_come_again():
    model, inputs = grams()
    found = beam_search(model, inputs, width=ALL, nbest=ALL, prefix=[4, 5], required=[(4, 5)], longest=LONGEST)
    expected = beam_search(model, inputs, width=ALL, nbest=ALL, prefix=[4, 5], longest=LONGEST)
    assert found == expected


# --- diverse groups ---


@BOTH
@pytest.mark.parametrize(("width", "groups"), [(2, 2), (4, 2), (6, 3)])
@pytest.mark.parametrize("diversity", [0.0, 0.7, 3.0])
def test_groups_search_in_turn(made: Any, width: int, groups: int, diversity: float):
    model, inputs = made()
    found = beam_search(
        model, inputs, width=width, nbest=width, groups=groups, diversity_penalty=diversity, longest=5, shortest=5
    )
    for example, own in enumerate(found):
        logs = logs_of(model, inputs, example)
        by_group = searched(logs, width, 5, shortest=5, groups=groups, diversity=diversity)
        expected = {}
        for group, finished in enumerate(by_group):
            for tokens, score, _ in ranked(finished, plain_score(0.6)):
                expected.setdefault(tokens, (score, group))
        assert {one.tokens for one in own} <= set(expected)
        best = {tokens: score for tokens, (score, _) in expected.items()}
        assert own[0].score == pytest.approx(max(best.values()), abs=1e-12)
        if diversity == 0:  # all groups find the same
            assert len(own) == width // groups


def test_the_first_group_is_a_search_of_its_own():
    model, inputs = recaller()
    diverse = beam_search(model, inputs, width=6, nbest=6, groups=2, longest=5, shortest=2)
    alone = beam_search(model, inputs, width=3, nbest=3, longest=5, shortest=2)
    for own, plain in zip(diverse, alone, strict=True):
        same_outputs([one for one in own if one.group == 0], plain)


@pytest.mark.parametrize(
    ("nbest", "expected"),
    [(1, "a"), (2, "ab"), (3, "abf"), (4, "abcf"), (5, "abcdf"), (6, "abdefg"), (7, "abcdefg"), (9, "abcdefg")],
)
def test_each_group_has_its_share_of_the_outputs(nbest: int, expected: str):
    # "b" is the first's second and the second's first: of nbest=6 the first group gives it, and the second gives "e"
    groups = [{"a": -1.0, "b": -2.0, "c": -3.0}, {"b": -2.0, "d": -4.0, "e": -5.0}, {"f": -6.0, "g": -9.0, "a": -9.5}]
    ranked = [
        [Place(Hypothesis((ord(name),), score, score, group=group), 0) for name, score in own.items()]
        for group, own in enumerate(groups)
    ]
    assert "".join(chr(place.hypothesis.tokens[0]) for place in _dealt(ranked, nbest)) == expected


def test_a_strong_penalty_makes_groups_differ_at_each_token():
    model, inputs = grams()
    for own in beam_search(
        model, inputs, width=3, nbest=3, groups=3, diversity_penalty=99.0, longest=4, shortest=4, length_penalty=0.0
    ):
        assert sorted(one.group for one in own) == [0, 1, 2]
        for tokens in zip(*(one.tokens for one in own), strict=True):
            assert len(set(tokens)) == 3
        plain = beam_search(model, inputs, width=3, longest=4, shortest=4, length_penalty=0.0)
        assert own[0].score <= max(one[0].score for one in plain)


# --- the tree ---


@BOTH
@pytest.mark.parametrize("groups", [1, 2])
def test_the_tree_holds_what_was_kept(made: Any, groups: int):
    model, inputs = made()
    trees: list[BeamTree] = []
    found = beam_search(model, inputs, width=4, nbest=2, groups=groups, longest=5, trees=trees)
    assert len(trees) == len(found)
    for example, (own, tree) in enumerate(zip(found, trees, strict=True)):
        logs = logs_of(model, inputs, example)
        assert len(tree.ends) == len(own)
        for one, end in zip(own, tree.ends, strict=True):
            assert end is not None
            path = tree.path(end)
            assert tuple(node.token for node in path) == (*one.tokens, END)
            assert path[-1].log_likelihood == one.log_likelihood
            assert {node.group for node in path} == {one.group}
        for level, nodes in enumerate(tree.levels):
            assert 0 < len(nodes) <= 4
            for place, node in enumerate(nodes):
                path = tree.path((level, place))
                assert len(path) == level + 1
                assert not any(before.finished for before in path[:-1])
                written = tuple(one.token for one in path)
                total = sum(logs(written[:at])[token] for at, token in enumerate(written))
                assert node.log_likelihood == pytest.approx(total, abs=1e-12)


def test_the_tree_of_what_never_began():
    model, inputs = fixed([NEVER] * 6)
    trees: list[BeamTree] = []
    beam_search(model, inputs, trees=trees, longest=3)
    assert trees == [BeamTree([], [None])]


# --- the largest of many ---


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_largest_are_those_of_a_stable_sort(data: st.DataObject):
    length = data.draw(st.sampled_from([1, 5, 63, 64, 257, 300, 513, 1000]))
    count = data.draw(st.integers(1, 7))
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    values = torch.randint(-4, data.draw(st.sampled_from([-2, 3, 10**6])), (3, length), generator=draw) / 3
    values = values.to(data.draw(st.sampled_from([torch.float32, torch.float64])))
    values[values == -1] = -torch.inf
    values[values == 0] = -0.0
    values[0] = values[0] if data.draw(st.booleans()) else -torch.inf
    found, places = largest(values, count)
    expected, at = values.sort(dim=1, descending=True, stable=True)
    there = expected[:, :count] > -torch.inf
    assert torch.equal(found, expected[:, :count])
    assert torch.equal(places[there], at[:, :count][there])
    assert torch.equal(values.gather(1, places), found)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_best_continuations_are_those_of_a_stable_sort(data: st.DataObject):
    """Of all beams and all tokens side by side; with ties, beams that hold nothing, and tokens that may not come."""
    length, beams = data.draw(st.sampled_from([4, 70, 255, 256, 257, 700])), data.draw(st.integers(1, 6))
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    scores = torch.randint(-4, data.draw(st.sampled_from([-2, 3, 10**6])), (2 * beams, length), generator=draw) / 3
    scores[scores == -1] = -torch.inf
    totals = torch.randint(-2, 1, (2, beams), generator=draw).double()
    totals[totals == -2] = -torch.inf
    scores[totals.flatten() == -torch.inf] = data.draw(st.sampled_from([0.0, torch.nan]))
    normalizer = torch.randint(0, 2, (2 * beams,), generator=draw).double()
    unwanted = torch.tensor(sorted(data.draw(st.sets(st.integers(0, length - 1), max_size=length - 1))))
    blocks = Blocks.of(length, unwanted.long())
    found = blocks.best(scores, blocks.maxima(scores), normalizer, totals)
    every = totals.flatten()[:, None] + (scores.double() - normalizer[:, None])
    every = every.index_fill(1, unwanted.long(), -torch.inf).nan_to_num(-torch.inf, neginf=-torch.inf)
    expected, at = every.view(2, -1).sort(dim=1, descending=True, stable=True)
    expected, at = expected[:, :beams], at[:, :beams]
    there = expected > -torch.inf
    assert torch.equal(found.totals, expected)
    assert torch.equal((found.parents * length + found.tokens)[there], at[there])


@pytest.mark.parametrize("own", [False, True])
def test_what_a_module_keeps_of_decoding_can_be_trained_with(own: bool):
    """One of someone's own may keep tensors; where all are known to keep none, the cheaper mode is taken."""

    class Keeping(nn.Linear):
        kept: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            self.kept = 2 * torch.ones_like(x) if self.kept is None else self.kept
            return super().forward(x) * self.kept[:, :1]

    modes = []
    model = transformer(9, vocabulary=9, width=8, heads=2)
    model.output.register_forward_hook(lambda *_: modes.append(torch.is_inference_mode_enabled()))
    if own:
        model.layers[0].cross.output = Keeping(8, 8)
    inputs = {"source": torch.tensor([[4, 5]]), "lengths": torch.tensor([2])}
    greedy(model, inputs, longest=2)
    assert set(modes) == {not own}
    model(**inputs, prefix=torch.tensor([[START]])).sum().backward()
