"""Exchanges: what a part of a program costs is measured with another in its place."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg import Recipe, Splits
from thalweg.core.objective import PlainLoss
from thalweg.diagnosis import Cause
from thalweg.diagnosis.exchanges import LOOP, LOSS, LetThrough, LettingThrough, is_sound, usual_loss
from thalweg.diagnosis.natural import natural_errors, recalibrated


def rings(n: int = 600) -> tuple[Tensor, Tensor]:
    """Three classes on circles around the origin, which no line parts."""
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    angle = 6.283 * torch.rand(n, generator=draw)
    radius = 1.0 + y + 0.15 * torch.randn(n, generator=draw)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), y


def classified(**changes: Any) -> Recipe:
    x, y = rings()
    recipe = Recipe(
        data=Splits(train=(x[:400], y[:400]), validation=(x[400:], y[400:])),
        model=lambda: nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 3)),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=2e-2),
        epochs=15,
    )
    return recipe.but(**changes)


def forgetful(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Any) -> None:
    """After each step the weights are put back most of the way: no check knows this fault."""
    for x, y in batches:
        before = [weight.detach().clone() for weight in model.parameters()]
        optimizer.zero_grad()
        objective(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            for weight, old in zip(model.parameters(), before, strict=True):
                weight.lerp_(old, 0.999)


def usual(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Any) -> None:
    for x, y in batches:
        optimizer.zero_grad()
        objective(model(x), y).backward()
        optimizer.step()


@pytest.mark.battery
def test_a_loop_whose_fault_no_check_knows_is_found_by_exchanging_it() -> None:
    finding = thalweg.diagnose(classified(loop=forgetful))
    assert finding.cause is Cause.WIRING
    assert "own is at fault" in finding.mechanism
    assert finding.mend is not None
    assert "optimizer.step()" in finding.mend


@pytest.mark.battery
def test_a_loop_that_does_as_the_library_does_is_not_at_fault() -> None:
    finding = thalweg.diagnose(classified(loop=usual, optimizer=partial(torch.optim.SGD, lr=1e-4)))
    assert finding.cause is Cause.OPTIMIZATION


def squares_of_the_first_class(output: Tensor, y: Tensor) -> Tensor:
    """Reads the score of the first class alone: the other two are never told apart."""
    return (output[:, 0] - (y == 0).float()).square().mean()


def test_a_loss_that_judges_itself_well_is_found_by_the_usual_one() -> None:
    finding = thalweg.diagnose(classified(objective=squares_of_the_first_class))
    assert finding.cause is Cause.WIRING
    assert "loss is at fault" in finding.mechanism
    assert finding.mend is not None
    assert "usual loss" in finding.mend


@pytest.mark.parametrize("quantile", [pytest.param(0.5, marks=pytest.mark.battery), 0.9])
def test_a_quantile_is_wanted_on_purpose(quantile: float) -> None:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(600, 3, generator=draw)
    y = x[:, :1] - 2 * x[:, 1:2] + 0.3 * torch.randn(600, 1, generator=draw)

    def pinball(output: Tensor, target: Tensor) -> Tensor:
        error = target - output
        return torch.maximum(quantile * error, (quantile - 1) * error).mean()

    recipe = Recipe(
        data=Splits(train=(x[:400], y[:400]), validation=(x[400:], y[400:])),
        model=partial(nn.Linear, 3, 1),
        objective=pinball,
        optimizer=partial(torch.optim.Adam, lr=5e-2),
        epochs=20,
    )
    assert thalweg.diagnose(recipe).cause is not Cause.WIRING


def quantile_of_nine_tenths(output: Tensor, target: Tensor) -> Tensor:
    error = target - output
    return torch.maximum(0.9 * error, -0.1 * error).mean()


@pytest.mark.parametrize(
    ("loss", "sound"),
    [
        (nn.L1Loss(), True),
        (nn.HuberLoss(), True),
        (nn.MSELoss(reduction="sum"), True),
        (quantile_of_nine_tenths, True),
        (lambda z, t: (z - t).cosh().log().mean(), True),
        (lambda z, t: (z - t[:, 0]).square().mean(), False),  # each with each
        (lambda z, t: -(z - t).square().mean(), False),
        (lambda z, t: ((z - t).square() * (t > 0)).mean(), False),
        (lambda z, t: ((z - t) / t).abs().mean(), False),
        (lambda z, t: (z - t).mean(), False),
        (lambda z, t: (z - 2 * t).abs().mean(), False),
    ],
)
def test_a_sound_loss_of_numbers_is_told_from_a_faulty_one(loss: Any, sound: bool) -> None:
    y = torch.randn(40, 1, generator=torch.Generator().manual_seed(0))
    assert is_sound(PlainLoss(loss), torch.zeros(40, 1), y) is sound


@pytest.mark.battery
def test_a_quantile_whose_spread_is_elsewhere_than_the_mean_is_no_fault() -> None:
    """The ninth tenth lies where the spread is, far from the mean: squared errors are large, and meant to be."""
    draw = torch.Generator().manual_seed(0)
    x, noise = torch.randn(900, 2, generator=draw), torch.randn(900, 1, generator=draw)
    y = x[:, :1] + 1.2 * x[:, 1:].abs() * noise
    recipe = Recipe(
        data=Splits(train=(x[:500], y[:500]), validation=(x[500:], y[500:])),
        model=lambda: nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1)),
        objective=quantile_of_nine_tenths,
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        epochs=10,
    )
    assert thalweg.diagnose(recipe, budget=4).cause is not Cause.WIRING


class Cut(nn.Module):
    """Features under no_grad, or detached, or read through .data."""

    def __init__(self, how: str, width: int = 3) -> None:
        super().__init__()
        self.how, self.first, self.head = how, nn.Linear(2, width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "no_grad":
            with torch.no_grad():
                hidden = self.first(x).relu()
        elif self.how == "detach":
            hidden = self.first(x).relu().detach()
        else:
            hidden = nn.functional.linear(x, self.first.weight.data, self.first.bias.data).relu()
        return self.head(hidden)


@pytest.mark.parametrize("how", ["no_grad", "detach", "data"])
def test_gradients_are_let_through_in_training_alone(how: str) -> None:
    x, y = rings(30)
    model = LetThrough(partial(Cut, how))().train()
    nn.functional.cross_entropy(model(x), y).backward()
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in model.parameters())
    assert torch.is_grad_enabled()
    assert isinstance(model, LettingThrough)
    assert torch.equal(model(x), model.model(x))
    with torch.no_grad():
        assert not model(x).requires_grad


@pytest.mark.battery
def test_filters_under_no_grad_are_found_by_letting_gradients_through() -> None:
    finding = thalweg.diagnose(classified(model=partial(Cut, "no_grad", 12)))
    assert finding.cause is Cause.WIRING
    assert "no_grad" in finding.mechanism


def test_the_usual_loss_of_outputs_and_targets() -> None:
    y = torch.tensor([0, 1, 2, 1])
    scores = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    yes, first = (y > 0).float(), scores[:, 0]
    binary = nn.functional.binary_cross_entropy
    for output, target, expected in [
        (scores, y, nn.functional.cross_entropy(scores, y)),
        (scores.softmax(1), y, nn.functional.cross_entropy(scores, y)),
        (scores[:, :1], y.clamp_max(1), binary(first.sigmoid(), yes)),
        (scores[:, :1].sigmoid(), yes, binary(first.sigmoid(), yes)),
        (scores[:, :1], 3 * y.float(), nn.functional.mse_loss(scores[:, 0], 3 * y.float())),
    ]:  # fmt: skip
        loss = usual_loss(output, target)
        assert loss is not None
        torch.testing.assert_close(loss(output, target), expected)
    assert usual_loss(scores, torch.zeros(4, 7)) is None
    assert usual_loss({"a": scores}, y) is None


def test_recalibrated_outputs_forgive_a_shift_and_nothing_else() -> None:
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    scores = 4 * torch.nn.functional.one_hot(y, 3) + torch.randn(300, 3, generator=draw)
    shifted = scores + torch.tensor([0.0, 9.0, 0.0])
    before, after, right = (
        float(natural_errors(output, y).mean()) for output in (shifted, recalibrated(shifted, y), scores)
    )
    assert before > 0.6
    assert after < right + 0.02
    other = scores[:, [1, 2, 0]]  # the classes exchanged
    assert float(natural_errors(recalibrated(other, y), y).mean()) > 0.5
    numbers = torch.randn(50, 1, generator=draw)
    torch.testing.assert_close(recalibrated(5 - 2 * numbers, numbers).float(), numbers)


@pytest.mark.battery
@pytest.mark.parametrize("changes", [{"loop": forgetful}, {"objective": squares_of_the_first_class}])
def test_what_was_exchanged_is_offered_and_proved(changes: dict[str, Any]) -> None:
    recipe = classified(**changes)
    finding = thalweg.diagnose(recipe)
    (remedy,) = finding.remedies[:1]
    assert remedy.name in (LOOP, LOSS)
    proof = thalweg.prove(recipe, remedy)
    assert proof.helped
    assert proof.wins == 5
