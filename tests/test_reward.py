"""Reward: estimates and subsets against the risk over every output there is, and the objective that they make."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count, product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thalweg.core.errors import RecipeError
from thalweg.core.notices import collecting
from thalweg.core.objective import Moment, as_objective
from thalweg.core.tokens import END, NO_TARGET, PADDING, START
from thalweg.decode import forced_log_likelihood, greedy
from thalweg.loss import Reward, Rewarded, Tagging
from thalweg.loss.risk import Row, log_likelihoods
from thalweg.nn import rnn_seq2seq, transformer
from thalweg.recipes import decoded
from thalweg.recipes.rewarding import Drawn

OUTPUTS, LONGEST = 6, 2
TOKENS = (1, 4, 5)
EVERY: list[Row] = [(END,), *((first, END) for first in TOKENS), *product(TOKENS, repeat=LONGEST)]
"""Every output of at most two tokens; behind the second there is nothing left to choose."""
TRAINING = Moment(training=True)
MODELS: dict[str, Callable[..., nn.Module]] = {
    "recurrent": partial(rnn_seq2seq, OUTPUTS, vocabulary=7, width=3),
    "transformer": partial(transformer, OUTPUTS, vocabulary=7, width=4, heads=2, depth=1, feed_forward=5),
}
each_model = pytest.mark.parametrize("kind", MODELS)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "PER_UNIT", 0)
    monkeypatch.setattr(decoded, "BESIDE", LONGEST)


def made(kind: str, **settings: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = MODELS[kind](**settings).double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.7)
    return model.train()


def batch() -> tuple[dict[str, Tensor], Tensor]:
    x = {"source": torch.tensor([[4, 5, 6], [6, 0, 0]]), "lengths": torch.tensor([3, 1])}
    y = torch.tensor([[4, 5, END], [5, END, NO_TARGET]])
    return x | {"prefix": torch.tensor([[START, 4, 5], [START, 5, PADDING]])}, y


def reading(x: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: part for name, part in x.items() if name != "prefix"}


def worth(row: Row, wanted: Row) -> float:
    """Any numbers that differ from row to row and from example to example."""
    return math.sin(sum((place + 2) * token for place, token in enumerate(row)) + 3 * len(wanted)) + 3 * row.count(4)


def score(rows: Sequence[Row], wanted: Row) -> list[float]:
    return [worth(row, wanted) for row in rows]


def chosen(model: Any, x: dict[str, Tensor], row: Row, temperature: float = 1.0) -> Tensor:
    """The log-probability of choosing a row for a batch of one, step by step among the tokens that may come."""
    state, token, total = model.encode(**x), START, torch.zeros((), dtype=torch.float64)
    for chosen in row:
        scores, state = model.step(state, torch.tensor([token]))
        may = {each: scores[0, each] / temperature for each in (1, END, *range(4, scores.shape[1]))}
        total = total + may[chosen] - torch.stack(list(may.values())).logsumexp(0)
        token = chosen
    return total


def alone(x: dict[str, Tensor], example: int) -> dict[str, Tensor]:
    length = int(x["lengths"][example])
    return {"source": x["source"][example : example + 1, :length], "lengths": x["lengths"][example : example + 1]}


def wanted_rows(y: Tensor) -> list[Row]:
    return [tuple(token for token in row if token != NO_TARGET) for row in y.tolist()]


def exact_gradient(model: Any, temperature: float = 1.0) -> Tensor:
    """That of 1 minus the mean reward of all outputs by their probabilities, the mean over the examples."""
    x, y = batch()
    risks = []
    for example, wanted in enumerate(wanted_rows(y)):
        found = [chosen(model, alone(x, example), row, temperature).exp() * worth(row, wanted) for row in EVERY]
        risks.append(1 - torch.stack(found).sum())
    return gradient(model, torch.stack(risks).mean())


def gradient(model: Any, loss: Tensor) -> Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in model.parameters()]
    )


def given(rows: Sequence[Sequence[Row]], likeliest: Sequence[Row] = ((END,), (END,))) -> Any:
    """A sampler that gives these."""
    return lambda model, inputs, draws, *_: [list(own) for own in rows] if draws else [[row] for row in likeliest]


# --- log-probabilities of what was chosen -----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "temperature"), [("recurrent", 0.6), ("transformer", 1.0)])
def test_one_pass_gives_what_the_steps_choose_by(kind: str, temperature: float) -> None:
    model, (x, _) = made(kind), batch()
    rows, examples = [*EVERY, *EVERY], torch.tensor([0] * len(EVERY) + [1] * len(EVERY))
    found = log_likelihoods(model, reading(x), rows, examples, temperature)
    each = [chosen(model, alone(x, int(i)), row, temperature) for row, i in zip(rows, examples, strict=True)]
    torch.testing.assert_close(found, torch.stack(each))
    assert found.exp().view(2, -1).sum(1).tolist() == pytest.approx([1, 1])  # nothing is left out, nothing twice


@each_model
def test_samples_have_the_likelihood_of_the_model(kind: str) -> None:
    model, (x, _) = made(kind).eval(), batch()
    with torch.no_grad():
        model.output.bias[[PADDING, START]] = -1e6  # which the model alone could choose
    rows = Drawn()(model, reading(x), 40, 1.0, torch.Generator().manual_seed(0))
    for example, own in enumerate(rows):
        assert set(own) <= set(EVERY)
        assert {END in row for row in own} == {True, False}
        for row in set(own):
            ended = row[-1] == END
            there = forced_log_likelihood(model, alone(x, example), [row[: len(row) - ended]], ended=ended)
            found = log_likelihoods(model, reading(x), [row], torch.tensor([example]))
            torch.testing.assert_close(found, there)
    best = greedy(model, reading(x), longest=LONGEST)
    assert [row[0][: len(each.tokens)] for row, each in zip(Drawn()(model, reading(x), 0, 1.0, None), best, strict=True)
            ] == [each.tokens for each in best]  # fmt: skip


def test_what_a_source_adds_can_be_chosen() -> None:
    model, (x, _) = made("recurrent", copying=True), batch()
    inputs = reading(x) | {"copies": torch.tensor([[4, 6, 7], [6, 0, 0]])}
    rows = [(6, END), (7, 6)]
    found = log_likelihoods(model, inputs, rows, torch.tensor([0, 0]))
    mine = {name: part[:1] for name, part in inputs.items()}
    torch.testing.assert_close(found, torch.stack([chosen(model, mine, row) for row in rows]))


# --- self-critical ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "temperature", "baseline"), [("recurrent", 1.0, "likeliest"), ("transformer", 1.6, "others")]
)
def test_the_mean_of_its_estimates_is_the_gradient_of_the_risk(kind: str, temperature: float, baseline: str) -> None:
    model = made(kind)
    loss = Rewarded(Tagging(), Drawn(), score, baseline=baseline, samples=150, temperature=temperature)
    random = torch.Generator().manual_seed(3)
    moment = Moment(training=True, generator=random)
    found = torch.stack([gradient(model, loss(model, batch(), moment).mean()) for _ in range(20)])
    exact, error = exact_gradient(model, temperature), found.std(0) / len(found) ** 0.5
    assert bool(((found.mean(0) - exact).abs() <= 5 * error + 1e-9).all())
    along = found @ exact / exact.square().sum()  # the share of it that each estimate finds
    unsure = along.std().item() / len(along) ** 0.5
    assert unsure < 0.08
    assert along.mean().item() == pytest.approx(1, abs=4 * unsure)


def test_its_estimate_is_reinforce_with_the_likeliest_as_baseline() -> None:
    model, (x, y) = made("recurrent"), batch()
    drawn: list[list[Row]] = [[(4, 5), (4, 5), (END,)], [(5, END), (1, 1), (4, END)]]
    likeliest: list[Row] = [(4, END), (5, END)]
    loss = Rewarded(Tagging(), given(drawn, likeliest), score, samples=3)(model, (x, y), TRAINING)
    rewards = [score(rows, wanted) for rows, wanted in zip(drawn, wanted_rows(y), strict=True)]
    assert loss.value.tolist() == pytest.approx([1 - sum(own) / 3 for own in rewards])
    found, terms = gradient(model, loss.mean()), []
    for example, (rows, own, wanted) in enumerate(zip(drawn, rewards, wanted_rows(y), strict=True)):
        ahead = [reward - worth(likeliest[example], wanted) for reward in own]
        terms += [-lead / 3 * chosen(model, alone(x, example), row) for lead, row in zip(ahead, rows, strict=True)]
    torch.testing.assert_close(found, gradient(model, torch.stack(terms).sum() / 2))


@each_model
def test_a_reward_that_is_the_same_for_all_teaches_nothing(kind: str) -> None:
    for method, baseline in (("self-critical", "likeliest"), ("self-critical", "others"), ("minimum-risk", "others")):
        model = made(kind)
        loss = Rewarded(Tagging(), Drawn(), lambda rows, _: [0.3] * len(rows), method=method, baseline=baseline)
        losses = loss(model, batch(), TRAINING)
        assert losses.value.tolist() == pytest.approx([0.7, 0.7])
        assert gradient(model, losses.mean()).abs().max() == 0


# --- minimum risk -----------------------------------------------------------------------------------------------------


@each_model
def test_over_all_outputs_it_is_the_risk_itself(kind: str) -> None:
    model, (x, y) = made(kind), batch()
    loss = Rewarded(Tagging(), given([EVERY, EVERY]), score, method="minimum-risk", sharpness=1.0, gold=False)
    found = loss(model, (x, y), TRAINING)
    for example, wanted in enumerate(wanted_rows(y)):
        shares = [chosen(model, alone(x, example), row).exp().item() for row in EVERY]
        risk = 1 - sum(share * worth(row, wanted) for share, row in zip(shares, EVERY, strict=True))
        assert found.value[example].item() == pytest.approx(risk)
    torch.testing.assert_close(gradient(model, found.mean()), exact_gradient(model))


@pytest.mark.parametrize("gold", [True, False])
@pytest.mark.parametrize("sharpness", [0.4, 2.0])
def test_a_subset_is_renormalized(gold: bool, sharpness: float) -> None:
    model, (x, y) = made("recurrent"), batch()
    drawn: list[list[Row]] = [[(1, END), (4, 1), (1, END)], [(END,), (5, 5), (END,)]]
    loss = Rewarded(Tagging(), given(drawn), score, method="minimum-risk", sharpness=sharpness, gold=gold)
    found, expected = loss(model, (x, y), TRAINING), []
    for example, wanted in enumerate(wanted_rows(y)):
        subset = set(drawn[example]) | ({wanted} if gold else set())  # a set: drawn twice counts once
        powers = {
            row: sharpness * log_likelihoods(model, reading(x), [row], torch.tensor([example]))[0] for row in subset
        }
        total = torch.stack(list(powers.values())).logsumexp(0)
        expected.append(sum((power - total).exp() * (1 - worth(row, wanted)) for row, power in powers.items()))
    torch.testing.assert_close(found.value, torch.stack(expected))
    torch.testing.assert_close(gradient(model, found.mean()), gradient(model, torch.stack(expected).mean()))


def test_examples_without_a_choice_are_left_alone() -> None:
    model, (x, y) = made("recurrent"), batch()
    drawn: list[list[Row]] = [[(1, END)], [(5, 5), (END,)]]
    loss = Rewarded(Tagging(), given(drawn), score, method="minimum-risk", gold=False, sharpness=1.0)
    value = loss(model, (x, y), TRAINING).value
    assert value[0].item() == pytest.approx(1 - worth((1, END), wanted_rows(y)[0]))
    assert gradient(model, value[0]).abs().max() == 0
    assert gradient(model, loss(model, (x, y), TRAINING).value[1]).abs().max() > 0


# --- the objective ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["self-critical", "minimum-risk"])
@each_model
def test_neighbours_and_padding_change_nothing(kind: str, method: str) -> None:
    model, (x, y) = made(kind), batch()
    drawn: list[list[Row]] = [[(4, 5), (END,)], [(5, END), (1, 1)]]
    loss = Rewarded(Tagging(), given(drawn), score, method=method, sharpness=1.0)
    both = loss(model, (x, y), TRAINING).value
    apart = Rewarded(Tagging(), given(drawn[1:], ((END,),)), score, method=method, sharpness=1.0)
    own = ({name: part[1:, :1] if part.dim() > 1 else part[1:] for name, part in x.items()}, y[1:, :2])
    one = apart(model, own, TRAINING).value
    assert one.item() == pytest.approx(both[1].item())
    torch.testing.assert_close(gradient(model, one[0]), gradient(model, loss(model, (x, y), TRAINING).value[1]))


def test_the_agent_is_without_dropout_and_the_likelihood_with_it() -> None:
    model, (x, y) = made("recurrent", dropout=0.5), batch()
    rows: list[list[Row]] = [[(4, 5), (1, END)], [(5, END), (1, 1)]]
    loss = Rewarded(Tagging(), given(rows), score, method="minimum-risk", sharpness=1.0)
    values = [loss(model, (x, y), TRAINING).value for _ in range(2)]
    assert torch.equal(*values)
    assert model.training
    assert all(part.training for part in model.modules())
    mixed = Rewarded(Tagging(), given(rows), score, likelihood_weight=0.5)
    assert mixed(model, (x, y), TRAINING).mean() != mixed(model, (x, y), TRAINING).mean()


def test_the_likelihood_judges_and_may_be_mixed_in() -> None:
    model, (x, y) = made("recurrent"), batch()
    likelihood = Tagging(0.1)
    plain = Rewarded(likelihood, given([[(4, 5)], [(1, END)]]), score)
    mixed = Rewarded(likelihood, plain.sample, score, likelihood_weight=0.25)
    judged = likelihood(model, (x, y), Moment())
    for loss in (plain, mixed):
        assert torch.equal(loss(model, (x, y), Moment()).value, judged.value)
        assert torch.equal(loss.of_output(model(**x), y, Moment()).value, judged.value)
    risk, both = (loss(model, (x, y), TRAINING) for loss in (plain, mixed))
    per_position = likelihood(model, (x, y), TRAINING).mean()  # 3 and 2 of them
    assert both.mean().item() == pytest.approx(0.75 * risk.mean().item() + 0.25 * per_position.item())
    assert both.total_weight() == 2


@pytest.mark.parametrize("method", ["self-critical", "minimum-risk"])
def test_a_reward_that_tells_nothing_apart_for_an_epoch_is_said_once(method: str) -> None:
    model = made("recurrent")

    def said(score: Any, *moments: Moment) -> list[str]:
        loss = Rewarded(Tagging(), Drawn(), score, method=method)
        with collecting() as notices:
            for moment in moments:
                loss(model, batch(), moment)
        return [note for note in notices if "reward was the same" in note]

    def alike(rows: Sequence[Row], wanted: Row) -> list[float]:
        return [float(len(wanted))] * len(rows)

    first, second = (Moment(step=epoch, steps=9, epoch=epoch, training=True) for epoch in (1, 2))
    judging, last = Moment(epoch=1), Moment(step=8, steps=9, epoch=1, training=True)
    assert said(alike, first, first) == []  # the epoch may go on
    for ended in (second, judging, last):
        assert said(score, first, ended) == []
        (note,) = said(alike, first, ended, second, judging, first, judging)
        assert "for all outputs of a source (2 to 3)" in note
        assert "objective.samples" in note
    (note,) = said(lambda rows, _: [0.3] * len(rows), first, judging)
    assert "the same, 0.3, for all outputs of all sources: it tells none from another" in note
    times = count()
    assert said(lambda rows, own: (score if next(times) > 2 else alike)(rows, own), first, first, judging) == []


def test_the_mean_of_the_others_as_baseline() -> None:
    model, (x, y) = made("recurrent"), batch()
    drawn: list[list[Row]] = [[(4, 5), (4, 5), (END,)], [(5, END), (1, 1), (4, END)]]
    loss = Rewarded(Tagging(), given(drawn), score, baseline="others", samples=3)(model, (x, y), TRAINING)
    found, terms = gradient(model, loss.mean()), []
    for example, (rows, wanted) in enumerate(zip(drawn, wanted_rows(y), strict=True)):
        own = score(rows, wanted)
        for place, row in enumerate(rows):
            lead = own[place] - sum(own[:place] + own[place + 1 :]) / 2
            terms.append(-lead / 3 * chosen(model, alone(x, example), row))
    torch.testing.assert_close(found, gradient(model, torch.stack(terms).sum() / 2))


def test_numbers_come_from_the_moment() -> None:
    model, loss = made("transformer"), Rewarded(Tagging(), Drawn(), score)

    def drawn(seed: int) -> list[float]:
        moment = Moment(training=True, generator=torch.Generator().manual_seed(seed))
        found: list[float] = loss(model, batch(), moment).value.tolist()
        return found

    torch.manual_seed(5)
    first = drawn(0)
    torch.manual_seed(6)
    assert first == drawn(0) != drawn(1)


def test_the_metric_is_the_reward_of_the_likeliest() -> None:
    model, (x, y) = made("transformer").eval(), batch()
    found = as_objective(Reward(Drawn(), score))(model, (x, y), Moment()).value
    best = [rows[0] for rows in Drawn()(model, reading(x), 0, 1.0, None)]
    assert found.tolist() == pytest.approx([worth(row, own) for row, own in zip(best, wanted_rows(y), strict=True)])


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"method": "self-critica"}, "method is 'self-critica', .*one of.* Did you mean 'self-critical'"),
        ({"baseline": "other"}, "baseline is 'other', .*one of 'likeliest', 'others'. Did you mean 'others'"),
        ({"baseline": "others", "samples": 1}, "samples is 1, .*at least 2, one and others beside it. Give for"),
        ({"samples": 0}, "samples is 0, but it is how many outputs are drawn .* Give for instance samples=5"),
        ({"samples": True}, "samples is True"),
        ({"temperature": 0.0}, "temperature is 0.0, but it must be finite and above 0. Give for instance"),
        ({"sharpness": math.inf}, "sharpness is inf"),
        ({"likelihood_weight": 1.0}, "likelihood_weight is 1.0, .* below 1: all likelihood needs no reward"),
    ],
)
def test_knobs_out_of_range(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Rewarded(Tagging(), Drawn(), score, **knobs)


def test_rewards_and_batches_that_are_none() -> None:
    model, (x, y) = made("recurrent"), batch()
    bad = Rewarded(Tagging(), Drawn(), lambda rows, _: [math.nan for _ in rows])
    with pytest.raises(RecipeError, match=r"The reward .* gave nan, but it is a finite number"):
        bad(model, (x, y), TRAINING)
    with pytest.raises(RecipeError, match=r"The reward .* gave nan, but it is a finite number"):
        Reward(bad.sample, bad.score)(model, (x, y), Moment())
    with pytest.raises(RecipeError, match=r"Rewarded: x is .* a dict with the inputs of model.encode"):
        Rewarded(Tagging(), Drawn(), score)(model, (x["source"], y), TRAINING)


def test_a_rewarded_likelihood_says_what_it_is() -> None:
    text = repr(Rewarded(Tagging(), Drawn(), score, method="minimum-risk", likelihood_weight=0.5))
    assert (
        "method='minimum-risk', samples=5, temperature=1.0, sharpness=0.005, gold=True, likelihood_weight=0.5" in text
    )
    assert "sharpness" not in repr(Rewarded(Tagging(), Drawn(), score))
