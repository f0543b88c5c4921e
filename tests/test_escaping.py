"""An optimizer that escapes from saddles: where it moves, where it must not, and what a diagnosis makes of it."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg.core.source import Splits
from thalweg.diagnosis import Cause
from thalweg.diagnosis.arms import ESCAPING
from thalweg.diagnosis.escaping import EscapingSaddles
from thalweg.diagnosis.telling import says_of
from thalweg.measure import Kind
from thalweg.training import Outcome, Recipe


def at_zero() -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 1, bias=False))
    for weight in net.parameters():
        nn.init.zeros_(weight)
    return net


def recipe(model: object = at_zero, **changes: object) -> Recipe:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
    data = Splits(train=(x, x @ torch.tensor([[1.0], [-2.0], [0.5]])))
    made = Recipe(data=data, model=model, objective=nn.MSELoss(), optimizer=partial(torch.optim.SGD, lr=0.05), epochs=6)
    return made.but(**changes)


def test_a_network_at_a_saddle_learns_only_with_it() -> None:
    stuck = thalweg.train(recipe(epochs=40))
    free = thalweg.train(recipe(epochs=40).but(optimizer=EscapingSaddles(recipe())))
    assert stuck.history[-1]["train_loss"] == pytest.approx(stuck.history[0]["train_loss"])
    assert stuck.history[-1]["train_loss"] > 4
    assert free.history[-1]["train_loss"] < 0.1


def test_elsewhere_its_steps_are_those_of_the_optimizer_alone() -> None:
    healthy = recipe(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 1)),
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        schedule=lambda step, steps: 1 - step / steps,
    )
    alone, beside = thalweg.train(healthy), thalweg.train(healthy.but(optimizer=EscapingSaddles(healthy)))
    for name, weight in alone.last.state_dict().items():  # the step of a known optimizer may be fused: other last bits
        assert torch.allclose(weight, beside.last.state_dict()[name], atol=1e-6)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_interrupted_it_goes_on_to_the_same_bits(tmp_path: Path, kind: type) -> None:
    own = recipe(optimizer=partial(kind, lr=0.02))
    escaping = own.but(optimizer=EscapingSaddles(own))
    whole = thalweg.train(escaping)

    def interrupt(epoch: int, step: int, row: object) -> None:
        if epoch == 4 and row is None:
            raise KeyboardInterrupt

    assert thalweg.train(escaping, out=tmp_path, progress=interrupt).status is Outcome.INTERRUPTED
    resumed = thalweg.resume(next(tmp_path.iterdir()), escaping)
    for name, weight in whole.last.state_dict().items():
        assert torch.equal(weight, resumed.last.state_dict()[name])


@pytest.mark.battery
def test_a_diagnosis_says_where_it_stopped_and_escapes() -> None:
    finding = thalweg.diagnose(thalweg.cases.get("at-a-saddle"), budget=3)
    assert finding.cause is Cause.OPTIMIZATION
    assert finding.stopped_at is not None
    assert finding.stopped_at.kind is Kind.SADDLE
    assert says_of(finding.stopped_at).startswith("A saddle: the gradient is zero, and there is a way down.")
    assert finding.to_json()["stopped_at"]["kind"] == "SADDLE"
    (escaped,) = (arm for arm in finding.experiments[0].arms if arm.name == ESCAPING)
    assert escaped.score.value < 0.3 * finding.losses["train"].value


class OnceDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return 2 * grads[0]


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = OnceDifferentiable.apply(x)
        return doubled


def test_a_surface_that_cannot_be_looked_at_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 1), Twice())

    bent = recipe(model, optimizer=partial(torch.optim.SGD, lr=1e-5))
    run = thalweg.train(bent.but(optimizer=EscapingSaddles(bent)))
    assert run.status is Outcome.FINISHED
    assert thalweg.diagnose(bent, budget=2).stopped_at is None
