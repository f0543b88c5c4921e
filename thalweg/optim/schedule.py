r"""Schedules: what the learning rate is multiplied by, as the training goes on.

A schedule is `(step, steps) -> multiplier`; `step` counts updates from 0, `steps` is the number of all updates, None
for a stream of unknown length. The learning rate of an update is $\eta_t = \eta \cdot m(t)$, so that one schedule fits
any optimizer and any group. A length is a number of steps (`100`) or a share of the run (`0.1`); `1.0` is refused, for
it could be either.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.core.kinds import check_fields

Schedule = Callable[[int, int | None], float]


@dataclass(frozen=True)
class Constant:
    """The learning rate as it is: m(t) = 1.

    >>> Constant()(7, None)
    1.0
    """

    def __call__(self, step: int, steps: int | None) -> float:
        return 1.0


@no_type_check
@dataclass(frozen=True)
class StepDecay:
    r"""Down by `factor` after every `every` steps: $m(t) = f^{\lfloor t / s \rfloor}$ (torch's `StepLR`).

    >>> [StepDecay(every=0.5, factor=0.1)(step, 10) for step in (0, 4, 5)]
    [1.0, 1.0, 0.1]
    """

    every: int | float
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        _check_length(self, "every", self.every)
        _check_positive(self, "factor", self.factor)

    def __call__(self, step: int, steps: int | None) -> float:
        return float(self.factor ** (step // _length(self, self.every, steps)))


@no_type_check
@dataclass(frozen=True)
class Exponential:
    r"""Down by `rate` over every `every` steps, smoothly: $m(t) = r^{t / s}$ (torch's `ExponentialLR` with `every=1`).

    >>> Exponential(0.5, every=10)(20, None)
    0.25
    """

    rate: float
    every: int | float = 1

    def __post_init__(self) -> None:
        check_fields(self)
        _check_positive(self, "rate", self.rate)
        _check_length(self, "every", self.every)

    def __call__(self, step: int, steps: int | None) -> float:
        return float(self.rate ** (step / _length(self, self.every, steps)))


@no_type_check
@dataclass(frozen=True)
class Cosine:
    r"""Half a cosine from 1 to `floor`: $m(t) = f + (1 - f) (1 + \cos(\pi t / T)) / 2$ for $T$ steps.

    Loshchilov & Hutter, "SGDR" (2017), equation 5, without restarts; torch's `CosineAnnealingLR`. Raises `RecipeError`
    for a floor outside [0, 1] and, when called, for a stream of unknown length.

    >>> [round(Cosine(floor=0.1)(step, 10), 2) for step in (0, 5, 10, 99)]
    [1.0, 0.55, 0.1, 0.1]
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.floor <= 1:
            raise RecipeError(
                f"Cosine: floor is {self.floor!r}, but it is the share of the learning rate that is left at the end, "
                "between 0 and 1. Give for instance floor=0.01."
            )

    def __call__(self, step: int, steps: int | None) -> float:
        if steps is None:
            raise _endless(self, "it comes down over all of it", "Use Constant() or InverseSquareRoot(warmup=1000)")
        progress = min(1.0, step / max(steps, 1))
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2


@no_type_check
@dataclass(frozen=True)
class InverseSquareRoot:
    r"""Linear warm-up over $w$ steps, then down with the root of time: $m(t) = \min((t + 1) / w, \sqrt{w / (t + 1)})$.

    Vaswani et al., "Attention Is All You Need" (2017), equation 3, scaled so that the peak is 1: where they write
    $d^{-0.5} \min(t^{-0.5}, t w^{-1.5})$, the learning rate itself is $(d w)^{-0.5}$. They rise over 4,000 of 100,000
    steps, which is the share by default. Others call it "noam", after the author Noam Shazeer.

    >>> [InverseSquareRoot(4)(step, None) for step in (0, 3, 15)]
    [0.25, 1.0, 0.5]
    """

    warmup: int | float = 0.04

    def __post_init__(self) -> None:
        check_fields(self)
        _check_length(self, "warmup", self.warmup)

    def __call__(self, step: int, steps: int | None) -> float:
        warmup = _length(self, self.warmup, steps)
        return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))


