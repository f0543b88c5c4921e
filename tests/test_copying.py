"""What only another example of the batch can copy: it never comes out, and no loss and no gradient knows of it."""

from collections.abc import Callable, Sequence
from typing import Any

import naive
import pytest
import torch
from sequence_pairs import TARGETS, Batch, batch, read, recurrent, small
from torch import Tensor, nn

from thalweg.core.objective import Losses, Moment
from thalweg.core.tokens import END, NEVER, NO_TARGET, PADDING
from thalweg.decode import Hypothesis, beam_search, forced_log_likelihood, greedy, log_likelihood, sample
from thalweg.loss import Tagging

OWN = (2, 1, 0, 0)
"""How many tokens each example of the batch adds to the vocabulary."""
MODELS: dict[str, Callable[..., nn.Module]] = {"transformer": small, "rnn-seq2seq": recurrent}
both_models = pytest.mark.parametrize("name", MODELS)


def one(x: Batch, example: int) -> Batch:
    """An example alone, padded as it was: its scores have a place for what it can copy itself."""
    return {key: part[example : example + 1] for key, part in x.items()}


def targets(x: Batch) -> Tensor:
    """What comes after each token of the prefix; END after the last."""
    y = torch.cat([x["prefix"][:, 1:], torch.zeros(4, 1, dtype=torch.int64)], 1)
    last = (x["prefix"] != PADDING).sum(1, keepdim=True) - 1
    return y.scatter(1, last, END).masked_fill(x["prefix"] == PADDING, NO_TARGET)


def smoothed(model: nn.Module, x: Batch, y: Tensor) -> Losses:
    return Tagging(label_smoothing=0.3)(model, (x, y), Moment(training=True))


def foreign(found: Sequence[Sequence[Hypothesis]]) -> list[int]:
    """The tokens that came out for an example that cannot have them."""
    return [
        token
        for own, several in zip(OWN, found, strict=True)
        for each in several
        for token in each.tokens
        if token >= TARGETS + own
    ]


# --- decoding ---


@both_models
def test_no_search_proposes_what_another_example_adds(name: str) -> None:
    """Of all that can come out the beam holds everything: so many outputs of no token and of one, and no more."""
    model, x = MODELS[name](copying=True), read(batch(copying=True))
    found = beam_search(model, x, width=40, nbest=40, longest=1)
    assert [len(own) for own in found] == [TARGETS + own - 2 for own in OWN]  # but PADDING, START and END; and nothing
    assert not foreign(found)
    wide = beam_search(model, x, width=9, nbest=9, groups=3, longest=4)
    assert not foreign(wide)
    assert not foreign([[each] for each in greedy(model, x, longest=9)])
    banned = [1, *range(4, TARGETS)]
    rest = beam_search(model, x, width=9, nbest=9, banned=banned, longest=2)
    assert [len(own) for own in rest] == [1 + own + own * own for own in OWN]  # what it adds itself, up to twice
    assert not foreign(rest)


@both_models
def test_what_another_example_adds_cannot_be_asked_for(name: str) -> None:
    model, x = MODELS[name](copying=True), read(batch(copying=True))
    for options in ({"required": [TARGETS + 1]}, {"prefix": [TARGETS + 1]}):
        found = beam_search(model, x, width=4, longest=3, **options)
        assert [own[0].finished for own in found] == [True, False, False, False]
        assert not foreign(found)


@both_models
def test_no_draw_is_what_another_example_adds(name: str) -> None:
    """However even the draws are: all that can come, and nothing else, comes out."""
    model, x = MODELS[name](copying=True), read(batch(copying=True))
    for options in ({}, {"top_k": 40}, {"top_p": 1.0}):
        drawn = sample(
            model, x, draws=400, temperature=1e6, longest=1, generator=torch.Generator().manual_seed(0), **options
        )
        assert not foreign(drawn)
        for own, several in zip(OWN, drawn, strict=True):
            written = {each.tokens for each in several}
            assert written == {(), (1,), *((token,) for token in range(4, TARGETS + own))}


