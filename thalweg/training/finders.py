r"""Finders: which learning rate, and how large a batch. Both work on a training of their own and leave no trace.

The range test (Smith 2017) takes steps while the rate rises geometrically from step to step,

$$ \eta_k = \eta_0 (\eta_1 / \eta_0)^{k / (n - 1)}, $$

and looks at the loss of each batch: it stands still where the rate is too low, falls, and rises where it is too high.
"""

from dataclasses import dataclass
from math import isfinite, log
from typing import Any

import numpy as np
import torch

from thalweg.core.device import available, resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.nest import to_device
from thalweg.core.randomness import generator, untouched
from thalweg.core.source import Batched, Indexed, Splits
from thalweg.core.threads import fitting_threads
from thalweg.training.build import Training, prepare
from thalweg.training.loop import steps
from thalweg.training.memory import TRIES, goes_through, largest_between, saved_bytes
from thalweg.training.recipe import Recipe
from thalweg.training.tally import RunningMean

REACH = 3
"""A loss is smoothed over so many steps before and behind it, the nearer the more: a mean of the past would lag."""
TOO_HIGH = 4.0
"""The test ends where the loss of the last steps is so many times the lowest before them."""
MARGIN = 0.8
"""The share of the memory that is free which a batch may fill."""


@dataclass(frozen=True)
class RangeTest:
    """The rates that were tried and the smoothed loss at each; `suggestion` is the rate at which it fell fastest.

    `best` is the rate of the lowest loss, at which training is already at the edge of what it stands.
    """

    rates: list[float]
    losses: list[float]
    suggestion: float
    best: float

    def plot(self, ax: Any = None) -> Any:
        """Draw loss against rate, and the suggestion; gives the axes."""
        if ax is None:
            from matplotlib.figure import Figure

            ax = Figure(layout="constrained").add_subplot()
        ax.plot(self.rates, self.losses)
        ax.axvline(self.suggestion, linestyle="--", label=f"falls fastest at {self.suggestion:.2g}")
        ax.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss of a batch")
        ax.legend()
        return ax


@no_type_check
def find_learning_rate(
    recipe: Recipe,
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    count: int = 100,
    device: str | torch.device = "auto",
) -> RangeTest:
    """Try `count` learning rates from `lowest` to `highest`, a step at each, on a model of its own.

    The recipe's optimizer is used, its groups in their own proportions; its schedule, which would change the rates, is
    not.

    >>> import thalweg
    >>> from torch import nn
    >>> x = torch.linspace(-1, 1, 64)[:, None]
    >>> recipe = thalweg.Recipe(
    ...     data=thalweg.Splits(train=(x, 2 * x)), model=lambda: nn.Linear(1, 1), objective=nn.MSELoss(),
    ...     optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1), batch_size=16,
    ... )
    >>> test = thalweg.find_learning_rate(recipe)
    >>> 0.01 < test.suggestion < test.best < 3
    True

    Raises `RecipeError` for rates that do not rise, fewer than 10 steps, and a recipe with a loop of its own.
    """
    if not isinstance(recipe, Recipe):
        raise RecipeError(
            f"find_learning_rate was given {type(recipe).__name__}, but it tries rates of a thalweg.Recipe."
        )
    if not 0 < lowest < highest:
        raise RecipeError(
            f"lowest={lowest!r} and highest={highest!r}, but rates rise from one above 0 to a higher one."
        )
    if not isinstance(count, int) or count < 10:
        raise RecipeError(f"count={count!r}, but a loss that falls and rises takes at least 10 steps to be seen.")
    if recipe.loop is not None:
        raise RecipeError(
            "The recipe has a loop of its own, which takes its steps itself: no rate can be set for each."
        )
    with untouched():
        training = _alone(recipe, device)
        with fitting_threads(training.work):
            return _tested(training, np.geomspace(lowest, highest, count).tolist())


def _alone(recipe: Recipe, device: str | torch.device) -> Training:
    """A training of the recipe's train split alone, whose rates nothing else changes."""
    plain = recipe.but(data=Splits(train=recipe.data.train), schedule=None, stopping=None, metrics={}, compile=False)
    return prepare(plain, resolve_device(device))


