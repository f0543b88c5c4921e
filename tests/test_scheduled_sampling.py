"""Wrong and own inputs of a decoder in training: what is fed, when, in an objective, and in a recipe."""

import math
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import bits, broken_off
from sequence_pairs import TARGETS, batch, read, recurrent, small
from torch import Tensor, nn

import thalweg
from thalweg.core.decoder import RecurrentDecoder
from thalweg.core.errors import RecipeError
from thalweg.core.objective import Losses, Moment, as_objective
from thalweg.core.tokens import END, NO_TARGET, PADDING, START, UNKNOWN
from thalweg.loss import DECAYS, Categorical, ScheduledSampling, Tagging
from thalweg.loss.decays import sigmoid_pace
from thalweg.loss.replaced_inputs import Replacing, another, drawn, fit_to_feed, in_two_passes, step_by_step
from thalweg.recipes.express import as_toml, expressed
from thalweg.training.judging import without_smoothing

MODELS = [
    pytest.param(partial(make, **settings), settings.get("copying", False), id=f"{make.__name__} {settings}")
    for make, settings in [
        (small, {}),
        (small, {"positions": "rotary", "copying": True}),
        (recurrent, {}),
        (recurrent, {"copying": True, "attention": "location"}),
    ]
]
each_model = pytest.mark.parametrize(("make", "copying"), MODELS)


def moment(step: int = 99, steps: int | None = 100, seed: int = 0) -> Moment:
    return Moment(step=step, steps=steps, training=True, generator=torch.Generator().manual_seed(seed))


def pairs(copying: bool = False) -> tuple[dict[str, Tensor], Tensor]:
    """A batch whose targets are its prefixes, one place earlier, and END."""
    x = batch(copying)
    prefix = x["prefix"]
    y = torch.cat([prefix[:, 1:], prefix.new_zeros(len(prefix), 1)], 1)
    ends = (prefix != PADDING).sum(1) - 1
    y[torch.arange(len(y)), ends] = END
    return x, y.masked_fill(y == PADDING, NO_TARGET)


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


def test_scores_that_are_nan_are_left_for_the_loss_to_say() -> None:
    found = drawn(torch.full((2, 5), torch.nan), torch.tensor([0.0, 0.9]))
    assert ((found >= 0) & (found < 5)).all()


@each_model
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


# --- step by step, and in two passes ----------------------------------------------------------------------------------


@each_model
def test_step_by_step_with_own_inputs_alone_is_greedy(make: Any, copying: bool) -> None:
    model, x = make(), batch(copying)
    fed = step_by_step(model, x, Replacing.of(x["prefix"], 0.0, 1.0, top_k=1))
    for row in range(len(fed)):
        alone = {name: part[row : row + 1] for name, part in x.items()}
        prefix = [START]
        while len(prefix) < int((x["prefix"][row] != PADDING).sum()):
            prefix.append(likeliest(model(**read(alone), prefix=torch.tensor([prefix]))[0, -1]))
        assert fed[row, : len(prefix)].tolist() == prefix


@each_model
def test_two_passes_with_own_inputs_alone_predict_after_gold_ones(make: Any, copying: bool) -> None:
    model, x = make(), batch(copying)
    prefix = x["prefix"]
    fed = in_two_passes(model, x, Replacing.of(prefix, 0.0, 1.0, top_k=1))
    scores = model(**x)
    for row, place in (prefix[:, 1:] != PADDING).nonzero().tolist():
        assert fed[row, place + 1] == likeliest(scores[row, place])


@each_model
def test_gold_inputs_alone_are_the_prefix(make: Any, copying: bool) -> None:
    model, x = make(), batch(copying)
    for way in (in_two_passes, step_by_step):
        assert torch.equal(way(model, x, Replacing.of(x["prefix"], 0.0, 0.0)), x["prefix"])


@each_model
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
    ScheduledSampling(Tagging(), **settings)(model.train(), pairs(), moment())
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


# --- in an objective --------------------------------------------------------------------------------------------------