@both_models
def test_the_likelihood_of_what_an_example_cannot_have(name: str) -> None:
    model, x = MODELS[name](copying=True), read(batch(copying=True))
    tokens = [[TARGETS + 1]] * 4
    with torch.no_grad():
        steps, whole = log_likelihood(model, x, tokens), forced_log_likelihood(model, x, tokens)
    torch.testing.assert_close(steps[0], whole[0])
    assert bool((steps[1:] == -torch.inf).all())
    assert bool((whole[1:] < NEVER).all())


# --- label smoothing ---


@both_models
def test_the_loss_of_an_example_is_the_same_in_any_batch(name: str) -> None:
    """And so is the gradient; with all tokens of the batch in the mean it would hang on the others."""
    x = batch(copying=True)
    y = targets(x)
    model = MODELS[name](copying=True)
    together = smoothed(model, x, y)
    assert bool((together.value < 20).all())
    for example in range(4):
        alone = smoothed(model, one(x, example), y[example : example + 1])
        torch.testing.assert_close(alone.value[0], together.value[example])
        pair = [example, 0]
        beside = smoothed(model, {key: part[pair] for key, part in x.items()}, y[pair])
        torch.testing.assert_close(beside.value[0], together.value[example])
        parameters = list(model.parameters())
        gradients = [
            torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            for value in (alone.value[0], together.value[example])
        ]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("never", [NEVER, -torch.inf])
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0, 3.0, 0.25]])
def test_smoothing_is_over_what_a_position_can_have(weights: list[float] | None, never: float) -> None:
    """Against the naive twin, which is given the possible classes alone; of the gradient too, by differences."""
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 5, generator=random, dtype=torch.float64)
    scores[0, :, 3:] = scores[1, :, 4] = never
    y = torch.tensor([[2, 0, NO_TARGET], [3, 1, 1]])
    objective = Tagging(0.3, weights)

    def loss(given: Tensor) -> Tensor:
        losses = objective(nn.Identity(), (given, y), Moment(training=True))
        return losses.value * losses.weight

    for row, count in ((0, 3), (1, 4)):
        there = [place for place in range(3) if y[row, place] != NO_TARGET]
        expected = naive.categorical_nll(
            scores[row, there, :count].tolist(), y[row, there].tolist(), 0.3, weights and weights[:count]
        )
        assert float(loss(scores)[row]) == pytest.approx(sum(expected), abs=1e-10)
    free = torch.zeros_like(scores).where(scores == never, scores).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: loss(torch.where(scores == never, never, given)), free)


def test_smoothing_where_values_cannot_be_looked_at() -> None:
    """Stacked runs, some with classes that a position cannot have: as one by one."""
    random = torch.Generator().manual_seed(0)
    scores, y = torch.randn(2, 3, 4, 5, generator=random), torch.randint(3, (3, 4), generator=random)
    scores[1, 0, :, 3:] = NEVER

    def mean(given: Tensor) -> Tensor:
        return Tagging(0.3)(nn.Identity(), (given, y), Moment(training=True)).mean()

    torch.testing.assert_close(torch.func.vmap(mean)(scores), torch.stack([mean(each) for each in scores]))


def test_scores_of_training_are_finite() -> None:
    """So that sums over all of them are; in half precision too, where `NEVER` is exact."""
    x: Any = batch(copying=True)
    for name in MODELS:
        scores = MODELS[name](copying=True)(**x)
        assert bool(scores.isfinite().all())
        assert bool((scores[1:, :, TARGETS + 1] == NEVER).all())
        assert not bool((scores[0] == NEVER).any())
    for dtype in (torch.bfloat16, torch.float16):
        assert float(torch.tensor(NEVER, dtype=dtype)) == NEVER
