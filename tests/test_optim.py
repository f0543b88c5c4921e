"""Optimizers against the update rules of the course, groups, schedules against torch's, and what their errors say."""

import math
from functools import partial

import naive
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from thalweg.core.errors import RecipeError
from thalweg.loss import L2
from thalweg.optim import (
    OPTIMIZERS,
    Constant,
    Cosine,
    Exponential,
    Grouped,
    InverseSquareRoot,
    StepDecay,
    WarmUp,
    gradient_descent,
    momentum,
    optimizer_by_name,
    per_step,
    schedule_by_name,
)

START = [1.3, -0.7, 0.4]
STEPS = 23


def valley(theta: torch.Tensor) -> torch.Tensor:
    """A curved, narrow valley (Rosenbrock) in three dimensions, so that gradients change in size and sign."""
    return (5 * (theta[1:] - theta[:-1] ** 2) ** 2 + (1 - theta[:-1]) ** 2).sum()


def gradient(theta: list[float]) -> list[float]:
    at = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(valley(at), at)[0].tolist()


def path(factory, rates: list[float]) -> list[list[float]]:
    """Where a torch optimizer goes, one learning rate for each step."""
    theta = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = factory([theta], lr=rates[0])
    points = []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        valley(theta).backward()
        optimizer.step()
        points.append(theta.tolist())
    return points


CONSTANT = [0.01] * STEPS
CHANGING = [0.01 if step < 11 else 0.001 for step in range(STEPS)]


@pytest.mark.parametrize("rates", [CONSTANT, CHANGING], ids=["constant", "changing"])
@pytest.mark.parametrize(
    ("factory", "twin"),
    [
        (gradient_descent, naive.gradient_descent),
        (OPTIMIZERS["sgd"], naive.gradient_descent),
        (partial(momentum, momentum=0.8), partial(naive.momentum_of_gradients, decay=0.8)),
        (partial(momentum, nesterov=True), partial(naive.momentum_of_gradients, nesterov=True)),
        (partial(OPTIMIZERS["rmsprop"], alpha=0.9), partial(naive.rmsprop, alpha=0.9, eps=1e-8)),
        (OPTIMIZERS["adam"], naive.adam),
        (partial(OPTIMIZERS["adam"], weight_decay=0.3), partial(naive.adam, decay=0.3)),
        (partial(OPTIMIZERS["adamw"], weight_decay=0.3), partial(naive.adam, decay=0.3, decoupled=True)),
    ],
    ids=["gradient_descent", "sgd", "momentum", "nesterov", "rmsprop", "adam", "adam and decay", "adamw"],
)
def test_optimizers_follow_their_formulas(factory, twin, rates):
    np.testing.assert_allclose(path(factory, rates), twin(START, gradient, rates), rtol=1e-9, atol=1e-12)


# Where torch parts from the formulas of the course


def test_momentum_is_the_courses_while_the_rate_stands_still_and_parts_when_it_changes():
    np.testing.assert_allclose(path(momentum, CONSTANT), naive.momentum(START, gradient, CONSTANT), rtol=1e-9)
    ours, course = np.array(path(momentum, CHANGING)), np.array(naive.momentum(START, gradient, CHANGING))
    np.testing.assert_allclose(ours[:11], course[:11], rtol=1e-9)
    assert np.abs(ours[11:] - course[11:]).max() > 0.01


def test_the_courses_velocity_outlives_a_cut_of_the_rate():
    """With a gradient of 1 the step after a cut to a tenth keeps nearly the old speed here, a tenth of it in torch."""
    rates = [0.1] * 200 + [0.01]
    course = naive.momentum([0.0], lambda theta: [1.0], rates)
    ours = naive.momentum_of_gradients([0.0], lambda theta: [1.0], rates)
    assert math.isclose(course[-2][0] - course[-1][0], 0.91, rel_tol=1e-6)
    assert math.isclose(ours[-2][0] - ours[-1][0], 0.1, rel_tol=1e-6)


