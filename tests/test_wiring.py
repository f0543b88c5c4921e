"""Wiring checks: each fault is called by its mechanism, its repaired twin and healthy recipes of all kinds by none."""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from miswired import MISWIRED, Reshaping
from torch import Tensor, nn
from wellwired import CE, MSE, SERIES, SERIES_SUM, WELL, C, X, Y, mlp, plain_loop, recipe

from thalweg.core.randomness import cpu_marks
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.examined import Examined, Unasked, asking
from thalweg.diagnosis.checks.reach import Range, Reach
from thalweg.diagnosis.checks.wiring import wiring_flaws
from thalweg.training import train

CPU = torch.device("cpu")
MECHANISMS = [mechanism for mechanism, _ in MISWIRED.values()]


def quick(names: Iterable[str], kept: Callable[[int], bool]) -> list[Any]:
    """Names as parameters: those that `kept` picks by their place are asked each time, the others in the battery."""
    battery = pytest.mark.battery
    return [pytest.param(name, marks=() if kept(place) else battery) for place, name in enumerate(names)]


@pytest.mark.parametrize("name", quick(MISWIRED, lambda place: MECHANISMS[place] not in MECHANISMS[:place]))
def test_a_fault_is_called_by_its_mechanism(name: str) -> None:
    mechanism, make = MISWIRED[name]
    flaws = wiring_flaws(make(True), device=CPU)
    assert [flaw.mechanism for flaw in flaws] == [mechanism]
    assert flaws[0].cause in (Cause.WIRING, Cause.OPTIMIZATION)
    assert all((flaws[0].says, flaws[0].healthy, flaws[0].mend, flaws[0].refuted_by))


@pytest.mark.parametrize("name", quick(MISWIRED, lambda place: place % 6 == 1))
def test_its_repaired_twin_is_not(name: str) -> None:
    assert wiring_flaws(MISWIRED[name][1](False), device=CPU) == ()


@pytest.mark.parametrize("name", quick(WELL, lambda place: place % 6 == 0))
def test_a_healthy_recipe_has_no_flaw(name: str) -> None:
    assert wiring_flaws(WELL[name](), device=CPU) == ()


@pytest.mark.parametrize("name", ["batch norm", "pure noise", "loop"])
def test_nor_has_its_run(name: str) -> None:
    made = WELL[name]()
    assert wiring_flaws(made, train(made, device="cpu"), device=CPU) == ()


def test_running_statistics_of_other_data_are_seen_after_the_run() -> None:
    made = recipe(X, C, lambda: mlp(6, 3, nn.BatchNorm1d(16)), CE, epochs=10)
    run = train(made, device="cpu")
    assert run.final is not None
    run.final[2].running_var.fill_(1e-4)
    (flaw,) = wiring_flaws(made, run, device=CPU)
    assert flaw.mechanism == "running statistics are not the data's"


def test_a_clip_far_below_every_gradient_is_seen_after_the_run() -> None:
    made = recipe(
        X, 100 * Y[:, None], lambda: mlp(6, 1), MSE, clip_norm=0.01, optimizer=partial(torch.optim.SGD, lr=1e-3)
    )
    (flaw,) = wiring_flaws(made, train(made, device="cpu"), device=CPU)
    assert flaw.mechanism == "clip far below the gradient"
    adam = made.but(optimizer=partial(torch.optim.Adam, lr=1e-3))
    assert wiring_flaws(adam, train(adam, device="cpu"), device=CPU) == ()


