"""Bigger siblings, rates and restraint: what a change of the recipe really changes."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, LRScheduler, OneCycleLR, SequentialLR, StepLR

import thalweg
from thalweg import Recipe, RecipeError, Splits
from thalweg.diagnosis import find_cause
from thalweg.diagnosis.arms import ScaledSchedule, at_rate
from thalweg.diagnosis.growth import bigger_siblings, runs, unrestrained
from thalweg.diagnosis.work import count_parameters
from thalweg.nn import NoisyInputs, Standardized, mlp
from thalweg.optim import per_step
from thalweg.training.build import prepare

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = X.sum(1, keepdim=True)
DRAWN = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
OTHERS = (DRAWN, DRAWN.sum(1, keepdim=True))
CPU = torch.device("cpu")


def recipe(**changes: Any) -> Recipe:
    made = Recipe(
        data=Splits(train=(X, Y), validation=OTHERS), model=partial(mlp, 3, 1, width=8), objective=nn.MSELoss(),
        optimizer=partial(torch.optim.SGD, lr=0.01), epochs=2,
    )  # fmt: skip
    return made.but(**changes)


@thalweg.objective
def smooth(model: nn.Module, batch: Any) -> Tensor:
    """A squared error and a penalty on the slope at the inputs, which asks for gradients of its own."""
    x = batch[0].clone().requires_grad_()
    output = model(x)
    (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    return (output - batch[1]).square().mean(1) + 0.01 * slope.square().mean(1)


def test_an_objective_that_differentiates_has_bigger_siblings_and_remedies() -> None:
    chosen = recipe(objective=smooth)
    assert runs(chosen, (X, Y))
    assert [name for name, _ in bigger_siblings(chosen, (X, Y))][:2] == ["4 x as wide", "one hidden layer more"]


class Attention(nn.Module):
    """Attention over the inputs: torch refuses another width than its own by an assertion."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(1, 4), nn.Linear(4, 1)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x[..., None])
        output: Tensor = self.last(self.attention(hidden, hidden, hidden)[0].mean(1))
        return output


class Keyed(nn.Module):
    """A network that looks up a scale by its width."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        output: Tensor = self.last(hidden) * {8: 1.0}[hidden.shape[1]]
        return output


def at_most(width: int = 8) -> nn.Module:
    assert width <= 16
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 1))


def test_a_network_that_refuses_another_width_is_given_a_layer_more() -> None:
    assert [name for name, _ in bigger_siblings(recipe(model=Keyed), (X, Y))] == ["one hidden layer more"]


def test_attention_is_begun_anew_for_what_it_is_given() -> None:
    wide = dict(bigger_siblings(recipe(model=Attention), (X, Y)))["4 x as wide"].model()
    assert (wide.attention.embed_dim, wide.attention.num_heads, wide.last.in_features) == (16, 2, 16)


def test_a_factory_that_refuses_another_width_is_widened_by_layers() -> None:
    siblings = dict(bigger_siblings(recipe(model=at_most), (X, Y), lambda bigger: count_parameters(bigger) < 10**9))
    assert list(siblings) == ["4 x as wide", "one hidden layer more", "16 x as wide"]
    assert count_parameters(recipe(model=partial(at_most, width=32))) == 1
    assert all(runs(sibling, (X, Y)) for sibling in siblings.values())


BUILT: list[int] = []


class Huge(nn.Module):
    """A network that says how wide it was built for real."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, width), nn.Linear(width, 1)
        if self.first.weight.device.type != "meta":
            BUILT.append(width)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.second(torch.relu(self.first(x)))
        return output


def huge(width: int = 1000) -> nn.Module:
    return Huge(width)


def test_a_sibling_beyond_the_budget_is_not_built() -> None:
    BUILT.clear()
    finding = find_cause(recipe(model=huge, optimizer=partial(torch.optim.SGD, lr=1e-9)), budget=1.1)
    assert finding.cost.times <= 1.1
    assert set(BUILT) == {1000}
    BUILT.clear()
    assert count_parameters(recipe(model=partial(huge, width=10**6))) == 5 * 10**6 + 1
    assert not BUILT


STATE = nn.Linear(3, 1).state_dict()


def loaded() -> nn.Module:
    """A network with weights that are loaded, which torch warns of where there is no memory for them."""
    model = nn.Linear(3, 1)
    model.load_state_dict(STATE)
    if model.weight.device.type != "meta":
        BUILT.append(1)
    return model


