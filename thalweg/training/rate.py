"""The learning rate along a run: a schedule in any of its forms, applied to the optimizer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from thalweg.core.errors import RecipeError
from thalweg.core.objective import name_of
from thalweg.core.signature import argument_names, required_arguments


@dataclass
class Rate:
    """No schedule: the rate stays as the optimizer's factory set it."""

    optimizer: Any
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
        if not isinstance(multiplier, Real):
            raise RecipeError(
                f"The schedule {name_of(self.schedule)} returned {multiplier!r} for step {step}, but it returns a "
                "number, what the learning rate is multiplied by."
            )
        for group, own in zip(self.optimizer.param_groups, self.own, strict=True):
            group["lr"] = own * float(multiplier)
        self.used = self.value


@dataclass
class Scheduled(Rate):
    """A torch scheduler, stepped once an epoch, or once a step where it is marked `per_step`."""

    scheduler: Any
    per_step: bool

    def __post_init__(self) -> None:
        if self.per_step and isinstance(self.scheduler, ReduceLROnPlateau):
            raise RecipeError(
                "ReduceLROnPlateau watches the validation loss, which there is once an epoch, but it is marked by "
                "per_step. Give it unmarked: schedule=functools.partial(ReduceLROnPlateau, patience=3)."
            )

    def after_step(self) -> None:
        if self.per_step:
            self._step()

    def after_epoch(self, row: dict[str, Any]) -> None:
        if self.per_step:
            return
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self._step()
            return
        watched = row["validation_loss"] if row["validation_loss"] is not None else row["train_loss"]
        if watched is None:
            raise RecipeError(
                "ReduceLROnPlateau watches a loss, but the recipe has no validation split, and its loop never asks "
                "for the objective, which gives the train loss. Give Splits(train=..., validation=...), or call "
                "objective(...)."
            )
        self.scheduler.step(watched)

    def _step(self) -> None:
        try:
            self.scheduler.step()
        except ValueError as error:  # OneCycleLR: more steps than it was made for
            raise RecipeError(
                f"The scheduler {type(self.scheduler).__name__} refused a step: {error}. It is stepped once "
                f"{'an update' if self.per_step else 'an epoch'}: give it as many steps as the training has."
            ) from error


def _is_scheduler(schedule: Any) -> bool:
    inner = getattr(schedule, "factory", schedule)
    made = getattr(inner, "func", inner)
    return isinstance(made, type) and issubclass(made, LRScheduler)


def as_rate(schedule: Callable[..., Any] | None, optimizer: Any) -> Rate:
    """A schedule in one of its two forms, told apart by the number of arguments it asks for.

    >>> import torch
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
    if count > 1 and _is_scheduler(schedule):
        raise RecipeError(
            f"The schedule {name_of(schedule)} needs more than the optimizer. Bind it: functools.partial("
            f"{name_of(schedule)}, {argument_names(schedule)[1]}=...)."
        )
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
