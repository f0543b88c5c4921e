"""What the training itself shows: faulty trainings are told and their mended twins are not, and no healthy one is."""

import json
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from trainings import FAULTY, Reader, dense, digits, faulty, healthy, own_loop

import thalweg
from thalweg import Cause
from thalweg.diagnosis.checks.dynamics import dynamics_flaws
from thalweg.diagnosis.flaw import Flaw, Raises
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.diagnosis.probing import probe
from thalweg.diagnosis.stretch import Along
from thalweg.measure.propagation import LayerSignal, propagation, symmetric_share
from thalweg.measure.saturation import saturates


def flaws_of(recipe: thalweg.Recipe) -> tuple[Flaw, ...]:
    return dynamics_flaws(recipe, thalweg.train(recipe, device="cpu"), device="cpu")


@cache
def flaws_of_fault(name: str) -> tuple[Flaw, ...]:
    return flaws_of(faulty(name))


def firsts() -> list[Any]:
    """The first fault of each mechanism is tried always, the others by the battery."""
    seen = [FAULTY[name].mechanisms for name in FAULTY]
    battery = pytest.mark.battery
    return [pytest.param(name, marks=[battery] if seen[k] in seen[:k] else []) for k, name in enumerate(FAULTY)]


@pytest.mark.parametrize("name", firsts())
def test_a_fault_is_told(name: str) -> None:
    found = flaws_of_fault(name)
    told = {flaw.mechanism for flaw in found}
    assert told & FAULTY[name].mechanisms, told
    for flaw in found:
        assert flaw.mend
        assert flaw.refuted_by
        assert flaw.healthy
        json.dumps(flaw.to_json())


MENDED = [name for name in FAULTY if faulty(name, mended=True).fingerprint() != healthy()["mlp"].fingerprint()]


def thinned(names: list[str], apart: int, first: int = 0) -> list[Any]:
    """One in so many, from the first named, is tried always, the others by the battery."""
    battery = pytest.mark.battery
    return [name if k % apart == first else pytest.param(name, marks=battery) for k, name in enumerate(names)]


@pytest.mark.parametrize("name", thinned(MENDED, 3, first=2))
def test_its_mended_twin_is_not(name: str) -> None:
    assert flaws_of(faulty(name, mended=True)) == ()


@pytest.mark.parametrize("name", thinned(list(healthy()), 7))
def test_nothing_is_said_of_a_healthy_training(name: str) -> None:
    recipe = healthy()[name]
    assert flaws_of(recipe) == ()


@pytest.mark.battery
@pytest.mark.parametrize("seed", [1, 2])
def test_nor_on_other_seeds_or_without_a_run(seed: int) -> None:
    told = {}
    for name, recipe in healthy().items():
        recipe = recipe.but(seed=seed)
        if found := (*flaws_of(recipe), *dynamics_flaws(recipe, device="cpu")):
            told[name] = [flaw.mechanism for flaw in found]
    assert len(told) <= 0.05 * len(healthy()), told


def test_causes_and_what_they_raise() -> None:
    (flaw,) = [flaw for flaw in flaws_of_fault("overfitting") if flaw.mechanism == "validation loss rises"]
    assert (flaw.cause, flaw.raises) == (Cause.OVERFITTING, Raises.VALIDATION)
    (flaw,) = [flaw for flaw in flaws_of_fault("decay") if flaw.mechanism == "weights pulled to 0"]
    assert flaw.cause is Cause.MODEL_BIAS


# --- the probe --------------------------------------------------------------------------------------------------------


def losses_of_training(recipe: thalweg.Recipe, count: int) -> list[float]:
    """The same first steps, written out."""
    losses: list[float] = []

    def noted(model: nn.Module, optimizer: Any, batches: Iterator[Any], objective: Any) -> None:
        for x, y in batches:
            optimizer.zero_grad()
            loss = objective(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    thalweg.train(recipe.but(loop=noted, epochs=3), device="cpu")
    return losses[:count]


def test_the_first_steps_are_those_of_the_run() -> None:
    recipe = healthy()["dropout"]
    seen = probe(recipe, device="cpu")
    assert [step.loss for step in seen.begin.steps] == losses_of_training(recipe, len(seen.begin.steps))


def test_a_loop_of_ones_own_is_probed_through_itself() -> None:
    recipe = healthy()["mlp"]
    ours, own = probe(recipe, device="cpu"), probe(recipe.but(loop=own_loop), device="cpu")
    for one, other in zip(ours.begin.steps, own.begin.steps, strict=True):
        assert one.loss == pytest.approx(other.loss)
        assert one.gradient_norm == pytest.approx(other.gradient_norm)
        assert one.moves == pytest.approx(other.moves)


def test_a_probe_costs_a_share_and_leaves_no_trace() -> None:
    recipe = healthy()["cnn with batch norm"].but(epochs=30)
    run = thalweg.train(recipe, device="cpu")
    before, stream = [weight.clone() for weight in run.last.state_dict().values()], torch.get_rng_state()
    seen = probe(recipe, run, device="cpu")
    assert seen.total is not None
    assert seen.cost < 0.3 * seen.total
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(a, b) for a, b in zip(before, run.last.state_dict().values(), strict=True))
    assert probe(recipe, run, device="cpu").to_json() | {"seconds": 0} == seen.to_json() | {"seconds": 0}
    json.dumps(seen.to_json(), allow_nan=False)