@each_model
def test_it_trains_on_what_is_fed_and_judges_the_plain_likelihood(make: Any, copying: bool) -> None:
    model, (x, y), plain = make(), pairs(copying), Tagging(0.1)
    loss = ScheduledSampling(plain, wrong_inputs=0.3, own_inputs="exponential", least_gold=0.05)
    fed = loss.fed(model, x, moment())
    assert not torch.equal(fed, x["prefix"])
    found, expected = loss(model, (x, y), moment()), plain(model, ({**x, "prefix": fed}, y), moment())
    assert torch.equal(found.value, expected.value)
    assert torch.equal(found.weight, expected.weight)
    judged = [each(model, (x, y), Moment(step=99, steps=100)).value for each in (plain, loss)]
    assert torch.equal(judged[0], judged[1])
    bare: Any = without_smoothing(as_objective(loss))
    assert torch.equal(bare(model, (x, y), Moment()).value, judged[0])
    assert torch.equal(loss.of_output(model(**x), y, Moment()).value, judged[0])
    found.mean().backward()
    assert any(part.grad is not None and part.grad.abs().sum() > 0 for part in model.parameters())


def test_at_the_first_step_all_inputs_are_gold_and_dropout_is_what_it_is_alone() -> None:
    model, batch_of = small(dropout=0.3).train(), pairs()
    losses = []
    decaying = [ScheduledSampling(Tagging(), own_inputs=name) for name in ("linear", "exponential")]
    for each in (Tagging(), *decaying):
        torch.manual_seed(0)
        losses.append(each(model, batch_of, moment(step=0)).value)
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])


def test_it_goes_with_guided_attention() -> None:
    model, (x, y) = recurrent(), pairs()
    guided = Tagging(guided=4.0)
    loss = ScheduledSampling(guided, own_inputs="linear", least_gold=0.0)
    fed = loss.fed(model, x, moment())
    expected = guided(model, ({**x, "prefix": fed}, y), moment()).value
    assert torch.equal(loss(model, (x, y), moment()).value, expected)
    assert not torch.equal(Tagging()(model, ({**x, "prefix": fed}, y), moment()).value, expected)


