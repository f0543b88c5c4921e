"""Changes of training that mend a network of the same size only together."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from thalweg import Cause, Recipe, Splits
from thalweg.diagnosis import Budget
from thalweg.diagnosis.arms import ADAM, LONGER, usual_adam
from thalweg.diagnosis.beginnings import initialized
from thalweg.diagnosis.finding import Arm
from thalweg.diagnosis.fitting import explain_train_loss
from thalweg.diagnosis.floor import Floor, reference_floor
from thalweg.diagnosis.further_arms import BEGUN
from thalweg.diagnosis.laboratory import CONTROL, Laboratory, first_batch, lay_out
from thalweg.diagnosis.screening import screened
from thalweg.diagnosis.together import TOGETHER, WITH, together
from thalweg.nn import mlp


def all_zero() -> nn.Module:
    """A network that begins at a saddle, so that no rate and no optimizer alone moves its weights."""
    model = mlp(1, 1, width=16, depth=3, activation="tanh")
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def laboratory(budget: float) -> tuple[Laboratory, Floor, Arm]:
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.uniform(-3, 3, size=(250, 1))).float()
    y = x.sin() + 0.1 * torch.from_numpy(random.normal(size=(250, 1))).float()
    recipe = Recipe(
        data=Splits(train=(x[:160], y[:160]), validation=(x[160:], y[160:])),
        model=all_zero,
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.SGD, lr=1e-5),
        epochs=40,
    )
    lab = lay_out(recipe, torch.device("cpu"), Budget.of(budget), lambda stage: None)
    floor = reference_floor(lab.judge, [lab.train, lab.validation])
    assert floor is not None
    return lab, floor, lab.arm(CONTROL, lab.recipe, [lab.recipe.seed], lab.train)


def singly(lab: Laboratory) -> Iterator[tuple[str, Recipe]]:
    begun = initialized(lab.recipe, first_batch(lab.train))
    assert begun is not None
    yield ADAM, usual_adam(lab.recipe)
    yield BEGUN, begun
    yield LONGER, lab.recipe.but(epochs=3 * lab.recipe.epochs)


@pytest.mark.battery
def test_two_faults_are_mended_by_two_changes_and_by_none_alone() -> None:
    lab, floor, control = laboratory(40.0)
    alone = screened(lab, floor, control, "each alone", singly(lab))
    assert (alone.experiment.answer, alone.tried) == ("no", 3)
    joint = screened(lab, floor, control, TOGETHER, together(lab, control, alone.experiment.arms))
    assert joint.experiment.answer == "yes"
    assert {BEGUN, ADAM} <= set(joint.name.split(WITH))


def test_nothing_is_made_together_that_the_budget_does_not_hold() -> None:
    lab, floor, control = laboratory(1.5)
    asked = screened(lab, floor, control, TOGETHER, together(lab, control, []))
    assert (asked.tried, asked.experiment.arms) == (0, ())
    assert asked.lacking > 0


@pytest.mark.battery
def test_what_only_goes_together_is_no_network_of_too_simple_a_kind() -> None:
    lab, floor, _ = laboratory(40.0)
    found = explain_train_loss(lab, floor, None)
    assert found.ranked[0].cause is Cause.OPTIMIZATION, found.ranked[0].sentence