def test_the_moves_of_plain_descent_are_the_rate_times_the_gradient() -> None:
    recipe = healthy()["plain sgd"].but(model=partial(nn.Linear, 64, 10))
    seen = probe(recipe, device="cpu")
    assert seen.layers == ("",)
    step = seen.begin.steps[0]
    assert step.moves[0] * seen.lengths[0][0] == pytest.approx(0.1 * step.gradient_norm, rel=1e-4)


@thalweg.objective
def guided(model: nn.Module, batch: Any, moment: Any) -> Tensor:
    """A loss that training alone adds to, as guided attention does."""
    x, y = batch
    return cross_entropy(model(x), y) + (2.0 if moment.training else 0.0)


def test_what_is_minimized_beside_the_loss_is_no_dropout() -> None:
    recipe = healthy()["mlp"].but(objective=guided, epochs=1, optimizer=partial(torch.optim.SGD, lr=1e-4))
    run = thalweg.train(recipe, device="cpu")
    end = probe(recipe, run, device="cpu").end
    assert end is not None
    assert end.dropped == pytest.approx(end.judged)
    assert end.trained == pytest.approx(end.judged + 2)
    told = {flaw.mechanism for flaw in dynamics_flaws(recipe, run, device="cpu")}
    assert Mechanism.DROPOUT_TOO_STRONG not in told


def test_wrong_arguments_are_refused() -> None:
    recipe = healthy()["mlp"]
    with pytest.raises(thalweg.RecipeError, match="probe was given dict, but it takes steps of a thalweg.Recipe"):
        probe({})
    for steps in (3, 2.5, True):
        with pytest.raises(thalweg.RecipeError, match="a whole number of steps, at least 4"):
            probe(recipe, steps=steps)
    with pytest.raises(thalweg.RecipeError, match="dynamics_flaws was given str, but it looks at a thalweg.Recipe"):
        dynamics_flaws("digits")
    with pytest.raises(thalweg.RecipeError, match="was given dict as a run"):
        dynamics_flaws(recipe, {})


def test_the_best_multiple_of_a_move() -> None:
    along = Along((0.0, 1.0, 10.0), (2.0, float("nan"), 1.5))
    assert along.gain(1.0) == -float("inf")
    assert along.best() == (10.0, 0.5)


# --- the measures -----------------------------------------------------------------------------------------------------


def signals(net: nn.Module, x: Tensor, y: Tensor, parts: int = 1) -> tuple[LayerSignal, ...]:
    pairs = list(zip(x.chunk(parts), y.chunk(parts), strict=True))
    return propagation(net, lambda pair: cross_entropy(net(pair[0]), pair[1]), pairs)


def test_signals_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    net, (x, y) = dense(64, 16, 10), digits()
    first, last = signals(net, x[:100], y[:100])
    z = net[0](x[:100])
    z.retain_grad()
    loss = cross_entropy(net[2](z.relu()), y[:100])
    loss.backward()
    assert z.grad is not None
    assert first.signal == pytest.approx(100 * z.grad.norm(dim=1).mean().item(), rel=1e-4)
    whole = torch.cat([net[0].weight.grad.reshape(-1), net[0].bias.grad])
    assert first.gradient == pytest.approx(whole.norm().item(), rel=1e-4)
    assert first.mean_gradient == pytest.approx(whole.abs().mean().item(), rel=1e-4)
    assert first.deviation == pytest.approx(z.std(correction=0).item(), rel=1e-4)
    assert first.input == pytest.approx(x[:100].square().mean().sqrt().item(), rel=1e-4)
    assert (first.name, last.name, first.units, last.kind) == ("0", "2", 16, "Linear")


