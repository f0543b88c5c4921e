"""What an own loop does otherwise than the library's is observed at its steps, and named where the exchange cures."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from test_exchanges import classified, forgetful, usual
from torch import nn

import thalweg
from thalweg.core.randomness import seed_everything
from thalweg.diagnosis import Cause
from thalweg.diagnosis.loop_steps import loop_differences

CPU = torch.device("cpu")
Loop = Callable[[nn.Module, Any, Iterable[Any], Any], None]


def looped(between: Callable[[nn.Module], Any], every: int = 1, clears: bool = True, factor: float = 1.0) -> Loop:
    """The usual loop with something between backward and step, which comes every so many batches."""

    def loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Any) -> None:
        for number, (x, y) in enumerate(batches):
            if clears:
                optimizer.zero_grad()
            (factor * objective(model(x), y)).backward()
            between(model)
            if number % every == every - 1:
                optimizer.step()

    return loop


def clipped(to: float) -> Loop:
    return looped(lambda model: nn.utils.clip_grad_norm_(model.parameters(), to))


def cooled(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Any) -> None:
    """A scheduler that counts batches where epochs are meant."""
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    for x, y in batches:
        optimizer.zero_grad()
        objective(model(x), y).backward()
        optimizer.step()
        schedule.step()


def nothing(model: nn.Module) -> None:
    pass


LOOPS: dict[str, tuple[Loop, str]] = {
    "clipped": (clipped(1e-4), "the gradient is clipped to length 0.0001, where those of the batches are about"),
    "by value": (
        looped(lambda model: nn.utils.clip_grad_value_(model.parameters(), 1e-5)),
        "no entry of a gradient is larger than 1e-05",
    ),
    "divided": (looped(nothing, factor=1e-3), "the gradient is 0.001 times that of its batch"),
    "seldom": (looped(nothing, every=4), "of 13 batches 3 are followed by a step"),
    "cooled": (cooled, "the learning rate of a step is"),
    "put back": (forgetful, "between a step and the next batch the weights move by 1 of what the step moved"),
}
HEALTHY = {"usual": usual, "clipping to 1": clipped(1.0), "halved": looped(nothing, factor=0.5)}


@pytest.mark.parametrize("name", LOOPS)
def test_what_a_loop_does_otherwise_is_seen_and_nothing_else(name: str) -> None:
    loop, expected = LOOPS[name]
    (seen,) = loop_differences(classified(loop=loop), CPU)
    assert expected in seen.says


@pytest.mark.parametrize("name", HEALTHY)
def test_of_a_healthy_loop_nothing_is_said(name: str) -> None:
    assert loop_differences(classified(loop=HEALTHY[name]), CPU) == ()


def test_watching_leaves_the_training_as_it_is() -> None:
    """The steps that are watched are those of the run: batch norm and dropout see each batch once."""

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3))

    ended = list[list[torch.Tensor]]()

    def kept(net: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Any) -> None:
        usual(net, optimizer, batches, objective)
        ended.append([part.detach().clone() for part in net.state_dict().values()])

    recipe = classified(model=model, loop=kept, epochs=1)
    thalweg.train(recipe)
    seed_everything(7)
    before = torch.get_rng_state()
    assert loop_differences(recipe, CPU) == ()
    assert torch.equal(before, torch.get_rng_state())
    own, watched = ended
    assert all(torch.equal(a, b) for a, b in zip(own, watched, strict=True))


def test_a_rate_that_a_loop_lets_fall_from_epoch_to_epoch_is_seen_in_the_run() -> None:
    def falling(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Any) -> None:
        usual(model, optimizer, batches, objective)
        for group in optimizer.param_groups:
            group["lr"] *= 0.1

    recipe = classified(loop=falling, epochs=3)
    (seen,) = loop_differences(recipe, CPU, thalweg.train(recipe))
    assert seen.says.startswith("the learning rate goes from 0.02 to 0.0002")


def test_a_loop_that_fails_says_nothing() -> None:
    def failing(*arguments: Any) -> None:
        raise ValueError("worn out")

    assert loop_differences(classified(loop=failing), CPU) == ()
    assert loop_differences(classified(), CPU) == ()


@pytest.mark.battery
def test_a_clip_far_too_small_is_named_where_the_exchange_cures() -> None:
    finding = thalweg.diagnose(classified(loop=clipped(1e-4), optimizer=partial(torch.optim.SGD, lr=0.3)))
    assert finding.cause is Cause.WIRING
    assert "clipped to length 0.0001" in finding.mechanism
    assert finding.mend == "Clip gradients to about their usual length, or not at all."


@pytest.mark.battery
def test_a_clip_that_shortens_little_is_not_at_fault() -> None:
    finding = thalweg.diagnose(classified(loop=clipped(1.0), optimizer=partial(torch.optim.SGD, lr=0.3)))
    assert finding.cause is not Cause.WIRING