def test_what_is_drawn_is_of_the_moments_generator_alone() -> None:
    model, (x, _), loss = recurrent(), pairs(), ScheduledSampling(Tagging(), wrong_inputs=0.5, own_inputs="linear")
    first, again, other = (loss.fed(model, x, moment(seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_batch_of_the_caller_is_left_as_it_is() -> None:
    x, y = pairs()
    before = x["prefix"].clone()
    ScheduledSampling(Tagging(), wrong_inputs=1.0)(small(), (x, y), moment())
    assert torch.equal(x["prefix"], before)


def test_prefixes_without_a_token_are_trained_on() -> None:
    x, y = pairs()
    x, y = x | {"prefix": x["prefix"][:, :1]}, y[:, :1]
    for model in (small(), recurrent()):
        loss = ScheduledSampling(Tagging(), wrong_inputs=0.5, confusable=True, own_inputs="linear")
        assert bool(loss(model, (x, y), moment()).value.isfinite().all())


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"wrong_inputs": 1.5}, "wrong_inputs is 1.5, but it is a share of the tokens, from 0 to 1. Give for instance"),
        ({"wrong_inputs": -0.1}, "wrong_inputs is -0.1"),
        ({"own_inputs": "inverse_sigmoid"}, "linear, exponential, inverse-sigmoid. Did you mean 'inverse-sigmoid'?"),
        ({"own_inputs": "linear", "least_gold": 1.0}, "least_gold is 1.0, .* below 1. Give for instance 0.25"),
        ({"own_inputs": "exponential", "least_gold": 0.0}, "which a decay that is exponential never reaches. Give"),
        ({"own_inputs": "linear", "own_top_k": 0}, "own_top_k is 0, .* Give 1 for the likeliest itself, or None"),
        ({"confusable": True}, "confusable is said, but nothing reads it. Say wrong_inputs=0.1 beside it, or leave"),
        ({"wrong_inputs": 0.1, "least_gold": 0.5}, 'least_gold is said, .* Say own_inputs="linear" beside it'),
        ({"wrong_inputs": 0.1, "own_top_k": 1}, "own_top_k is said, but nothing reads it"),
        ({"wrong_inputs": 0.1, "own_steps": True}, "own_steps is said, but nothing reads it"),
    ],
)
def test_settings_out_of_range_or_that_nothing_reads(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        ScheduledSampling(Tagging(), **settings)


def test_losses_and_batches_that_have_no_prefix() -> None:
    with pytest.raises(RecipeError, match=r"not Categorical\. Give thalweg\.loss\.Tagging"):
        ScheduledSampling(Categorical(), wrong_inputs=0.1)

    @thalweg.objective
    def own(model: nn.Module, batch: Any) -> Losses:
        raise AssertionError

    with pytest.raises(RecipeError, match="that also has of_output"):
        ScheduledSampling(own, wrong_inputs=0.1)
    inputs: Mapping[str, Any] = {"source": torch.zeros(2, 3)}
    loss = ScheduledSampling(Tagging(), wrong_inputs=0.1)
    with pytest.raises(RecipeError, match="without a prefix of tokens. Give {'source': ..., 'prefix': ...}"):
        loss(small(), (inputs, torch.zeros(2, 3)), moment())


def test_a_stream_has_no_end_to_decay_to() -> None:
    loss = ScheduledSampling(Tagging(), own_inputs="linear")
    assert loss.gold(Moment(step=0, steps=None)) == 1
    with pytest.raises(RecipeError, match="the data are a stream. Give data that have a length, or wrong_inputs alone"):
        loss(small(), pairs(), moment(step=1, steps=None))


# --- in a recipe ------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"{'ab' * (i % 3 + 1)}{i}\t{'AB' * (i % 3 + 1)}{i}\n" for i in range(24))
    Path("pairs.tsv").write_text(lines, encoding="utf-8")
    return tmp_path


def loaded(*said: str, model: str = "rnn-seq2seq") -> thalweg.Recipe:
    small_one = [f"model.kind={model}", "model.width=4", "model.depth=1", "epochs=2"]
    small_one += ["model.heads=2"] if model == "transformer" else []
    return thalweg.load("pairs.tsv", data={"unit": "characters", "tokens": 160}, assignments=[*small_one, *said])


@pytest.mark.parametrize("model", ["rnn-seq2seq", "transformer"])
def test_from_a_recipe(model: str, written: Path) -> None:
    said = ["objective.wrong_inputs=0.2", "objective.confusable=true", "objective.own_inputs=inverse-sigmoid",
            "objective.own_top_k=3", "objective.least_gold=0.1"]  # fmt: skip
    recipes = loaded(model=model), loaded(*said, model=model)
    loss = recipes[1].objective
    recipes = recipes[0].but(epochs=1), recipes[1].but(epochs=1)
    assert loss.said() == {"wrong_inputs": 0.2, "confusable": True, "own_inputs": "inverse-sigmoid", "least_gold": 0.1,
                           "own_top_k": 3}  # fmt: skip
    assert loss.loss.label_smoothing == 0.1
    assert any("own_inputs=inverse-sigmoid" in line for line in recipes[0].difference(recipes[1]))
    plain, other = (thalweg.train(recipe, device="cpu") for recipe in recipes)
    assert other.status.good
    assert plain.history[-1]["train_loss"] != other.history[-1]["train_loss"]


def test_a_change_of_it_is_said_in_settings(written: Path) -> None:
    start = loaded("objective.wrong_inputs=0.2")
    changed = start.but(objective=ScheduledSampling(Tagging(0.2), own_inputs="linear", own_steps=False))
    out = expressed(changed, start)
    assert out is not changed
    (written / "changed.toml").write_text(as_toml(out, written) or "", encoding="utf-8")
    again = thalweg.load(written / "changed.toml").objective
    assert again.said() == {"own_inputs": "linear", "own_steps": False}
    assert again.loss.label_smoothing == 0.2


def test_from_a_recipe_with_guided_attention(written: Path) -> None:
    loss = loaded("objective.guided=5", "objective.own_inputs=linear").objective
    assert (loss.own_inputs, loss.loss.guided, loss.loss.label_smoothing) == ("linear", 5, 0.1)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "objective.own_input=linear",
            "the objective 'tagging' has no argument 'own_input'. Did you mean 'own_inputs'?",
        ),
        ("objective.own_inputs=lineer", "--set objective.own_inputs=lineer: .* Did you mean 'linear'?"),
        ("objective.own_inputs=3", "own_inputs is 3, but it must be text or none"),
        ("objective.wrong_inputs=2", "--set objective.wrong_inputs=2: wrong_inputs is 2, but it is a share"),
    ],
)
def test_what_a_recipe_may_not_say(said: str, words: str, written: Path) -> None:
    with pytest.raises(RecipeError, match=words):
        loaded(said)


@pytest.mark.parametrize("model", ["rnn-seq2seq", "transformer"])
def test_a_run_goes_on_to_the_same_bits(model: str, written: Path) -> None:
    recipe = loaded("objective.wrong_inputs=0.2", "objective.own_inputs=linear", "objective.least_gold=0", model=model)
    whole = thalweg.train(recipe, device="cpu")
    again = thalweg.resume(broken_off(recipe, written / "runs", step=2))
    assert bits(again) == bits(whole)
