"""What decoding refuses, and what it says."""

from typing import Any

import pytest
import torch
from decoders import Grams, Recaller
from torch import Tensor, nn

from thalweg.core.errors import RecipeError
from thalweg.decode import beam_search, forced_log_likelihood, greedy, log_likelihood, sample
from thalweg.decode.stepping import read_inputs

SOURCE = {"source": torch.arange(2)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width is 0, but it must be a whole number of at least 1. Give for instance width=1."),
        ({"width": True}, "width is True, but it must be a whole number"),
        ({"nbest": 0}, "nbest is 0"),
        ({"width": 2, "nbest": 3}, "nbest is 3, but a search of width 2 .* Take width=3 or more."),
        ({"width": 5, "groups": 2}, "2 groups cannot share 5 beams equally. Take a width .* such as 6."),
        ({"groups": True}, "groups is True"),
        ({"diversity_penalty": -1.0}, "diversity_penalty is -1.0, but it is a finite number of at least 0."),
        ({"length_penalty": float("nan")}, "length_penalty is nan, but it is a finite number. Give 0.0 for none."),
        ({"normalization": "gnmd"}, "normalization is 'gnmd', but it is 'power' or 'gnmt'. Did you mean 'gnmt'?"),
        ({"coverage_penalty": -0.1}, "coverage_penalty is -0.1, but one below 0 would reward .* at least 0.0"),
        ({"coverage_penalty": 0.1}, r"Grams does not say what it attends to. Give it attended\(state\)"),
        ({"shortest": -1}, "shortest is -1"),
        ({"longest": -1}, "longest is -1"),
        ({"longest": torch.tensor([4.0, 2.5])}, "longest is 4.0"),
        ({"longest": torch.tensor([4, 4, 4])}, "longest has 3 numbers for 2 examples. Give one for all"),
        ({"shortest": 3, "longest": 2}, "shortest is 3 and longest 2. .* take longest=3 or more"),
        ({"prefix": [[4, 4, 4], []], "longest": 2}, "prefix of example 0 has 3 tokens, but longest is 2."),
        ({"prefix": [[4]]}, "prefix has 1 lists for 2 examples."),
        ({"prefix": [[4], [2, 5]]}, "prefix holds 2, <start>. .*leave it out"),
        ({"prefix": [[4], [0, 5]]}, "prefix holds 0, <padding>."),
        ({"prefix": [[4], [5, 3]]}, "prefix holds 3, <end>."),
        ({"prefix": [4, 9]}, "prefix is or holds token 9, but the model scores the tokens 0 to 5."),
        ({"prefix": "ab"}, "prefix is 'ab', but tokens are given as a list of numbers"),
        ({"prefix": [[4.0], []]}, "prefix holds 4.0, but tokens are whole numbers"),
        ({"prefix": [5], "banned": [5]}, "prefix of example 0 holds token 5, which is banned."),
        ({"banned": [3]}, "banned holds 3, <end>. .* ends an output"),
        ({"banned": [77]}, "banned is or holds token 77, but the model scores the tokens 0 to 5."),
        ({"banned": [-1]}, "banned holds -1, but tokens are whole numbers of at least 0."),
        ({"required": [6]}, "required is or holds token 6, but the model scores the tokens 0 to 5."),
        ({"required": [4], "banned": [4]}, "token 4 is required in example 0 and banned."),
        ({"required": [[], [(4, 5)]], "banned": [5]}, "token 5 is required in example 1 and banned."),
        ({"required": [3]}, "required holds 3, <end>."),
        ({"required": [()]}, "required holds a phrase of no tokens."),
        ({"required": [[4], [5], [4]]}, "required has 3 lists among 3 entries for 2 examples."),
        ({"required": [[4], 5]}, "required has 1 lists among 2 entries for 2 examples."),
        ({"required": "ab"}, "required is 'ab', but it is a list of tokens and phrases"),
        ({"required": [(4, 5), 1], "longest": 2}, "example 0 must hold 3 required tokens, but longest is 2."),
    ],
    ids=str,
)
def test_arguments_of_beam_search(options: Any, message: str):
    with pytest.raises(RecipeError, match=message):
        beam_search(Grams(), SOURCE, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0, but it is a finite number above 0. .* use greedy"),
        ({"temperature": 0.0}, "temperature is 0.0,"),
        ({"top_k": 0}, "top_k is 0, but it must be a whole number of at least 1."),
        ({"top_p": 0.0}, "top_p is 0.0, but it is the share"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"draws": 0}, "draws is 0"),
        ({"numbers": [1]}, r"numbers has the shape \(1,\) and type torch.int64 for 2 examples."),
        ({"numbers": torch.ones(2)}, "type torch.float32 for 2 examples. Give a whole number for each"),
        ({"longest": -2}, "longest is -2"),
    ],
    ids=str,
)
def test_arguments_of_sampling(options: Any, message: str):
    with pytest.raises(RecipeError, match=message):
        sample(Grams(), SOURCE, **options)


