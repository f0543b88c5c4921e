"""Short trainings of copies: the recipe's own steps on given batches, and steps of Adam at some rates."""

from collections.abc import Iterator
from functools import partial
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.nest import Nest, map_tensors
from thalweg.core.objective import PlainLoss
from thalweg.core.randomness import seed_everything
from thalweg.core.source import Splits
from thalweg.diagnosis.checks.examined import Examined, asking
from thalweg.training import Recipe
from thalweg.training.build import Training, prepare
from thalweg.training.loop import steps
from thalweg.training.own_loop import run_own_loop
from thalweg.training.tally import RunningMean


class Repeated:
    """A source that gives the same few batches, so many times."""

    def __init__(self, batches: list[Nest], times: int = 1) -> None:
        self.given, self.times = batches, times

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        for _ in range(self.times):
            for batch in self.given:
                yield map_tensors(torch.clone, batch)

    def count_batches(self) -> int:
        """The batches that it gives."""
        return len(self.given) * self.times


def trainee(
    e: Examined, batches: list[Nest], times: int = 1, model: nn.Module | None = None, **changes: Any
) -> Training:
    """The recipe's training, ready to take its steps on these batches with a copy of the model."""
    plainly: dict[str, Any] = {
        "schedule": None, "average": None, "compile": False, "channels_last": False, "stopping": None, "accumulate": 1,
        "metrics": {}, "judge": None, "epochs": 1,
    }  # fmt: skip
    own = e.fresh() if model is None else model
    # prepare builds a model twice, to see that two runs share none
    made = iter([own])
    recipe: Recipe = e.recipe.but(
        data=Splits(train=Repeated(batches, times)), model=lambda: next(made, nn.Identity()), **(plainly | changes)
    )
    with asking():
        return prepare(recipe, e.device)


def taken(training: Training, falls: float = inf) -> list[float]:
    """The loss of each step of an epoch, in training mode; it ends once a loss has fallen by some share of its size."""
    seed_everything(training.recipe.seed, "noise", 1)
    with asking(), torch.enable_grad():
        if training.recipe.loop is not None:
            run_own_loop(training, 1, training.source.batches(1, 0, None), RunningMean(training.device))
            return []
        losses: list[float] = []
        for minimized, _ in steps(training, 1, RunningMean(training.device)):
            losses.append(float(minimized))
            if losses[-1] < losses[0] - falls * (1 + abs(losses[0])):
                break
        return losses


def own_steps(e: Examined, batch: Nest, count: int, scale: float | None = None) -> list[float]:
    """The losses of some steps of the recipe's own on one batch; with `scale` times the loss, said in its own unit."""
    count = e.steps_within(count)
    if count < 3:
        return []
    changes: dict[str, Any] = {}
    if scale is not None and isinstance(e.form, PlainLoss):
        changes["objective"] = partial(_scaled, e.form.loss, scale)
    losses = taken(trainee(e, [batch], count, **changes))
    return [loss / (scale or 1.0) for loss in losses]


def _scaled(loss: Any, scale: float, output: Any, target: Any) -> Tensor:
    scaled: Tensor = scale * loss(output, target)
    return scaled


def follows_scale(e: Examined) -> bool:
    """Whether the optimizer's step grows with its gradient, as SGD's does and Adam's does not."""
    moved = []
    for size in (1.0, 100.0):
        training = trainee(e, [e.batch])
        with torch.no_grad():
            before = [weight.detach().clone() for weight in training.model.parameters()]
            for weight in training.model.parameters():
                weight.grad = torch.full_like(weight, size)
        with asking():
            training.optimizer.step()
        after = zip(training.model.parameters(), before, strict=True)
        moved.append(sum(float((weight - old).abs().sum()) for weight, old in after))
    return moved[1] > 10 * moved[0]
