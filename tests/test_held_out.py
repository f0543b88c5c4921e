"""A part of train held out, and half of train taken away: what tells a mismatch, and what tells overfitting."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from thalweg.core.arrays import ArraySource
from thalweg.core.source import Splits
from thalweg.diagnosis.budget import Budget
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.generalizing import HALVED, ask, learning_curve
from thalweg.diagnosis.held_out import _parted, ask_held_out
from thalweg.diagnosis.laboratory import Laboratory, lay_out
from thalweg.diagnosis.screening import screened
from thalweg.training import Recipe

FLOOR = Floor(0.0, 0.05, "a reference", (None, None), (0.05, 0.03, 0.07), null=1.0)


def lab(
    train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], budget: float = 20, **changes: Any
) -> Laboratory:
    recipe = Recipe(
        data=Splits(train=train, validation=validation),
        model=lambda: nn.Sequential(nn.Linear(train[0].shape[1], 32), nn.ReLU(), nn.Linear(32, 1)),
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        epochs=20,
    )
    return lay_out(recipe.but(**changes), torch.device("cpu"), Budget.of(budget), lambda stage: None)


def sums(n: int, seed: int, noise: float = 0.1, inputs: int = 3) -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    x = torch.randn(n, inputs, generator=drawn)
    return x, x.sum(1, keepdim=True) / inputs**0.5 + noise * torch.randn(n, 1, generator=drawn)


@pytest.mark.parametrize("moved", [True, False])
def test_a_validation_split_of_another_kind_is_worse_than_a_held_out_part_of_train(moved: bool) -> None:
    x, y = sums(150, 1)
    asked = ask_held_out(lab(sums(300, 0), (x, y + moved)), FLOOR)
    assert asked is not None
    assert asked.answer == ("yes" if moved else "no")
    assert asked.control.name == "a part of train held out"
    assert asked.effect is not None
    assert abs(asked.effect.value - moved) < 0.3


def test_where_too_few_would_be_held_out_or_the_budget_does_not_hold_it_nothing_is_asked() -> None:
    assert ask_held_out(lab(sums(60, 0), sums(60, 1)), FLOOR) is None
    assert ask_held_out(lab(sums(300, 0), sums(60, 1), budget=0.5), FLOOR) is None


def test_a_question_that_the_budget_does_not_hold_is_not_answered_no() -> None:
    laid = lab(sums(60, 0), sums(60, 1), budget=1.5, epochs=1)
    more = laid.recipe.but(epochs=2)
    asked = ask(laid, FLOOR, "Does it help?", [("twice as long", more)], laid.validation)
    assert (asked.answer, asked.says) == ("undecided", "No arm could be afforded.")
    found = screened(laid, FLOOR, asked.control, "Does it help?", iter([("twice as long", more)])).experiment
    assert (found.answer, found.says) == ("undecided", "No arm could be afforded.")


class Grouped(ArraySource):
    def meta(self, ids: Any) -> dict[str, Any]:
        return {"group": np.asarray(ids) // 10}


def test_groups_are_held_out_whole() -> None:
    kept, held = _parted(Grouped(sums(120, 0), 32), seed=0)
    assert len(held) == 20
    assert set(held // 10).isdisjoint(kept // 10)
    assert sorted([*kept, *held]) == list(range(120))


@pytest.mark.parametrize(("noise", "inputs", "helps"), [(0.1, 25, True), (0.1, 1, False)])
def test_half_of_the_data_raises_the_loss_of_a_network_that_lacks_some(noise: float, inputs: int, helps: bool) -> None:
    starved = learning_curve(lab(sums(60, 0, noise, inputs), sums(300, 1, noise, inputs)), FLOOR)
    assert starved is not None
    assert starved.answer == ("yes" if helps else "no"), starved.says
    arm, *others = starved.arms
    assert arm.name == HALVED
    assert len(others) == 1  # an eighth is too few
    assert ("training examples" in starved.says) is helps, starved.says
    assert arm.recipe is not None
    assert (len(arm.recipe.data.train), arm.recipe.epochs) == (30, 40)