def test_dead_units_are_dead_for_all_batches() -> None:
    torch.manual_seed(0)
    net, (x, y) = dense(64, 8, 10), digits()
    with torch.no_grad():
        net[0].weight[:3] = 0
        net[0].bias[:2] = -1.0  # these two never speak; the third does, always
        net[0].bias[2] = 1.0
    assert signals(net, x[:200], y[:200], parts=4)[0].dead == 2 / 8
    inplace = nn.Sequential(net[0], nn.ReLU(inplace=True), net[2])
    assert signals(inplace, x[:200], y[:200])[0].dead == 2 / 8


def test_behind_a_layer_of_zeros_no_unit_is_dead() -> None:
    net, (x, y) = dense(64, 8, 10), digits()
    nn.init.zeros_(net[2].weight)
    assert signals(net, x[:50], y[:50])[0].dead <= 0.25


class Own(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / (1 + x.square()).sqrt()


@pytest.mark.parametrize(
    "act", [nn.Tanh(), nn.Sigmoid(), nn.Hardtanh(), nn.Hardsigmoid(), nn.ReLU6(), Own(), nn.Softsign()]
)
def test_what_saturates_is_told_by_its_behaviour(act: nn.Module) -> None:
    assert saturates(act) is not None
    torch.manual_seed(0)
    net, (x, y) = nn.Sequential(nn.Linear(64, 8), act, nn.Linear(8, 10)), digits()
    assert signals(net, x[:100], y[:100])[0].saturated == 0
    with torch.no_grad():
        net[0].weight[:6] = 0
        net[0].bias[:6] = 30.0
    assert signals(net, x[:100], y[:100])[0].saturated == 6 / 8


def test_what_does_not_saturate() -> None:
    for act in (nn.ReLU(), nn.LeakyReLU(), nn.Identity(), nn.GELU(), nn.ELU(), nn.Flatten(), nn.Softmax(0)):
        assert saturates(act) is None


class Functional(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.first, self.last, self.scale = nn.Linear(64, 8), nn.Linear(8, 10), scale

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x) * self.scale))


def test_functions_and_recurrent_layers_saturate_too() -> None:
    x, y = digits()
    assert signals(Functional(1.0), x[:50], y[:50])[0].saturated == 0
    assert signals(Functional(1e4), x[:50], y[:50])[0].saturated > 0.8
    net = Reader("rnn")
    with torch.no_grad():
        net.body.weight_ih_l0.mul_(1e4)
    tokens, classes = torch.randint(0, 12, (20, 8)), torch.randint(0, 2, (20,))
    assert signals(net, tokens, classes)[1].saturated > 0.8


def test_equal_rows() -> None:
    assert symmetric_share([torch.zeros(4, 3)]) == 1.0
    assert symmetric_share([torch.eye(3)]) == 0.0
    assert symmetric_share([torch.ones(1, 3)]) == 0.0
    assert symmetric_share([torch.ones(4, 3), torch.tensor([1.0, 1.0, 2.0, 3.0])]) == 0.5


def test_a_model_is_left_as_it_was_under_errors_too() -> None:
    torch.manual_seed(0)
    net, (x, y) = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 10)), digits()
    state, stream = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    signals(net, x[:50], y[:50])
    with pytest.raises(ZeroDivisionError):
        propagation(net, lambda _: 1 / 0, [x])  # type: ignore[arg-type, return-value]
    with pytest.raises(thalweg.RecipeError, match="no scalar with a gradient"):
        propagation(net, net, [x])
    with pytest.raises(thalweg.RecipeError, match="was given no batches"):
        propagation(net, net, [])
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in state.items())
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(weight.grad is None for weight in net.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


class Still(nn.Module):
    """A network whose output its weights do not move, or whose loss is not finite from the first step on."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.net, self.by = dense(2, 8, 8, 1), by

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * self.by


@pytest.mark.parametrize("by", [0.0, float("nan")])
def test_a_loss_that_is_0_or_not_finite_from_the_first_step_is_no_hindrance(by: float) -> None:
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    recipe = thalweg.Recipe(
        data=thalweg.Splits(train=(x, torch.zeros(64, 1))), model=partial(Still, by), objective=nn.MSELoss(), epochs=6
    )
    found = {flaw.mechanism for flaw in flaws_of(recipe)}
    assert ("divergence" in found) == (by != 0.0)
