"""What is drawn has the model's frequencies, stays in its support, and is a function of seed and example."""

import math
from typing import Any

import pytest
import torch
from decoders import WRITTEN, Grams, Recaller, logs_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from thalweg.core.tokens import END
from thalweg.decode import Hypothesis, log_likelihood, sample

DRAWS = 4000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Table:
    """The same scores at each step."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    def encode(self, source: Tensor) -> Tensor:
        return source

    def step(self, state: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.scores.expand(len(tokens), -1), state


def first_tokens(scores: list[float] | Tensor, **options: Any) -> list[int]:
    """The first token of many draws, `END` where there is none."""
    model = Table(torch.as_tensor(scores))
    (drawn,) = sample(model, {"source": torch.zeros(1)}, draws=DRAWS, longest=1, generator=seeded(), **options)
    return [one.tokens[0] if one.tokens else END for one in drawn]


SCORES = [1.0, 0.4, 2.0, -0.5, 1.2, 0.1]
OPEN = (1, END, 4, 5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("banned", [(), (4,)])
def test_frequencies_are_those_of_the_softmax(temperature: float, banned: tuple[int, ...]):
    tokens = [token for token in OPEN if token not in banned]
    shares = torch.tensor([SCORES[token] / temperature for token in tokens]).softmax(0).double()
    drawn = first_tokens(SCORES, temperature=temperature, banned=banned)
    counts = [drawn.count(token) for token in tokens]
    assert sum(counts) == DRAWS
    assert chisquare(counts, (shares / shares.sum() * DRAWS).numpy()).pvalue > 1e-3


def test_whole_outputs_have_their_frequencies():
    model = Grams(1, seed=3)
    inputs = {"source": torch.zeros(1, dtype=torch.int64)}
    logs = logs_of(model, inputs, 0)
    (drawn,) = sample(model, inputs, draws=DRAWS, longest=2, generator=seeded(1))

    def share(token: int, written: tuple[int, ...]) -> float:
        weights = {one: math.exp(logs(written)[one]) for one in (*WRITTEN, END)}
        return weights[token] / sum(weights.values())

    expected = {(): share(END, ())}
    for one in WRITTEN:
        expected[(one,)] = share(one, ()) * share(END, (one,))
        expected |= {(one, two): share(one, ()) * share(two, (one,)) for two in WRITTEN}
    counts = [sum(one.tokens == tokens for one in drawn) for tokens in expected]
    assert chisquare(counts, [DRAWS * each for each in expected.values()]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("options", "support"),
    [
        ({"top_k": 1}, {4}),
        ({"top_k": 2}, {1, 4}),
        ({"top_k": 3}, {1, 4, 5}),
        ({"top_k": 99}, set(OPEN)),
        ({"top_p": 1e-9}, {4}),
        ({"top_p": 0.5}, {4}),
        ({"top_p": 0.52}, {1, 4}),
        ({"top_p": 0.8}, {1, 4, 5}),
        ({"top_p": 1.0}, set(OPEN)),
        ({"top_p": 0.5, "banned": [1]}, {4}),
        ({"top_k": 2, "top_p": 0.7}, {1, 4}),
        ({"top_k": 2, "top_p": 0.6}, {4}),
        ({"top_p": 0.5, "temperature": 0.5}, {4}),
        ({"shortest": 1}, {1, 4, 5}),
        ({"prefix": [5]}, {5}),
    ],
    ids=str,
)
def test_the_support_is_exact(options: Any, support: set[int]):
    shares = {token: math.exp(SCORES[token]) for token in OPEN}
    assert shares[4] / sum(shares.values()) == pytest.approx(0.509, abs=1e-3)
    assert set(first_tokens(SCORES, **options)) == support


def test_of_equal_tokens_the_smaller_are_in_the_support():
    scores = torch.zeros(1000)
    assert set(first_tokens(scores, top_k=3)) == {1, END, 4}
    assert set(first_tokens(scores, top_p=3 / 998)) == {1, END, 4}


def test_a_nucleus_of_many_tokens_is_exact():
    """More tokens than are looked at first; the frequencies within it are those of the softmax."""
    scores = torch.linspace(0, -1, 700)
    shares = scores.double().exp()
    shares[[0, 2]] = 0
    size = int((shares.cumsum(0) < 0.5 * shares.sum()).sum()) + 1
    drawn = first_tokens(scores, top_p=0.5)
    assert size > 256
    assert max(drawn) < size
    halves = shares[: size // 2].sum() / shares[:size].sum()
    below = sum(token < size // 2 for token in drawn)
    assert chisquare([below, DRAWS - below], [DRAWS * float(halves), DRAWS * float(1 - halves)]).pvalue > 1e-3


@pytest.mark.parametrize("temperature", [1e-30, 1e-3])
def test_near_no_temperature_the_likeliest_comes(temperature: float):
    assert set(first_tokens(SCORES, temperature=temperature)) == {4}


def test_a_high_temperature_draws_evenly():
    drawn = first_tokens(SCORES, temperature=1e30)
    assert chisquare([drawn.count(token) for token in OPEN]).pvalue > 1e-3


def test_log_likelihoods_are_the_models_own_whatever_is_drawn_from():
    model = Recaller(1).eval()
    inputs = {"source": torch.tensor([[4, 7], [5, 0]]), "lengths": torch.tensor([2, 1])}
    drawn = sample(model, inputs, draws=3, temperature=2.0, top_k=2, longest=7, generator=seeded())
    for place in range(3):
        found = [own[place] for own in drawn]
        with torch.no_grad():
            expected = log_likelihood(model, inputs, [one.tokens for one in found])
        torch.testing.assert_close([one.log_likelihood for one in found], expected.tolist(), rtol=1e-12, atol=0)
        assert all(one.score == one.log_likelihood and one.finished for one in found)


def test_the_generator_decides_and_moves_on():
    model, inputs = Grams(2), {"source": torch.arange(2)}
    source = seeded(5)
    one, two = (sample(model, inputs, longest=20, generator=source) for _ in range(2))
    assert one == sample(model, inputs, longest=20, generator=seeded(5)) != two
    torch.manual_seed(5)
    assert sample(model, inputs, longest=20) == one


@given(st.integers(0, 99), st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(1, 3), st.booleans())
@settings(max_examples=10, deadline=None)
def test_what_is_drawn_does_not_depend_on_the_batch(seed: int, batch: list[int], draws: int, own_state: bool):
    source = torch.randint(1, 11, (5, 3), generator=seeded(seed))
    inputs = {"source": source, "lengths": torch.tensor([3, 1, 0, 2, 3])}
    model: Any = Recaller(seed).eval()
    if not own_state:
        model, inputs = Grams(5, seed), {"source": torch.arange(5)}

    def drawn(examples: list[int], draws: int) -> list[list[Hypothesis]]:
        own = {name: value[examples] for name, value in inputs.items()}
        return sample(model, own, draws=draws, generator=seeded(seed), numbers=examples, longest=8)

    for example, found in zip(batch, drawn(batch, draws), strict=True):
        (alone,) = drawn([example], 3)
        assert [one.tokens for one in found] == [one.tokens for one in alone[:draws]]


def test_a_row_of_minus_infinity_is_not_finished():
    (drawn,) = sample(Table(torch.full((6,), -torch.inf)), {"source": torch.zeros(1)}, draws=2, top_p=0.5)
    assert drawn == [Hypothesis((), 0.0, 0.0, finished=False)] * 2
