"""The recipe: all that a run depends on, as a frozen value.

Each piece is a factory (a callable with its arguments bound), so that a recipe can be trained twice, two recipes can
differ in one field, and the difference can be printed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from thalweg.core.description import describe_piece, differences
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.core.fingerprint import UNKNOWN, fingerprint
from thalweg.core.signature import required_arguments
from thalweg.core.source import Splits
from thalweg.training.precision import PRECISIONS

COUNTS = ("seed", "epochs", "batch_size")
"""The fields that a recipe read from a file can change and still be read from that file again."""


@no_type_check
@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe:
    """What is trained, on what, how, and from which seed.

    - `data`: `Splits`. `model`: a factory of an `nn.Module`. `objective`: a loss `(output, target) -> scalar`, or a
      function marked with `@thalweg.objective`. `optimizer`: a factory `parameters -> Optimizer`.
    - `schedule`: `(step, steps) -> multiplier` of the learning rate, or a factory `optimizer -> torch scheduler`, which
      is stepped once an epoch. `stopping`: a rule `history -> bool`, such as `EarlyStopping(patience=5)`.
    - `accumulate` batches make one step, each counted by its examples; `clip_norm` is the largest length of its
      gradient; `average` a running average of the weights, `EMA(0.999)` or `SWA()` of `thalweg.optim`, which is judged
      and kept in place of the last weights; `precision` float32, bfloat16, or auto: bfloat16 where a GPU computes it;
      `compile` makes a step one graph (True, or "auto": where the run is long enough to pay for it);
      `channels_last` lays images out so for convolutions (True, or "auto": where a few steps are faster so).
    - `batch_size=None` is the whole split at once. `penalty(model)` is added to what is minimized. `judge` (default:
      the objective without label smoothing) and `metrics` give the numbers that are compared. `collate` makes a batch
      of a list of examples. `loop(model, optimizer, batches, objective)` replaces our own loop, once an epoch.

    >>> recipe = Recipe(
    ...     data=Splits(train=(torch.ones(5, 3), torch.ones(5, 1))),
    ...     model=lambda: nn.Linear(3, 1),
    ...     objective=nn.MSELoss(),
    ...     optimizer=partial(torch.optim.SGD, lr=0.1),
    ... )
    >>> recipe.difference(recipe.but(optimizer=partial(torch.optim.SGD, lr=0.2), epochs=7))
    ['sgd.lr 0.1 -> 0.2', 'epochs 20 -> 7']

    Raises `RecipeError` for values that cannot be trained, each with the mend: an instance where a factory is due, a
    batch size below 1, an unknown field.
    """

    data: Splits
    model: Callable[[], nn.Module]
    objective: Any
    optimizer: Callable[..., Any] = partial(torch.optim.Adam, lr=1e-3)
    schedule: Callable[..., Any] | None = None
    batch_size: int | None = 32
    epochs: int = 20
    seed: int = 0
    penalty: Callable[[nn.Module], torch.Tensor] | None = None
    judge: Any = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    collate: Callable[[list[Any]], Any] | None = None
    loop: Callable[..., None] | None = None
    stopping: Callable[[list[dict[str, Any]]], bool] | None = None
    clip_norm: float | None = None
    accumulate: int = 1
    average: Callable[[nn.Module], Any] | None = None
    precision: str = "float32"
    compile: bool | str = False
    channels_last: bool | str = False
    origin: Mapping[str, Any] | None = field(default=None, repr=False)

    def __new__(cls, *unnamed: Any, **given: Any) -> "Recipe":
        """Refuse a field that is unknown, unnamed or missing, which Python's own errors do without a mend."""
        if unnamed:
            raise RecipeError(
                f"Recipe was given {describe_piece(unnamed[0])} without a name. Say which field it is: "
                "Recipe(data=..., model=..., objective=...)."
            )
        known = [item.name for item in fields(cls)]
        for name in given:
            if name not in known:
                raise RecipeError(f"A recipe has no field '{name}'." + did_you_mean(name, known))
        for name in ("data", "model", "objective"):
            if given and name not in given:  # a copy is made with none
                raise RecipeError(f"A recipe needs {name}. {_EXPECTED[name]}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name in COUNTS:
            if isinstance(getattr(self, name), np.integer):  # as np.arange gives seeds
                object.__setattr__(self, name, int(getattr(self, name)))
        _check_data(self.data)
        _check_factories(self)
        check_counts(**{name: getattr(self, name) for name in COUNTS})
        check_step(self.clip_norm, self.accumulate, self.precision, self.compile, self.channels_last)
        _check_own_loop(self)
        if not isinstance(self.metrics, Mapping) or not all(isinstance(name, str) for name in self.metrics):
            raise RecipeError(
                f"metrics={describe_piece(self.metrics)} is no dict of names and metrics. Give each a name: "
                "{'accuracy': accuracy}."
            )
        if "loss" in self.metrics:
            raise RecipeError("A metric is called 'loss', as what the judge gives is. Give the metric another name.")

    def but(self, **changes: Any) -> "Recipe":
        """The same recipe with some fields changed.

        >>> Recipe(data=Splits(train=([1.0], [1.0])), model=nn.Flatten, objective=nn.MSELoss()).but(sed=1)
        Traceback (most recent call last):
        thalweg.core.errors.RecipeError: A recipe has no field 'sed'. Did you mean 'seed'?
        """
        known = [item.name for item in fields(self)]
        for name in changes:
            if name not in known:
                raise RecipeError(f"A recipe has no field '{name}'." + did_you_mean(name, known))
        if self.origin is not None and "origin" not in changes and not set(changes) <= set(COUNTS):
            changes["origin"] = None
        return replace(self, **changes)

    def difference(self, other: "Recipe") -> list[str]:
        """How this recipe differs from another, a line for each difference."""
        if not isinstance(other, Recipe):
            raise RecipeError(f"A recipe was compared with {type(other).__name__}, but it is compared with a recipe.")
        return [
            line
            for item in fields(self)
            if item.name != "origin"
            for line in differences(item.name, getattr(self, item.name), getattr(other, item.name))
        ]

    def fingerprint(self) -> str:
        """A short hash over all fields, equal for recipes that give the same run; a `~` behind it says that some field
        could not be compared.
        """
        parts = [(item.name, fingerprint(getattr(self, item.name))) for item in fields(self) if item.repr]
        return fingerprint(parts) + ("~" if UNKNOWN in dict(parts).values() else "")

    def describe(self) -> dict[str, str]:
        """Each field in a few words, as it is kept in the run folder."""
        return {item.name: describe_piece(getattr(self, item.name)) for item in fields(self) if item.repr}


def _check_data(data: Any) -> None:
    if not isinstance(data, Splits):
        raise RecipeError(
            f"data is {describe_piece(type(data))}, not Splits. Give the splits by name: data=thalweg.Splits(train=(x, "
            "y), validation=(x2, y2))."
        )


def _check_factories(recipe: Recipe) -> None:
    if isinstance(recipe.model, nn.Module):
        name = type(recipe.model).__name__
        raise RecipeError(
            f"model is an instance of {name}, but a recipe can be trained many times and needs a new model each time. "
            f"Give a factory: model=lambda: {name}(...)."
        )
    if isinstance(recipe.optimizer, torch.optim.Optimizer):
        name = type(recipe.optimizer).__name__
        raise RecipeError(
            f"optimizer is an instance of {name}, bound to the parameters of one model. Give a factory: "
            f"optimizer=functools.partial(torch.optim.{name}, lr=...)."
        )
    for name, meant in (
        ("objective", "a loss"),
        ("judge", "a loss"),
        ("penalty", "a penalty"),
        ("stopping", "a rule"),
        ("average", "an average"),
    ):
        value = getattr(recipe, name)
        if isinstance(value, type):
            raise RecipeError(f"{name} is the class {value.__name__}, not {meant}. Make one: {value.__name__}(...).")
    optional = ("schedule", "penalty", "judge", "collate", "loop", "stopping", "average")
    for name in ("model", "objective", "optimizer", *optional):
        value = getattr(recipe, name)
        if not callable(value) and not (value is None and name in optional):
            raise RecipeError(f"{name}={value!r} cannot be called. {_EXPECTED[name]}")

    for name in ("penalty", "collate", "stopping"):
        count = 0 if (value := getattr(recipe, name)) is None else required_arguments(value)
        if count > 1:
            raise RecipeError(f"{name}={describe_piece(value)} asks for {count} arguments. {_EXPECTED[name]}")


_EXPECTED = {
    "data": "Give the splits: data=thalweg.Splits(train=(x, y), validation=(x2, y2)).",
    "model": "Give a factory of a model: model=lambda: Net(...).",
    "objective": "Give a loss (output, target) -> scalar, such as nn.CrossEntropyLoss().",
    "optimizer": "Give a factory: optimizer=functools.partial(torch.optim.Adam, lr=1e-3).",
    "schedule": "Give a function (step, steps) -> multiplier, or a factory optimizer -> scheduler.",
    "penalty": "Give a function of the model that returns a scalar tensor.",
    "judge": "Give a loss (output, target) -> scalar, or a function marked with @thalweg.objective.",
    "collate": "Give a function from a list of examples to a batch.",
    "loop": "Give a function (model, optimizer, batches, objective) that trains one epoch.",
    "average": "Give a factory of an average: average=thalweg.optim.EMA(0.999).",
    "stopping": "Give a rule history -> bool, such as thalweg.EarlyStopping(patience=5).",
}


def check_counts(*, batch_size: Any, epochs: Any, seed: Any) -> None:
    """Refuse counts that are no whole numbers, or too small."""
    for name, value, least in (("batch_size", batch_size, 1), ("epochs", epochs, 0)):
        if value is None and name == "batch_size":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            hint = ", or None for the whole split at once" if name == "batch_size" else ""
            raise RecipeError(f"{name}={value!r}, but it is a whole number of at least {least}{hint}.")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise RecipeError(f"seed={seed!r}, but a seed is a whole number, such as 0.")


def check_step(clip_norm: Any, accumulate: Any, precision: Any, compile: Any, channels_last: Any) -> None:
    """Refuse what cannot shape a step."""
    number = isinstance(clip_norm, int | float) and not isinstance(clip_norm, bool)
    if clip_norm is not None and not (number and clip_norm > 0):
        raise RecipeError(f"clip_norm={clip_norm!r}, but the largest norm of a gradient is a number above 0, or None.")
    if not isinstance(accumulate, int) or isinstance(accumulate, bool) or accumulate < 1:
        raise RecipeError(f"accumulate={accumulate!r}, but it is a whole number of batches, at least 1.")
    if precision not in PRECISIONS:
        raise RecipeError(f"precision={precision!r}, but it is one of {', '.join(PRECISIONS)}.")
    if compile not in (True, False, "auto"):
        raise RecipeError(f"compile={compile!r}, but it is True, False, or 'auto': where the run is long enough.")
    if channels_last not in (True, False, "auto"):
        raise RecipeError(f"channels_last={channels_last!r}, but it is True, False, or 'auto': where it is faster.")


def _check_own_loop(recipe: Recipe) -> None:
    """Refuse what shapes a step where the step is a loop's own."""
    shaped = {"clip_norm": recipe.clip_norm, "average": recipe.average}
    given = [name for name, value in shaped.items() if value is not None] + ["accumulate"] * (recipe.accumulate > 1)
    if recipe.loop is not None and given:
        raise RecipeError(
            f"{', '.join(given)} cannot reach into your own loop, which takes its steps itself: do it there."
        )