def test_a_network_that_loads_its_weights_is_counted_without_being_built() -> None:
    BUILT.clear()
    assert count_parameters(recipe(model=loaded)) == 4
    assert not BUILT


def first_rates(chosen: Recipe, steps: int = 3) -> list[float]:
    rate = prepare(chosen, CPU).rate
    seen = []
    for step in range(steps):
        rate.before_step(step, 10)
        seen.append(rate.used)
        rate.optimizer.step()
        rate.after_step()
    return seen


def warming(step: int) -> float:
    return step / 10


class Falling(LRScheduler):
    """A rate of its own, whatever the optimizer's."""

    def get_lr(self) -> list[float | Tensor]:
        return [0.1 / (1 + self.last_epoch) for _ in self.base_lrs]


class Late:
    """Leaves the first rate to the optimizer, and sets the others."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer, self.steps = optimizer, 0

    def step(self) -> None:
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = 0.1 / self.steps


def in_turn(optimizer: Any) -> SequentialLR:
    cycles = [CyclicLR(optimizer, 0.1, top, step_size_up=2) for top in (0.5, 0.7)]
    return SequentialLR(optimizer, cycles, milestones=[2])


ONE_CYCLE = partial(OneCycleLR, max_lr=0.5, total_steps=10)
CYCLES = partial(CyclicLR, base_lr=0.1, max_lr=0.5, step_size_up=4)


@pytest.mark.parametrize(
    ("schedule", "own"),
    [
        (None, False),
        (lambda step, steps: 1 - step / steps, False),
        (partial(StepLR, step_size=1), False),
        (partial(LambdaLR, lr_lambda=warming), False),
        (ONE_CYCLE, True),
        (CYCLES, True),
        (in_turn, True),
        (Falling, True),
        (Late, True),
    ],
    ids=["none", "function", "step", "warm-up", "one cycle", "cyclic", "in turn", "own", "own, but for the first"],
)
def test_a_rate_is_scaled_whatever_sets_it(schedule: Any, own: bool) -> None:
    plain = recipe(schedule=schedule if own is False and not hasattr(schedule, "func") else per_step(schedule))
    expected = [10 * rate for rate in first_rates(plain)]
    assert first_rates(at_rate(plain, 10.0)) == pytest.approx(expected)
    assert first_rates(at_rate(at_rate(plain, 100.0), 0.1)) == pytest.approx(expected)
    assert isinstance(at_rate(plain, 10.0).schedule, ScaledSchedule) == own
    assert first_rates(at_rate(plain, 10.0).but(schedule=None)) == pytest.approx([0.1] * 3)


def test_a_scaled_scheduler_goes_on_from_its_state() -> None:
    chosen = at_rate(recipe(schedule=per_step(ONE_CYCLE)), 10.0)
    going, anew = (prepare(chosen, CPU).rate for _ in range(2))
    for rate, steps in ((going, 4), (anew, 1)):
        for _ in range(steps):
            rate.optimizer.step()
            rate.after_step()
    anew.optimizer.load_state_dict(going.optimizer.state_dict())
    anew.scheduler.load_state_dict(going.scheduler.state_dict())
    for rate in (going, anew):
        rate.optimizer.step()
        rate.after_step()
    assert going.value == anew.value


def test_a_rate_that_is_a_tensor_stays_the_recipes_own() -> None:
    rate = torch.tensor(0.01)
    optimizer = partial(torch.optim.Adam, lr=rate)
    at_rate(recipe(optimizer=optimizer, schedule=per_step(partial(StepLR, step_size=1))), 10.0)
    assert rate.item() == pytest.approx(0.01)


def test_all_dropout_is_taken_away_not_only_that_of_the_argument() -> None:
    def net(dropout: float = 0.2) -> nn.Module:
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))

    free = unrestrained(recipe(model=net))
    assert free is not None
    assert [module.p for module in free[1].model() if isinstance(module, nn.Dropout)] == [0.0, 0.0]


def test_noise_on_one_number_is_a_number() -> None:
    output = NoisyInputs(nn.Identity(), 0.5).train()(torch.ones(1, 1))
    assert bool(torch.isfinite(output).all())


def test_standardizing_examples_of_one_input_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"has one input, and standardized by itself that is always 0\. Leave"):
        Standardized(nn.Identity())(torch.ones(5, 1))
    assert bool(torch.isfinite(Standardized(nn.Identity())(torch.ones(5, 2))).all())