@pytest.mark.parametrize("decode", [greedy, beam_search, sample])
def test_models_and_inputs(decode: Any):
    with pytest.raises(RecipeError, match="Linear cannot be decoded from: it has no encode, no step."):
        decode(nn.Linear(2, 3), SOURCE)
    with pytest.raises(RecipeError, match="the inputs are {}"):
        decode(Grams(), {})
    with pytest.raises(RecipeError, match="the inputs hold 'prefix', .* Leave it out"):
        decode(Grams(), {**SOURCE, "prefix": torch.zeros(2, 3)})


class Answers:
    """A model that gives the answers it was made with, the last one again and again."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def encode(self, source: Tensor) -> Tensor:
        return source

    def step(self, state: Tensor, tokens: Tensor) -> Any:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return (answer, state) if isinstance(answer, Tensor) else answer


FLAT = torch.zeros(1, 6)


@pytest.mark.parametrize("decode", [greedy, lambda *given: beam_search(*given, width=1), sample])
@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (torch.zeros(6), r"\(\(6,\) float32, \(1,\) float32\)"),
        (torch.zeros(1, 1, 6), r"\(1, 1, 6\)"),
        (torch.zeros(2, 6), r"\(2, 6\)"),
        (torch.zeros(1, 0), r"\(1, 0\)"),
        (torch.zeros(1, 7), r"\(1, 7\)"),
        (torch.zeros(1, 6, dtype=torch.int64), r"int64"),
        ("scores", "str"),
        ((FLAT, 1, 2), r"int"),
    ],
    ids=str,
)
def test_scores_of_another_shape(decode: Any, answer: Any, shown: str):
    with pytest.raises(RecipeError, match=rf"Answers.step gave .*{shown}.* at step 1 for 1 rows.*\(1, 6\)"):
        decode(Answers(FLAT - torch.eye(6)[3] * 99, answer), {"source": torch.zeros(1)})


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.zeros(2, 4), r"attended gave \(2, 4\) float32 at step 0 for 2 rows, but it gives \(weights, there\)"),
        ((torch.zeros(2, 4), torch.ones(2, 3, dtype=torch.bool)), r"both \(2, positions\), there bool"),
        ((torch.zeros(2, 4), torch.ones(2, 4)), "there bool"),
        ((torch.full((2, 4), torch.nan), torch.ones(2, 4, dtype=torch.bool)), "attended gave at step 0 holds NaN"),
    ],
)
def test_attention_of_another_form(answer: Any, message: str):
    model = Grams()
    model.attended = lambda state: answer
    with pytest.raises(RecipeError, match=message):
        beam_search(model, SOURCE, width=1, coverage_penalty=0.1)


def test_fewer_scores_than_there_are_marks():
    with pytest.raises(RecipeError, match="END is or holds token 3, but the model scores the tokens 0 to 2."):
        greedy(Answers(torch.zeros(1, 3)), {"source": torch.zeros(1)})


@pytest.mark.parametrize("decode", [greedy, beam_search, sample])
@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 3, 5])
def test_scores_that_are_not_finite_name_their_step(decode: Any, bad: float, place: int):
    model = Grams()
    model.table[:, :, :, 3] = -99
    model.table[1, 2:, :, place] = bad  # after START and a token: at step 1
    with pytest.raises(
        RecipeError,
        match=r"The scores of step 1 are NaN or plus infinity \(example 1, counted from 0\).* minus infinity rules",
    ):
        decode(model, SOURCE)


def test_scores_of_hypotheses_that_are_over_may_be_what_they_are():
    """Behind `END` nobody reads what a model says."""
    model = Recaller(2).eval()
    inputs = {"source": torch.tensor([[4]] * 20), "lengths": torch.ones(20, dtype=torch.int64)}
    limits = [0] + [4] * 19

    class Poisoned(Recaller):
        def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
            scores, after = super().step(state, tokens)
            return scores.masked_fill((tokens == 3)[:, None], torch.nan), after

    poisoned = Poisoned(2).eval()
    for decode in (greedy, beam_search):
        assert decode(poisoned, inputs, longest=limits) == decode(model, inputs, longest=limits)


def test_inputs_without_names():
    with pytest.raises(RecipeError, match=r"inputs are \(2,\) int64, but they are what model.encode takes, by name."):
        read_inputs(Grams(), torch.arange(2))


@pytest.mark.parametrize("likelihood", [log_likelihood, forced_log_likelihood])
def test_outputs_whose_likelihood_is_asked(likelihood: Any):
    with pytest.raises(RecipeError, match="there are 1 outputs for 2 examples"):
        likelihood(Grams(), SOURCE, [[4]])
    with pytest.raises(RecipeError, match="tokens is or holds token 9, but the model (scores|has no place for it)"):
        likelihood(Grams(), SOURCE, [[4], [9]])
    with pytest.raises(RecipeError, match="tokens holds 3, <end>"):
        likelihood(Grams(), SOURCE, [[4], [3]])


def test_a_model_that_does_not_make_all_steps_at_once():
    class Short(Grams):
        def __call__(self, source: Tensor, prefix: Tensor) -> Tensor:
            return super().__call__(source, prefix)[:, 1:]

    with pytest.raises(RecipeError, match=r"Short\(\*\*inputs, prefix=...\) gave \(2, 1, 6\) float64 for a prefix"):
        forced_log_likelihood(Short(), SOURCE, [[4], [5]])