def test_rmsprop_takes_steps_as_large_whatever_the_unit_of_the_loss():
    def tenfold(theta: list[float]) -> list[float]:
        return [10 * g for g in gradient(theta)]

    np.testing.assert_allclose(
        naive.rmsprop(START, gradient, CONSTANT), naive.rmsprop(START, tenfold, CONSTANT), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("name", "options", "first"),
    [
        ("rmsprop", {}, 10.0),  # 1 / sqrt(1 - 0.99)
        ("rmsprop", {"alpha": 0.9}, 1 / math.sqrt(0.1)),
        ("adam", {}, 1.0),  # the correction makes it one learning rate
        ("adamw", {"weight_decay": 0.0}, 1.0),
    ],
)
@pytest.mark.parametrize("slope", [1e-3, 1.0, 1e3])
def test_the_first_step_does_not_depend_on_the_slope(name, options, first, slope):
    theta = torch.tensor([0.0], dtype=torch.float64, requires_grad=True)
    theta.grad = torch.tensor([slope], dtype=torch.float64)
    optimizer_by_name(name, lr=0.01, **options)([theta]).step()
    assert math.isclose(-theta.item(), 0.01 * first, rel_tol=2e-4)


def test_a_gradient_that_grows_makes_the_effective_step_shrink():
    steps = [0.01 / math.sqrt(0.99 * 1.0 + 0.01 * g**2) for g in (1.0, 3.0, 10.0, 30.0)]
    assert steps == sorted(steps, reverse=True)
    theta = torch.zeros(1, requires_grad=True)
    optimizer = optimizer_by_name("rmsprop", lr=0.01)([theta])
    effective = []
    for g in [1.0] * 500 + [10.0] * 5:
        before, theta.grad = theta.item(), torch.tensor([g])
        optimizer.step()
        effective.append((before - theta.item()) / g)
    assert effective[500] < 0.75 * effective[499]
    assert effective[504] < effective[500]


def test_weight_decay_is_the_l2_penalty_but_not_in_adamw():
    def after(factory, penalty: float) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Linear(3, 2, bias=False)
        optimizer = factory(model.parameters())
        for _ in range(20):
            optimizer.zero_grad()
            (model(torch.ones(5, 3)).square().mean() + L2(penalty)(model)).backward()
            optimizer.step()
        return model.weight.detach()

    for name in ("sgd", "momentum", "rmsprop", "adam"):
        decayed = after(optimizer_by_name(name, lr=0.01, weight_decay=0.3), 0.0)
        torch.testing.assert_close(decayed, after(optimizer_by_name(name, lr=0.01), 0.3), msg=name)
    decoupled = after(optimizer_by_name("adamw", lr=0.01, weight_decay=0.3), 0.0)
    assert (decoupled - after(optimizer_by_name("adamw", lr=0.01, weight_decay=0.0), 0.3)).abs().max() > 0.01


# By name


def test_names_bind_their_options():
    factory = optimizer_by_name("momentum", lr=0.1, momentum=0.5)
    assert (factory.func, factory.keywords) == (momentum, {"lr": 0.1, "momentum": 0.5})
    for name in OPTIMIZERS:
        assert optimizer_by_name(name, lr=0.1)([torch.zeros(2, requires_grad=True)]).param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("adem", {}, "There is no optimizer 'adem'. Did you mean 'adam'?"),
        ("adam", {"learning_rate": 0.1}, "The optimizer 'adam' has no option 'learning_rate'. Did you mean 'lr'?"),
        ("momentum", {"lr": 0.1, "momentun": 0.9}, "has no option 'momentun'. Did you mean 'momentum'?"),
        ("momentum", {}, "'momentum' needs a learning rate. Say for instance lr=0.1."),
    ],
)
def test_unknown_optimizers_and_options_are_named(name, options, said):
    with pytest.raises(RecipeError, match=said):
        optimizer_by_name(name, **options)


# Groups


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 5)
        self.body = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm([3, 7]))
        self.attention = nn.MultiheadAttention(7, 1, add_bias_kv=True)
        self.rate = nn.Parameter(torch.ones(1))
        self.frozen = nn.Linear(7, 7).requires_grad_(False)
        self.head = nn.Linear(7, 2)
        self.again = self.head


def sorted_out(model: nn.Module, factory: Grouped) -> dict[str, tuple[float, float]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in factory(model).param_groups
        for parameter in group["params"]
    }


ADAMW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)


