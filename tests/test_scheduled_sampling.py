"""Scheduled sampling: an objective that trains on what is fed and judges plainly; its errors, recipes, resume."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import bits, broken_off
from sequence_pairs import each_decoder, in_training, pairs, recurrent, small
from torch import nn

import thalweg
from thalweg.core.errors import RecipeError
from thalweg.core.objective import Losses, Moment, as_objective
from thalweg.loss import Categorical, ScheduledSampling, Tagging
from thalweg.recipes.express import as_toml, expressed
from thalweg.recipes.predict import outputs_on
from thalweg.training.judging import without_smoothing

# --- in an objective --------------------------------------------------------------------------------------------------


@each_decoder
def test_it_trains_on_what_is_fed_and_judges_the_plain_likelihood(make: Any, copying: bool) -> None:
    model, (x, y), plain = make(), pairs(copying), Tagging(0.1)
    loss = ScheduledSampling(plain, wrong_inputs=0.3, own_inputs="exponential", least_gold=0.05)
    fed = loss.fed(model, x, in_training())
    assert not torch.equal(fed, x["prefix"])
    found, expected = loss(model, (x, y), in_training()), plain(model, ({**x, "prefix": fed}, y), in_training())
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
        losses.append(each(model, batch_of, in_training(step=0)).value)
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])


def test_it_goes_with_guided_attention() -> None:
    model, (x, y) = recurrent(), pairs()
    guided = Tagging(guided=4.0)
    loss = ScheduledSampling(guided, own_inputs="linear", least_gold=0.0)
    fed = loss.fed(model, x, in_training())
    expected = guided(model, ({**x, "prefix": fed}, y), in_training()).value
    assert torch.equal(loss(model, (x, y), in_training()).value, expected)
    assert not torch.equal(Tagging()(model, ({**x, "prefix": fed}, y), in_training()).value, expected)


def test_what_is_drawn_is_of_the_moments_generator_alone() -> None:
    model, (x, _), loss = recurrent(), pairs(), ScheduledSampling(Tagging(), wrong_inputs=0.5, own_inputs="linear")
    first, again, other = (loss.fed(model, x, in_training(seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_likeliest_of_own_inputs_does_not_hang_on_what_is_drawn() -> None:
    model, (x, _) = small(), pairs()
    fed = {}
    for top_k in (1, None):
        loss = ScheduledSampling(Tagging(), own_inputs="linear", least_gold=0.0, own_top_k=top_k)
        fed[top_k] = [loss.fed(model, x, in_training(step=100, seed=seed)) for seed in (0, 1)]
    assert torch.equal(*fed[1])
    assert not torch.equal(*fed[None])


def test_a_batch_of_the_caller_is_left_as_it_is() -> None:
    x, y = pairs()
    before = x["prefix"].clone()
    ScheduledSampling(Tagging(), wrong_inputs=1.0)(small(), (x, y), in_training())
    assert torch.equal(x["prefix"], before)


def test_prefixes_without_a_token_are_trained_on() -> None:
    x, y = pairs()
    x, y = x | {"prefix": x["prefix"][:, :1]}, y[:, :1]
    for model in (small(), recurrent()):
        loss = ScheduledSampling(Tagging(), wrong_inputs=0.5, confusable=True, own_inputs="linear")
        assert bool(loss(model, (x, y), in_training()).value.isfinite().all())


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"wrong_inputs": 1.5}, "wrong_inputs is 1.5, but it is a share of the tokens, from 0 to 1. Give for instance"),
        ({"wrong_inputs": -0.1}, "wrong_inputs is -0.1"),
        ({"own_inputs": "inverse_sigmoid"}, "linear, exponential, inverse-sigmoid. Did you mean 'inverse-sigmoid'?"),
        ({"own_inputs": "linear", "least_gold": 1.0}, "least_gold is 1.0, .* below 1. Give for instance 0.25"),
        ({"own_inputs": "exponential", "least_gold": 0.0}, "which a decay that is exponential never reaches. Give"),
        ({"wrong_inputs": 0.1, "among": [2, 7]}, r"among is \[2, 7\], but it is the tokens that are replaced"),
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
        loss(small(), (inputs, torch.zeros(2, 3)), in_training())


def test_a_stream_has_no_end_to_decay_to() -> None:
    loss = ScheduledSampling(Tagging(), own_inputs="linear")
    assert loss.gold(Moment(step=0, steps=None)) == 1
    with pytest.raises(RecipeError, match="the data are a stream. Give data that have a length, or wrong_inputs alone"):
        loss(small(), pairs(), in_training(step=1, steps=None))


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
    run = thalweg.train(loaded("objective.guided=5", "objective.own_inputs=linear", "epochs=1"), device="cpu")
    assert outputs_on(run).guided  # so that the report asks whether alignments went forward


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
