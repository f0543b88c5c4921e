"""Wrong and own inputs of a decoder in training: how many, which, and how a model is asked for them."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from sequence_pairs import TARGETS, batch, each_decoder, in_training, pairs, read, recurrent, small
from torch import Tensor, nn

from thalweg.core.decoder import RecurrentDecoder
from thalweg.core.errors import RecipeError
from thalweg.core.tokens import END, PADDING, START, UNKNOWN
from thalweg.loss import DECAYS, ScheduledSampling, Tagging
from thalweg.loss.decays import sigmoid_pace
from thalweg.loss.replaced_inputs import Replacing, another, drawn, fit_to_feed, in_two_passes, step_by_step


def likeliest(scores: Tensor) -> int:
    """Of those that may be fed."""
    values = scores.tolist()
    return max((token for token in range(len(values)) if token not in (PADDING, START, END)), key=values.__getitem__)


# --- how many ---------------------------------------------------------------------------------------------------------


def test_decays_are_those_of_the_paper() -> None:
    steps, least = 500, 0.1
    slope, base, k = (1 - least) / steps, least ** (1 / steps), sigmoid_pace(steps, least)
    assert k >= 1
    for i in (0, 1, 77, 250, 499, 500):
        assert DECAYS["linear"](i, steps, least) == pytest.approx(max(least, 1 - slope * i))
        assert DECAYS["exponential"](i, steps, least) == pytest.approx(base**i)
        assert DECAYS["inverse-sigmoid"](i, steps, least) == pytest.approx(k / (k + math.exp(i / k)))
    assert DECAYS["linear"](700, steps, least) == least


@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize(("steps", "least"), [(1, 0.05), (7, 0.9), (100_000, 0.25)])
def test_each_decay_falls_to_what_is_said(name: str, steps: int, least: float) -> None:
    values = [DECAYS[name](step, steps, least) for step in range(0, steps + 1, max(1, steps // 50))]
    assert values[-1] == pytest.approx(least)
    assert all(first > second for first, second in pairwise(values))
    assert values[0] == (1 if name != "inverse-sigmoid" else pytest.approx(1 - 1 / (1 + sigmoid_pace(steps, least))))


def test_the_three_decays_differ_as_in_the_papers_figure() -> None:
    linear, exponential, sigmoid = (DECAYS[name](300, 1000, 0.05) for name in DECAYS)
    assert exponential < linear < sigmoid


def test_as_many_are_replaced_as_is_said() -> None:
    prefix = torch.randint(4, 30, (200, 51), generator=torch.Generator().manual_seed(0))
    prefix[:, 0] = START
    found = Replacing.of(prefix, 0.3, 0.5, generator=torch.Generator().manual_seed(1))
    assert found.wrong.float().mean().item() == pytest.approx(0.3 * 50 / 51, abs=0.01)
    assert found.own.float().mean().item() == pytest.approx(0.7 * 0.5 * 50 / 51, abs=0.01)
    assert not (found.wrong & found.own).any()


# --- by what ----------------------------------------------------------------------------------------------------------


def test_another_token_is_one_of_the_others_as_often_as_it_stands_there() -> None:
    tokens = [4, 4, 5, 7, 7, 7, 9]
    for gold in (4, 5, 7, 9, 6):
        others = [token for token in tokens if token != gold]
        for share in (0.0, 0.2, 0.49, 0.5, 0.77, 0.999):
            found = another(torch.tensor(tokens), torch.tensor([gold]), torch.tensor([share]))
            assert found.item() == others[int(share * len(others))]
    assert another(torch.tensor([4, 4]), torch.tensor([4]), torch.tensor([0.5])).item() == 4
    assert another(torch.tensor([], dtype=torch.int64), torch.tensor([[2]]), torch.tensor([[0.5]])).item() == 2


@pytest.mark.parametrize("top_k", [None, 1, 2, 3, 99])
def test_a_token_is_drawn_by_its_probability(top_k: int | None) -> None:
    scores = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores[2, 3] = -torch.inf
    for share in (0.0, 0.31, 0.5, 0.87, 1 - 2**-24):
        found = drawn(scores, torch.full((5,), share), top_k)
        for row, token in zip(scores.tolist(), found.tolist(), strict=True):
            ranked = range(7) if top_k is None else sorted(range(7), key=row.__getitem__, reverse=True)[:top_k]
            whole, running = sum(math.exp(row[v]) for v in ranked), 0.0
            for v in ranked:
                running += math.exp(row[v])
                if running > share * whole:
                    break
            assert token == v
            assert row[token] > -math.inf


def test_what_ends_pads_or_begins_is_never_fed() -> None:
    scores = torch.zeros(2, 3, 9)
    scores[..., [PADDING, START, END]] = 50.0
    shares = torch.linspace(0, 0.999, 60)[:, None, None].expand(60, 2, 3)
    found = set(drawn(fit_to_feed(scores).expand(60, 2, 3, 9), shares.contiguous()).flatten().tolist())
    assert found == {UNKNOWN, 4, 5, 6, 7, 8}
    assert scores[0, 0, END] == 50.0
    assert fit_to_feed(scores.bfloat16()).dtype == torch.float32


def test_a_share_that_rounds_to_the_whole_is_of_what_may_come() -> None:
    scores = torch.tensor([[0.1, 0.2, -torch.inf, -torch.inf]])
    assert drawn(scores, torch.tensor([1.0])).item() == 1


def test_scores_that_are_nan_are_left_for_the_loss_to_say() -> None:
    found = drawn(torch.full((2, 5), torch.nan), torch.tensor([0.0, 0.9]))
    assert ((found >= 0) & (found < 5)).all()


@each_decoder
@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_start_and_padding_stay(make: Any, copying: bool, wrong: float) -> None:
    model, x = make(), batch(copying)
    prefix = x["prefix"]
    for confusable, way in [(False, in_two_passes), (True, in_two_passes), (True, step_by_step)]:
        fed = way(model, x, Replacing.of(prefix, wrong, 1.0, confusable=confusable))
        assert torch.equal(fed[:, 0], prefix[:, 0])
        assert torch.equal(fed == PADDING, prefix == PADDING)
        assert not ((fed == START) | (fed == END))[:, 1:].any()
        if wrong:
            there = prefix[:, 1:] != PADDING
            assert (fed != prefix)[:, 1:][there].all()


def test_a_start_within_a_prefix_and_a_first_token_of_any_kind_stay() -> None:
    prefix = torch.tensor([[7, START, 8, 8]])
    fed = Replacing.of(prefix, 1.0, 0.0)(slice(None))
    assert fed[0, :2].tolist() == [7, START]


def test_confusable_is_what_the_model_takes_a_token_for() -> None:
    scores = torch.full((1, 1, 9), -20.0)
    scores[..., 5], scores[..., 6], scores[..., 8] = 9.0, 2.0, 2.0
    seen = set()
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        found = Replacing.of(torch.tensor([[START, 5]]), 1.0, 0.0, confusable=True, generator=generator)
        seen.add(found(slice(1, None), scores).item())
    assert seen == {6, 8}  # never the 5 that it is


@each_decoder
@pytest.mark.parametrize("wrong", [0.0, 1.0])
@pytest.mark.parametrize("some", [[5, 8, 11], [5]])
def test_only_some_tokens_are_replaced_and_by_one_another(
    make: Any, copying: bool, wrong: float, some: list[int]
) -> None:
    model, x = make(), batch(copying)
    x["prefix"] = torch.tensor([[START, 5, 8, 4, 11, 6], *[[START, 9, 4, 5, PADDING, PADDING]] * 3])
    among, gold = torch.tensor(some), x["prefix"]
    kept = ~torch.isin(gold, among)
    for confusable, way in [(False, in_two_passes), (True, in_two_passes), (True, step_by_step)]:
        fed = way(model, x, Replacing.of(gold, wrong, 1.0, confusable=confusable, among=among))
        assert torch.equal(fed[kept], gold[kept])
        assert torch.isin(fed[~kept], among).all()
        assert ((fed != gold)[~kept] & (wrong > 0)).all() == (wrong > 0 and len(some) > 1)


# --- step by step, and in two passes ----------------------------------------------------------------------------------


@each_decoder
def test_step_by_step_with_own_inputs_alone_is_greedy(make: Any, copying: bool) -> None:
    model, x = make(), batch(copying)
    fed = step_by_step(model, x, Replacing.of(x["prefix"], 0.0, 1.0, top_k=1))
    for row in range(len(fed)):
        alone = {name: part[row : row + 1] for name, part in x.items()}
        prefix = [START]
        while len(prefix) < int((x["prefix"][row] != PADDING).sum()):
            prefix.append(likeliest(model(**read(alone), prefix=torch.tensor([prefix]))[0, -1]))
        assert fed[row, : len(prefix)].tolist() == prefix


@each_decoder
def test_two_passes_with_own_inputs_alone_predict_after_gold_ones(make: Any, copying: bool) -> None:
    model, x = make(), batch(copying)
    prefix = x["prefix"]
    fed = in_two_passes(model, x, Replacing.of(prefix, 0.0, 1.0, top_k=1))
    scores = model(**x)
    for row, place in (prefix[:, 1:] != PADDING).nonzero().tolist():
        assert fed[row, place + 1] == likeliest(scores[row, place])


@each_decoder
def test_gold_inputs_alone_are_the_prefix(make: Any, copying: bool) -> None:
    model, x = make(), batch(copying)
    for way in (in_two_passes, step_by_step):
        assert torch.equal(way(model, x, Replacing.of(x["prefix"], 0.0, 0.0)), x["prefix"])


@each_decoder
def test_half_of_own_inputs_stand_where_they_were_drawn(make: Any, copying: bool) -> None:
    """Step by step each is predicted after what was fed before it, gold or own."""
    model, x = make(), batch(copying)
    replacing = Replacing.of(x["prefix"], 0.0, 0.5, top_k=1, generator=torch.Generator().manual_seed(3))
    assert replacing.own.any()
    fed = step_by_step(model, x, replacing)
    scores = model(**{**x, "prefix": fed})
    for row, place in (x["prefix"][:, 1:] != PADDING).nonzero().tolist():
        own = bool(replacing.own[row, place + 1])
        assert fed[row, place + 1] == (likeliest(scores[row, place]) if own else x["prefix"][row, place + 1])


class Counting(nn.Module):
    """Any model of a prefix: scores by a table; and how often it is asked, in which mode."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.asked = nn.Embedding(TARGETS, TARGETS), list[tuple[str, bool]]()
        self.dropout = nn.Dropout(0.5)

    def forward(self, source: Tensor, lengths: Tensor, prefix: Tensor) -> Tensor:
        self.asked.append(("forward", self.dropout.training or torch.is_grad_enabled()))
        scores: Tensor = self.dropout(self.table(prefix))
        return scores