@pytest.mark.parametrize(
    ("falls", "causes", "says"),
    [
        (7, ("WIRING", "OPTIMIZATION"), "stays there, within as many as there are epochs (10): what counts epochs is"),
        (3, ("OPTIMIZATION", "WIRING"), "stays there: 97% of the run trains next to nothing"),
    ],
)
def test_a_rate_spent_early_is_a_mistake_where_its_steps_would_be_epochs(
    falls: int, causes: tuple[str, str], says: str
) -> None:
    """Of 10 epochs of 12 batches, or of a schedule that nobody meant for them."""
    spent = recipe(X, C, mlp, CE, epochs=10, batch_size=30, schedule=lambda step, steps: float(step < falls))
    (flaw,) = wiring_flaws(spent, device=CPU)
    assert flaw.mechanism == "learning rate spent early"
    assert (str(flaw.cause), str(flaw.also)) == causes
    assert says in flaw.says


def test_a_model_that_is_meant_to_mix_may_say_so() -> None:
    class Meant(Reshaping):
        mixes_examples = True

    assert wiring_flaws(recipe(SERIES, SERIES_SUM, lambda: Meant(True), MSE), device=CPU) == ()


def test_nothing_of_the_users_is_touched() -> None:
    x, y, backbone = X.clone(), C.clone(), nn.Linear(6, 6).requires_grad_(False)
    made = recipe(x, y, lambda: nn.Sequential(backbone, nn.Linear(6, 3)), CE, loop=plain_loop)
    weight, before = backbone.weight.clone(), cpu_marks()
    wiring_flaws(made, device=CPU)
    assert torch.equal(x, X)
    assert torch.equal(y, C)
    assert torch.equal(backbone.weight, weight)
    assert cpu_marks() == before


def test_what_is_said_is_the_same_each_time() -> None:
    make = MISWIRED["rectifier on numbers"][1]
    first, second = (wiring_flaws(make(True), device=CPU) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "faulty",
    [
        lambda: recipe(X, C, lambda: nn.Linear(5, 3), CE),
        lambda: recipe(X, C + 7, mlp, CE),
        lambda: recipe(X, C.float(), mlp, CE),
        lambda: recipe(X * float("nan"), C, mlp, CE),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_left_to_training(faulty: partial) -> None:
    wiring_flaws(faulty(), device=CPU)


@pytest.mark.parametrize(
    ("head", "low", "high"),
    [
        (nn.Identity(), -np.inf, np.inf),
        (nn.ReLU(), 0.0, np.inf),
        (nn.Tanh(), -1.0, 1.0),
        (nn.Sigmoid(), 0.0, 1.0),
        (nn.ELU(), -1.0, np.inf),
        (nn.Softplus(), 0.0, np.inf),
        (nn.LogSigmoid(), -np.inf, 0.0),
    ],
)
def test_the_range_of_a_head_is_found_by_behaviour(head: nn.Module, low: float, high: float) -> None:
    e = Examined.of(recipe(X, Y[:, None], lambda: nn.Sequential(mlp(6, 1), copy.deepcopy(head)), MSE), None, CPU)
    found = Reach(e).range
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)
    assert Range(low, high).bounded == (not isinstance(head, nn.Identity))


def test_the_lowest_losses_are_those_of_closed_forms() -> None:
    """Squares: a rectifier keeps the mean of the squared negative targets, a constant their variance."""
    e = Examined.of(recipe(X, Y[:, None], lambda: nn.Sequential(mlp(6, 1), nn.ReLU()), MSE), None, CPU)
    reach = Reach(e)
    y: Tensor = e.y
    assert reach.free == pytest.approx(0.0, abs=1e-6)
    assert reach.reached == pytest.approx(float(y.clamp(max=0).square().mean()), rel=1e-4)
    best = y.mean().clamp(min=0)
    assert reach.constant == pytest.approx(float((y - best).square().mean()), rel=1e-3)


def test_softmax_twice_keeps_the_loss_that_its_formula_gives() -> None:
    (flaw,) = wiring_flaws(MISWIRED["softmax into cross-entropy"][1](True), device=CPU)
    assert flaw.number == pytest.approx(np.log(1 + 2 * np.exp(-1)), rel=1e-2)


def test_only_what_the_recipe_raises_is_caught() -> None:
    with pytest.raises(Unasked, match="its own"), asking():
        raise KeyError("its own")