@no_type_check
@dataclass(frozen=True)
class WarmUp:
    r"""A linear rise over `length` steps, $m(t) = (t + 1) / w$, then the schedule `then` over the steps that are left.

    The first update already moves, the last of the rise has the full rate, and `then` starts from its own step 0, at 1:
    no jump. Shares in `then` are shares of the steps that are left. Gotmare et al. 2019 and Goyal et al. 2017, section
    2.2, say what it is good for.

    >>> schedule = WarmUp(0.2, then=Cosine())
    >>> [round(schedule(step, 10), 2) for step in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """

    length: int | float
    then: Schedule = Constant()

    def __post_init__(self) -> None:
        check_fields(self)
        _check_length(self, "length", self.length)

    def __call__(self, step: int, steps: int | None) -> float:
        length = _length(self, self.length, steps)
        if step < length:
            return (step + 1) / length
        return self.then(step - length, None if steps is None else max(steps - length, 0))


@dataclass(frozen=True)
class PerStep:
    """A factory of a torch scheduler, `optimizer -> scheduler`, to be stepped after each update; made by `per_step`.

    >>> PerStep(torch.optim.lr_scheduler.ConstantLR).per_step
    True
    """

    factory: Callable[[torch.optim.Optimizer], Any]

    per_step: ClassVar[bool] = True

    def __call__(self, optimizer: torch.optim.Optimizer) -> Any:
        return self.factory(optimizer)


def per_step(factory: Callable[[torch.optim.Optimizer], Any]) -> PerStep:
    """Mark a factory of a torch scheduler to be stepped after each update; unmarked ones are stepped once an epoch.

    >>> from functools import partial
    >>> per_step(partial(torch.optim.lr_scheduler.StepLR, step_size=100)).per_step
    True
    """
    return PerStep(factory)


SCHEDULES: dict[str, type[Any]] = {
    "constant": Constant,
    "step_decay": StepDecay,
    "exponential": Exponential,
    "cosine": Cosine,
    "inverse_square_root": InverseSquareRoot,
    "noam": InverseSquareRoot,
    "warm_up": WarmUp,
}


def schedule_by_name(name: str, **options: Any) -> Schedule:
    """The schedule of that name; a `then` may itself be a name, or a table with a `kind`.

    Raises `RecipeError` for an unknown name or option, and where one is missing.

    >>> schedule_by_name("warm_up", length=0.1, then={"kind": "cosine", "floor": 0.01})
    WarmUp(length=0.1, then=Cosine(floor=0.01))
    """
    if name not in SCHEDULES:
        raise RecipeError(f"There is no schedule {name!r}.{did_you_mean(name, SCHEDULES)}")
    known = inspect.signature(SCHEDULES[name]).parameters
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known) if known else " It takes none."
            raise RecipeError(f"The schedule {name!r} has no option {option!r}.{hint}")
    for option, parameter in known.items():
        if option not in options and parameter.default is inspect.Parameter.empty:
            raise RecipeError(f"The schedule {name!r} needs {option!r}. Say for instance {option} = 0.1.")
    then = options.get("then")
    if isinstance(then, str | Mapping):
        table: Mapping[str, Any] = {"kind": then} if isinstance(then, str) else then
        inner = {key: value for key, value in table.items() if key != "kind"}
        options = options | {"then": schedule_by_name(str(table.get("kind", "")), **inner)}
    elif "then" in options and not callable(then):
        raise RecipeError(
            f"The schedule {name!r}: then is {then!r}, but it is the name of a schedule, or a table with a kind. Give "
            "for instance then = 'cosine'."
        )
    schedule: Schedule = SCHEDULES[name](**options)
    return schedule


def _length(schedule: object, length: int | float, steps: int | None) -> int:
    """A length in steps: itself, or a share of all steps, at least 1."""
    if isinstance(length, int):
        return length
    if length.is_integer():
        return int(length)
    if steps is None:
        raise _endless(schedule, f"{length!r} is a share of it", "Give a number of steps, for instance 1000")
    return max(1, round(length * steps))


def _check_length(schedule: object, name: str, length: int | float) -> None:
    whole = length >= 1 if isinstance(length, int) else length > 1 and length.is_integer()
    if whole or 0 < length < 1:
        return
    raise RecipeError(
        f"{type(schedule).__name__}: {name} is {length!r}, but it is a whole number of steps, at least 1, or a share "
        f"of the run between 0 and 1. Give for instance {name}=100 or {name}=0.1."
    )


def _check_positive(schedule: object, name: str, value: float) -> None:
    if value > 0 and math.isfinite(value):
        return
    raise RecipeError(
        f"{type(schedule).__name__}: {name} is {value!r}, but the learning rate is multiplied by it, so it must be "
        f"positive and finite. Give for instance {name}=0.1."
    )


def _endless(schedule: object, why: str, mend: str) -> RecipeError:
    return RecipeError(
        f"{type(schedule).__name__}: the length of the training is not known (a stream), and {why}. {mend}, or give "
        "the stream a length: __len__ of its IterableDataset."
    )
