"""Guided attention: the loss against its double loop, in an objective, in a recipe, and what it does to training."""

from functools import partial
from pathlib import Path
from typing import Any

import naive
import pytest
import torch
from resuming import bits, broken_off
from sequence_pairs import LENGTHS, batch, recurrent, small
from torch import Tensor, nn

import thalweg
from thalweg.core.decoder import AlignedModel
from thalweg.core.errors import RecipeError
from thalweg.core.objective import Moment
from thalweg.core.tokens import END, NO_TARGET, PADDING, START
from thalweg.loss import Tagging, guided_attention
from thalweg.measure import monotony
from thalweg.nn import rnn_seq2seq
from thalweg.recipes.express import as_toml, expressed
from thalweg.training.judging import without_smoothing

TRAINING, JUDGING = Moment(training=True), Moment()
MODELS = [partial(recurrent, attention=name) for name in ("additive", "location", "monotonic", "chunkwise")]
each_model = pytest.mark.parametrize("make", MODELS, ids=lambda make: make.keywords["attention"])


def pairs() -> tuple[dict[str, Tensor], Tensor]:
    x = batch()
    return x, x["prefix"].masked_fill(x["prefix"] == PADDING, NO_TARGET)


def test_it_is_the_double_loop_of_each_example_alone() -> None:
    weights = torch.randn(4, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(2)
    targets, sources = torch.tensor([6, 3, 0, 5]), torch.tensor([7, 2, 4, 0])
    for width in (0.2, 0.05):
        found = guided_attention(weights, targets, sources, width)
        for row in range(2):
            own = weights[row, : targets[row], : sources[row]].tolist()
            assert found[row].item() == pytest.approx(naive.guided_attention(own, width), rel=1e-12)
        assert found[2:].tolist() == [0, 0]


def test_what_stands_in_padding_is_not_read() -> None:
    weights = torch.full((1, 3, 4), torch.nan)
    weights[0, :2, :2] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    weights.requires_grad_()
    found = guided_attention(weights, torch.tensor([2]), torch.tensor([2]))
    assert found.item() == pytest.approx((1 - torch.tensor(-0.25 / 0.08).exp().item()) / 2)
    found.sum().backward()
    assert weights.grad is not None
    assert weights.grad[0, 2:].tolist() == [[0, 0, 0, 0]]


@each_model
def test_it_is_added_in_training_and_never_judged(make: Any) -> None:
    model, (x, y) = make(), pairs()
    assert [isinstance(one, AlignedModel) for one in (model, small())] == [True, False]
    plain, guided = Tagging(0.1), Tagging(0.1, guided=3.0, guide_width=0.3)
    weights = model.maps(**x)[0][:, 0]
    cost = guided_attention(weights, (y != NO_TARGET).sum(1), LENGTHS, 0.3)
    before, after = (loss(model, (x, y), TRAINING) for loss in (plain, guided))
    torch.testing.assert_close(after.value, before.value + 3 * cost)
    assert torch.equal(after.weight, before.weight)
    assert cost.tolist()[2] == 0
    judged = [loss(model, (x, y), JUDGING).value for loss in (plain, guided)]
    assert torch.equal(judged[0], judged[1])
    bare: Any = without_smoothing(thalweg.core.objective.as_objective(guided))
    assert torch.equal(bare(model, (x, y), JUDGING).value, judged[0])
    assert torch.equal(guided.of_output(model(**x), y, JUDGING).value, judged[0])


@each_model
def test_its_gradient_brings_attention_to_the_pace(make: Any) -> None:
    model, (x, y) = make().train(), pairs()
    y = y.masked_fill(LENGTHS[:, None] == 0, NO_TARGET)
    optimizer, costs = torch.optim.Adam(model.attention.parameters(), 0.05), []
    for step in range(12):
        torch.manual_seed(step)
        _, weights, there = model.aligned(**x)
        cost = guided_attention(weights, (y != NO_TARGET).sum(1), there.sum(1)).sum()
        costs.append(cost.item())
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
    assert costs[-1] < 0.8 * costs[0]


def spelled(random: torch.Generator, count: int) -> tuple[dict[str, Tensor], Tensor]:
    """Five tokens in; each comes out as the next number, odd ones twice."""
    source = torch.randint(4, 10, (count, 5), generator=random)
    outputs = [[token + 1 for token in row for _ in range(1 + token % 2)] for row in source.tolist()]
    longest = max(map(len, outputs)) + 1
    prefix, y = torch.zeros(count, longest, dtype=torch.int64), torch.full((count, longest), NO_TARGET)
    for place, output in enumerate(outputs):
        prefix[place, : len(output) + 1] = torch.tensor([START, *output])
        y[place, : len(output) + 1] = torch.tensor([*output, END])
    return {"source": source, "lengths": torch.full((count,), 5), "prefix": prefix}, y


def trained(objective: Tagging, steps: int, attention: str) -> Any:
    torch.manual_seed(0)
    random, model = torch.Generator().manual_seed(0), rnn_seq2seq(11, vocabulary=10, width=16, attention=attention)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(model, spelled(random, 16), TRAINING).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


@pytest.mark.battery
def test_what_is_guided_goes_forward() -> None:
    x, y = spelled(torch.Generator().manual_seed(1), 40)
    shares, losses = [], []
    for strength in (0.0, 10.0):
        model = trained(Tagging(guided=strength), 40, "additive")
        maps = model.maps(**x)[0][:, 0].detach()
        found = [monotony(one[: int(steps)], slack=1.0) for one, steps in zip(maps, (y >= 0).sum(1), strict=True)]
        shares.append(sum(each.monotonic for each in found) / len(found))
        losses.append(Tagging()(model, (x, y), JUDGING).mean().item())
    assert shares[1] > shares[0] + 0.5
    assert losses[1] < losses[0] + 0.2


@pytest.mark.battery
@pytest.mark.parametrize("attention", ["location", "monotonic", "chunkwise"])
def test_each_learns(attention: str) -> None:
    """Decoding too, where attention is a walk."""
    x, y = spelled(torch.Generator().manual_seed(1), 40)
    loss = Tagging()(trained(Tagging(guided=5.0), 60, attention), (x, y), JUDGING).mean().item()
    assert loss < 1.2  # of 2.4


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"guided": -1.0}, "guided is -1.0, but it must be finite and at least 0. Give for instance guided=10.0"),
        ({"guided": float("nan")}, "guided is nan"),
        ({"guide_width": 0.0}, "guide_width is 0.0, but it must be finite and above 0"),
    ],
)
def test_knobs_out_of_range(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Tagging(**knobs)


def test_a_model_that_does_not_say_where_it_looked() -> None:
    x, y = pairs()
    assert bool(Tagging(guided=1.0)(small(), (x, y), JUDGING).value.isfinite().all())
    with pytest.raises(RecipeError, match=r"guided is for models .*, but Transformer has no aligned\. Take model.kind"):
        Tagging(guided=1.0)(small(), (x, y), TRAINING)


def test_a_network_that_does_not_say_it_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pairs.tsv").write_text("".join(f"ab{i}\tAB{i}\n" for i in range(30)), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"guided is for models .*, but Transformer has no aligned\. Take model.kind"):
        thalweg.load("pairs.tsv", assignments=["model.kind=transformer", "objective.guided=3"])


def test_a_loss_says_that_it_guides() -> None:
    assert repr(Tagging(guided=2.0)) == "Tagging(label_smoothing=0.0, guided=2.0, guide_width=0.2)"
    assert isinstance(Tagging(), nn.Module)
    assert repr(Tagging()) == "Tagging(label_smoothing=0.0)"


@pytest.mark.parametrize("attention", ["location", "monotonic", "chunkwise"])
def test_from_a_recipe(attention: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"{'ab' * (i % 5 + 1)}{i}\t{'AB' * (i % 5 + 1)}{i}\n" for i in range(40))
    Path("pairs.tsv").write_text(lines, encoding="utf-8")
    said = ["model.kind=rnn-seq2seq", "model.width=6", f"model.attention={attention}", "epochs=1"]
    guiding = ["objective.guided=5", "objective.guide_width=0.1"]
    recipes = [thalweg.load("pairs.tsv", data={"unit": "characters"}, assignments=[*said, *more])
               for more in ([], guiding)]  # fmt: skip
    assert (recipes[1].objective.guided, recipes[1].objective.guide_width) == (5, 0.1)
    assert any("guided=5, guide_width=0.1" in line for line in recipes[0].difference(recipes[1]))
    plain, guided = (thalweg.train(recipe, device="cpu") for recipe in recipes)
    assert guided.status.good
    first, second = (run.history[-1] for run in (plain, guided))
    assert first["validation_loss"] != second["validation_loss"]  # other weights
    assert second["validation_loss"] < 10  # and nothing added to it
    smoother = recipes[1].but(objective=Tagging(0.2, guided=5.0, guide_width=0.1))
    out = expressed(smoother, recipes[1])
    assert out is not smoother
    (tmp_path / "smoother.toml").write_text(as_toml(out, tmp_path) or "", encoding="utf-8")
    again = thalweg.load(tmp_path / "smoother.toml").objective
    assert (again.label_smoothing, again.guided, again.guide_width) == (0.2, 5, 0.1)


def test_a_run_with_noise_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pairs.tsv").write_text("".join(f"ab{i}\tAB{i}\n" for i in range(30)), encoding="utf-8")
    said = ["model.kind=rnn-seq2seq", "model.width=5", "model.attention=chunkwise", "objective.guided=5", "epochs=2"]
    recipe = thalweg.load("pairs.tsv", data={"unit": "characters", "tokens": 80}, assignments=said)
    whole = thalweg.train(recipe, device="cpu")
    again = thalweg.resume(broken_off(recipe, tmp_path / "runs", step=2))
    assert bits(again) == bits(whole)
