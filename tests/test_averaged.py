"""A summed loss is judged by its mean in a diagnosis, any other as it is."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg import Recipe, Splits
from thalweg.diagnosis import Cause
from thalweg.diagnosis.averaged import Averaged, judge_of
from thalweg.training.values import values_of

X = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > X[:, 1]).long()


def recipe(loss: Any, **changes: Any) -> Recipe:
    splits = Splits(train=(X[:200], Y[:200]), validation=(X[200:], Y[200:]))
    return Recipe(data=splits, model=partial(nn.Linear, 3, 2), objective=loss, **changes)


def of_batch(output: Tensor, y: Tensor) -> Tensor:
    """Pairs of examples meet in it."""
    return (output.mean(0) - nn.functional.one_hot(y, 2).float().mean(0)).square().sum()


def test_a_sum_is_judged_by_its_mean() -> None:
    summed = nn.CrossEntropyLoss(reduction="sum", label_smoothing=0.1)
    judge = judge_of(recipe(summed), (X[:32], Y[:32]))
    assert isinstance(judge, Averaged)
    output = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(judge(output, Y[:50]), nn.functional.cross_entropy(output, Y[:50]))


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), of_batch, lambda o, y: nn.functional.cross_entropy(o, y)])
def test_any_other_loss_judges_as_it_is(loss: Any) -> None:
    assert judge_of(recipe(loss), (X[:32], Y[:32])) is None


def test_a_judge_of_the_recipes_own_stays() -> None:
    own = nn.CrossEntropyLoss()
    assert judge_of(recipe(nn.CrossEntropyLoss(reduction="sum"), judge=own), (X[:32], Y[:32])) is own


def test_a_summed_loss_that_harms_nothing_is_no_cause() -> None:
    finding = thalweg.diagnose(
        recipe(nn.CrossEntropyLoss(reduction="sum"), optimizer=partial(torch.optim.Adam, lr=0.1), epochs=60), budget=3
    )
    assert finding.cause is Cause.NONE


def test_a_loss_is_asked_for_each_example_alone_where_it_can_be() -> None:
    output = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))

    def plain(own: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(own, y)

    def forked(own: Tensor, y: Tensor) -> Tensor:  # depends on numbers, so that vmap refuses it
        return nn.functional.cross_entropy(own, y) if float(own.sum()) < 1e9 else own.sum()

    expected = nn.functional.cross_entropy(output, Y[:6], reduction="none")
    for loss in (plain, forked):
        assert values_of(loss, output, Y[:6]).value.dim() == 0
        torch.testing.assert_close(values_of(loss, output, Y[:6], singly=True).value, expected)
    assert values_of(of_batch, output, Y[:6], singly=True).value.dim() == 0


def test_small_losses_by_an_input_that_is_the_label_are_doubted_in_the_first_line() -> None:
    draw = torch.Generator().manual_seed(3)
    y = (torch.rand(400, generator=draw) > 0.5).long()
    x = torch.cat(
        [torch.randn(400, 3, generator=draw), (2.0 * y[:, None] + 0.01 * torch.randn(400, 1, generator=draw))], 1
    )
    leaky = Recipe(
        data=Splits(train=(x[:250], y[:250]), validation=(x[250:], y[250:])), model=partial(nn.Linear, 4, 2),
        objective=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=0.1), epochs=60,
    )  # fmt: skip
    finding = thalweg.diagnose(leaky, budget=3)
    assert finding.cause is Cause.NONE
    assert "takes 100.0% of the best constant's error away" in finding.sentence
    assert "unless it is known before the label is" in finding.sentence