def test_weights_decay_but_norms_and_biases_do_not():
    decay = {name: decay for name, (_, decay) in sorted_out(Net(), Grouped(ADAMW)).items()}
    assert {name for name, value in decay.items() if value} == {
        *("words.weight", "body.0.weight", "attention.in_proj_weight", "attention.out_proj.weight", "head.weight")
    }
    assert {name for name, value in decay.items() if not value} == {
        *("body.0.bias", "body.1.weight", "body.1.bias", "rate", "head.bias"),
        *("attention.in_proj_bias", "attention.out_proj.bias", "attention.bias_k", "attention.bias_v"),
    }
    everything = sorted_out(Net(), Grouped(ADAMW, decay_norms_and_biases=True))
    assert set(everything) == set(decay)
    assert set(everything.values()) == {(0.01, 0.1)}


def test_the_first_pattern_that_fits_sets_the_factor():
    rates = sorted_out(Net(), Grouped(ADAMW, {"body.0.*": 0.5, "body.*": 0.1, "*.bias": 2.0}))
    assert rates["body.0.bias"][0] == 0.005
    assert rates["body.1.weight"][0] == pytest.approx(0.001)
    assert rates["head.bias"][0] == 0.02
    assert rates["head.weight"][0] == 0.01


def test_groups_of_an_optimizer_without_weight_decay():
    groups = Grouped(partial(torch.optim.Rprop, lr=0.1), {"head.*": 0.5})(Net()).param_groups
    assert {group["lr"] for group in groups} == {0.1, 0.05}
    assert not any("weight_decay" in group for group in groups)


def test_a_grouped_optimizer_without_factors_steps_as_the_plain_one():
    x = torch.randn(5, 3)
    after = []
    for grouped in (True, False):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        factory = partial(torch.optim.Adam, lr=0.1)
        optimizer = Grouped(factory)(model) if grouped else factory(model.parameters())
        for _ in range(5):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        after.append(model.weight.detach())
    torch.testing.assert_close(*after, rtol=0, atol=0)
    assert Grouped.takes_model


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ({"bodi.*": 0.1}, r"the pattern 'bodi.\*' of lr_factors fits no parameter that learns. Did you mean 'body.*'?"),
        ({"heed.weight": 0.1}, "Did you mean 'head.weight'?"),
        ({"frozen.*": 0.1}, r"the pattern 'frozen.\*' of lr_factors fits no parameter that learns."),
    ],
)
def test_a_pattern_that_fits_nothing_is_an_error(factors, said):
    with pytest.raises(RecipeError, match=said):
        Grouped(ADAMW, factors)(Net())


def test_negative_factors_and_models_that_do_not_learn_are_errors():
    with pytest.raises(RecipeError, match=r"factor of 'head.\*' is -1.0, but it must be at least 0. Give 1.0 to learn"):
        Grouped(ADAMW, {"head.*": -1.0})
    with pytest.raises(RecipeError, match=r"Linear has no parameter that learns. Unfreeze a part of it, or put a new"):
        Grouped(ADAMW)(nn.Linear(3, 2).requires_grad_(False))


# Schedules


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (StepDecay(7, 0.3), partial(torch.optim.lr_scheduler.StepLR, step_size=7, gamma=0.3)),
        (Exponential(0.9), partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.9)),
        (Cosine(0.1), partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=STEPS, eta_min=0.05)),
        (
            WarmUp(7),
            partial(torch.optim.lr_scheduler.LinearLR, start_factor=1 / 7, total_iters=6),
        ),
        (Constant(), partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0)),
    ],
    ids=lambda case: type(case).__name__,
)
def test_schedules_are_torchs(ours, theirs):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = per_step(theirs)(optimizer)
    for step in range(STEPS):
        assert math.isclose(optimizer.param_groups[0]["lr"], 0.5 * ours(step, STEPS), rel_tol=1e-9, abs_tol=1e-12)
        optimizer.step()
        scheduler.step()


LENGTHS = st.one_of(st.integers(1, 50), st.floats(0.01, 0.99))
SCHEDULES = st.recursive(
    st.one_of(
        st.just(Constant()),
        st.builds(StepDecay, LENGTHS, st.floats(0.01, 1.0)),
        st.builds(Exponential, st.floats(0.5, 1.0), LENGTHS),
        st.builds(Cosine, st.floats(0.0, 1.0)),
        st.builds(InverseSquareRoot, LENGTHS),
    ),
    lambda inner: st.builds(WarmUp, LENGTHS, inner),
    max_leaves=3,
)


