"""Beam and greedy search against twins that write down every output, or search with lists and loops."""

from typing import Any

import pytest
import torch
from decoders import (
    ALL,
    BOTH,
    LONGEST,
    WRITTEN,
    everything,
    grams,
    holds,
    logs_of,
    plain_score,
    ranked,
    recaller,
    same,
    searched,
    with_coverage,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from thalweg.core.tokens import END
from thalweg.decode import beam_search, forced_log_likelihood, greedy, log_likelihood

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