class CountingDecoder(Counting):
    """The same, which is recurrent, step by step."""

    recurrent = True

    def encode(self, source: Tensor, lengths: Tensor) -> Tensor:
        self.asked.append(("encode", self.dropout.training or torch.is_grad_enabled()))
        return source

    def step(self, state: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(("step", self.dropout.training or torch.is_grad_enabled()))
        return self.table(tokens), state


def asked(model: Counting, **settings: Any) -> list[tuple[str, bool]]:
    ScheduledSampling(Tagging(), **settings)(model.train(), pairs(), in_training())
    return model.asked


def test_any_model_in_two_passes_a_recurrent_one_step_by_step() -> None:
    own, trained = {"own_inputs": "linear", "least_gold": 0.0}, ("forward", True)
    assert asked(Counting(), **own) == [("forward", False), trained]
    assert asked(CountingDecoder(), **own) == [("encode", False), *[("step", False)] * 5, trained]
    assert asked(CountingDecoder(), **own, own_steps=False) == [("forward", False), trained]
    assert asked(Counting(), wrong_inputs=0.5) == [trained]
    assert asked(Counting(), wrong_inputs=0.5, confusable=True) == [("forward", False), trained]
    assert asked(Counting(), wrong_inputs=0.0) == [trained]
    assert isinstance(recurrent(), RecurrentDecoder)
    with pytest.raises(RecipeError, match="Counting cannot be decoded from: it has no encode, no step"):
        asked(Counting(), **own, own_steps=True)


def test_to_be_asked_leaves_no_trace() -> None:
    model = small(dropout=0.3, norm="batch").train()
    model.encoder.eval()
    state, noise = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    modes = [part.training for part in model.modules()]
    for way in (in_two_passes, step_by_step):
        fed = way(model, batch(), Replacing.of(batch()["prefix"], 0.0, 1.0, generator=torch.Generator()))
        assert not fed.is_inference()
    assert torch.equal(torch.get_rng_state(), noise)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.is_grad_enabled()
