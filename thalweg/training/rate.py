"""The learning rate along a run: a schedule in any of its forms, applied to the optimizer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from thalweg.core.errors import RecipeError
from thalweg.core.objective import name_of
from thalweg.core.signature import argument_names, required_arguments


@dataclass
class Rate:
    """No schedule: the rate stays as the optimizer's factory set it."""

    optimizer: torch.optim.Optimizer
    used: float = field(init=False, default=float("nan"))
    """The rate of the last step, which a scheduler stepped after it no longer shows."""

    def before_step(self, step: int, steps: int | None) -> None:
        """Set the rate of step number `step`, counted from 0."""
        self.used = self.value

    def after_step(self) -> None:
        """What a scheduler that is stepped every batch does."""

    def after_epoch(self, row: dict[str, Any]) -> None:
        """What a scheduler that is stepped every epoch does."""

    @property
    def value(self) -> float:
        """The learning rate of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])


@dataclass
class Multiplied(Rate):
    """A schedule `(step, steps) -> multiplier`: each group's own rate times the multiplier."""

    schedule: Callable[[int, int | None], float]
    own: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.own = [group["lr"] for group in self.optimizer.param_groups]

    def before_step(self, step: int, steps: int | None) -> None:
        multiplier = self.schedule(step, steps)
        if not isinstance(multiplier, float | int):
            raise RecipeError(
                f"The schedule {name_of(self.schedule)} returned {multiplier!r} for step {step}, but it returns a "
                "number, what the learning rate is multiplied by."
            )
        for group, own in zip(self.optimizer.param_groups, self.own, strict=True):
            group["lr"] = own * multiplier
        self.used = self.value


@dataclass
class Scheduled(Rate):
    """A torch scheduler, stepped once an epoch, or once a step where it is marked `per_step`."""

    scheduler: Any
    per_step: bool

    def after_step(self) -> None:
        if self.per_step:
            self.scheduler.step()

    def after_epoch(self, row: dict[str, Any]) -> None:
        if self.per_step:
            return
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            watched = row["validation_loss"] if row["validation_loss"] is not None else row["train_loss"]
            self.scheduler.step(watched)
        else:
            self.scheduler.step()


def as_rate(schedule: Callable[..., Any] | None, optimizer: torch.optim.Optimizer) -> Rate:
    """A schedule in one of its two forms, told apart by the number of arguments it asks for.

    >>> optimizer = torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.5)
    >>> rate = as_rate(lambda step, steps: 1 - step / steps, optimizer)
    >>> rate.before_step(5, 10)
    >>> rate.value
    0.25

    Raises `RecipeError` for a callable that is neither.
    """
    if schedule is None:
        return Rate(optimizer)
    count = required_arguments(schedule)
    if count == 2 or argument_names(schedule)[:2] == ["step", "steps"]:
        return Multiplied(optimizer, schedule)
    if count == 1:
        try:
            scheduler = schedule(optimizer)
        except (TypeError, AttributeError) as error:
            raise RecipeError(
                f"The schedule {name_of(schedule)} was called with the optimizer and failed: {error}. A function of "
                "the step takes two arguments, (step, steps) -> multiplier."
            ) from error
        if hasattr(scheduler, "step"):
            return Scheduled(optimizer, scheduler, bool(getattr(schedule, "per_step", False)))
    raise RecipeError(
        f"The schedule {name_of(schedule)} takes {count} arguments, but a schedule is (step, steps) -> multiplier of "
        "the learning rate, or a factory of a torch scheduler: functools.partial(StepLR, step_size=10)."
    )