def _tested(training: Training, rates: list[float]) -> RangeTest:
    groups = training.optimizer.param_groups
    first = float(groups[0]["lr"]) or 1.0
    shares = [float(group["lr"]) / first for group in groups]
    seen: list[float] = []
    epoch = 0

    def use(rate: float) -> None:
        for group, share in zip(groups, shares, strict=True):
            group["lr"] = rate * share

    use(rates[0])
    while len(seen) < len(rates):
        epoch += 1
        training.position.batch = 0
        for loss, _ in steps(training, epoch, RunningMean(training.device)):
            if not isfinite(value := loss.item()):
                return _read(rates, seen)
            seen.append(value)
            if len(seen) == len(rates) or _too_high(seen):
                return _read(rates, seen)
            use(rates[len(seen)])
    return _read(rates, seen)


def _too_high(seen: list[float]) -> bool:
    smoothed = _smoothed(seen)
    return len(seen) > 3 * REACH and smoothed[-1] > TOO_HIGH * max(abs(min(smoothed)), 1e-3 * abs(smoothed[0]))


def _smoothed(values: list[float]) -> list[float]:
    """The mean around each value, in a triangle that is cut off at both ends."""
    window = np.concatenate([np.arange(1, REACH + 2), np.arange(REACH, 0, -1)]).astype(float)
    inside = np.convolve(np.ones(len(values)), window)[REACH:-REACH]
    smoothed: list[float] = (np.convolve(values, window)[REACH:-REACH] / inside).tolist()
    return smoothed


def _read(rates: list[float], seen: list[float]) -> RangeTest:
    """Where the loss is lowest, and where it fell fastest on the way there."""
    losses = _smoothed(seen) if seen else []
    if len(losses) < 2:
        raise RecipeError(
            f"The loss is not finite at the rate {rates[0]:g} already. Begin lower, lowest={rates[0] / 100:g}, or look "
            "at the data: numbers of very different sizes are standardized first."
        )
    best = int(np.argmin(losses))
    slopes = np.gradient(losses, [log(rate) for rate in rates[: len(losses)]])
    fastest = int(np.argmin(slopes[: max(best, 1)]))
    return RangeTest(rates[: len(losses)], losses, rates[fastest], rates[best])


@no_type_check
def largest_batch_size(recipe: Recipe, *, device: str | torch.device = "auto") -> int:
    """The most examples that go through a step in the memory that is free, at most those that there are.

    On a GPU sizes are tried out. The memory of a CPU is not: a process that asks for too much is killed. There it is
    reckoned from what a forward pass of two sizes keeps for the backward pass, and four fifths of what is free may be
    filled.

    >>> import thalweg
    >>> from torch import nn
    >>> recipe = thalweg.Recipe(
    ...     data=thalweg.Splits(train=(torch.ones(50, 3), torch.ones(50, 1))), model=lambda: nn.Linear(3, 1),
    ...     objective=nn.MSELoss(),
    ... )
    >>> thalweg.largest_batch_size(recipe)
    50

    Raises `RecipeError` for a split that is a stream, or one batch.
    """
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"largest_batch_size was given {type(recipe).__name__}, but it looks at a thalweg.Recipe.")
    with untouched():
        training = _alone(recipe.but(batch_size=recipe.batch_size or 1), device)
        source = training.source
        if not isinstance(source, Indexed):
            raise RecipeError("The train split is a stream, whose examples cannot be put together. Try sizes by hand.")
        if not isinstance(source, Batched):
            raise RecipeError(
                "The train split is one batch, as a graph is: there is no size to look for. Leave batch_size at None."
            )
        if training.device.type == "cpu":
            return _reckoned(training, source)
        return _tried(training, source)


def _reckoned(training: Training, source: Indexed) -> int:
    small, large = (min(len(source), size) for size in (8, 32))
    used = [saved_bytes(training, _of_size(training, source, size)) for size in (small, large)]
    if large == small:
        return len(source)
    each = max((used[1] - used[0]) / (large - small), 1.0)
    return max(1, min(len(source), int((MARGIN * available() - used[0]) / each) + small))


def _tried(training: Training, source: Indexed) -> int:
    """Twice as many each time until they do not fit, then halfway between what fits and what does not."""

    def goes(size: int) -> bool:
        return goes_through(training, _of_size(training, source, size))

    fits, size = 0, min(2, len(source))
    while goes(size):
        if size == len(source):
            return size
        fits, size = size, min(2 * size, len(source))
    return largest_between(fits, size, goes, tries=4 * TRIES)


def _of_size(training: Training, source: Any, size: int) -> Any:
    part = source.take(np.arange(size)).batched(None)
    return to_device(next(part.batches(1, 0, generator(0, "trial"))), training.device)