@settings(deadline=None, max_examples=60)
@given(schedule=SCHEDULES, steps=st.integers(1, 97))
def test_no_multiplier_is_negative_or_above_1_even_past_the_end(schedule, steps):
    values = [schedule(step, steps) for step in range(steps + 5)]
    assert all(0 <= value <= 1 + 1e-12 for value in values)


@settings(deadline=None, max_examples=40)
@given(
    length=st.integers(2, 40), then=st.sampled_from([Constant(), Cosine(0.1), Exponential(0.99), InverseSquareRoot(1)])
)
def test_warm_up_rises_evenly_and_hands_over_without_a_jump(length, then):
    values = [WarmUp(length, then)(step, 97) for step in range(length + 1)]
    np.testing.assert_allclose(np.diff(values[:length]), 1 / length)
    assert values[0] == pytest.approx(1 / length)
    assert values[length - 1] == values[length] == 1.0


def test_the_transformers_schedule():
    """Vaswani et al., equation 3: d^-0.5 min(t^-0.5, t w^-1.5) for t from 1, divided by its peak (d w)^-0.5."""
    for step in range(100):
        t = step + 1
        expected = min(t**-0.5, t * 13**-1.5) / 13**-0.5
        assert InverseSquareRoot(13)(step, None) == pytest.approx(expected)
    assert schedule_by_name("noam") == schedule_by_name("inverse_square_root") == InverseSquareRoot(0.04)


def test_a_share_of_the_run_is_as_many_steps():
    for step in range(40):
        assert StepDecay(0.25, 0.1)(step, 40) == StepDecay(10, 0.1)(step, 40)
        assert WarmUp(0.25, Cosine())(step, 40) == WarmUp(10, Cosine())(step, 40)


def test_schedules_by_name():
    assert schedule_by_name("step_decay", every=10, factor=0.5) == StepDecay(10, 0.5)
    assert schedule_by_name("warm_up", length=10, then="cosine") == WarmUp(10, Cosine())
    assert schedule_by_name("warm_up", length=10, then=Cosine()) == WarmUp(10, Cosine())


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: schedule_by_name("cosin"), "There is no schedule 'cosin'. Did you mean 'cosine'?"),
        (
            lambda: schedule_by_name("cosine", flor=0.1),
            "The schedule 'cosine' has no option 'flor'. Did you mean 'floor'?",
        ),
        (
            lambda: schedule_by_name("constant", floor=0.1),
            "The schedule 'constant' has no option 'floor'. It takes none.",
        ),
        (
            lambda: schedule_by_name("step_decay"),
            "The schedule 'step_decay' needs 'every'. Say for instance every = 0.1.",
        ),
        (
            lambda: schedule_by_name("warm_up", length=3, then={"kind": "x"}),
            "There is no schedule 'x'. Known: constant, ",
        ),
        (
            lambda: StepDecay(1.0),
            "StepDecay: every is 1.0, but it is a whole number of steps, at least 1, or a share .* every",
        ),
        (lambda: WarmUp(0), "WarmUp: length is 0, but it is a whole number"),
        (lambda: InverseSquareRoot(2.5), "InverseSquareRoot: warmup is 2.5, but"),
        (
            lambda: StepDecay(3, 0.0),
            "StepDecay: factor is 0.0, but .* must be positive and finite. Give for instance factor",
        ),
        (lambda: Exponential(-0.5), "Exponential: rate is -0.5"),
        (
            lambda: Cosine(1.5),
            "Cosine: floor is 1.5, but it is the share .* between 0 and 1. Give for instance floor=0.01.",
        ),
        (
            lambda: Cosine()(3, None),
            r"Cosine: the length of the training is not known \(a stream\), .* Use Constant\(\) or",
        ),
        (
            lambda: WarmUp(0.1)(3, None),
            "WarmUp: the length .* 0.1 is a share of it. Give a number of steps, for instance 1000",
        ),
    ],
)
def test_schedules_that_cannot_be_say_what_and_how_to_mend(ask, said):
    with pytest.raises(RecipeError, match=said):
        ask()
