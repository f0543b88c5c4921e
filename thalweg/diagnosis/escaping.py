"""Saddle escape as an arm: an optimizer that, where the training comes to rest at a saddle, steps down from it.

Near a saddle every gradient is nearly zero, and steps along it lead nowhere for a long time. There the direction in
which the surface is curved downwards most is looked for, and the weights are moved along it for as long as the loss
falls; elsewhere the optimizer is left as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from thalweg.core.description import describe_piece
from thalweg.core.errors import ThalwegError
from thalweg.core.notices import notice
from thalweg.measure import escape
from thalweg.measure.curvature.opening import surface
from thalweg.training import Recipe
from thalweg.training.minimized import Minimized, minimized

EXAMPLES = 512
"""The train examples on which the surface is looked at."""
RESTS = 0.01
"""An objective that falls by less than this share from one look to the next has come to rest."""


@dataclass(frozen=True, repr=False)
class EscapingSaddles:
    """An optimizer factory: the recipe's own optimizer, which escapes from saddles.

    >>> import thalweg
    >>> from thalweg.training.factories import build_optimizer
    >>> recipe = thalweg.cases.get("healthy")
    >>> type(build_optimizer(EscapingSaddles(recipe), recipe.model())).__name__
    'Escaping'
    """

    recipe: Recipe
    takes_model = True

    def __call__(self, model: nn.Module) -> "Escaping":
        factory = self.recipe.optimizer
        inner = factory(model) if getattr(factory, "takes_model", False) else factory(model.parameters())
        seen = minimized(self.recipe, model, EXAMPLES)
        every = max(1, (seen.of or EXAMPLES) // (self.recipe.batch_size or seen.of or EXAMPLES))
        return Escaping(inner, model, seen, every)

    def __repr__(self) -> str:
        return f"{describe_piece(self.recipe.optimizer)} that escapes from saddles"


class Escaping(torch.optim.Optimizer):
    """Steps as its inner optimizer does, and looks at the surface now and then.

    A look is due after `every` steps (an epoch), and later each time that the curvature was asked in vain. It costs one
    evaluation, and where the objective has come to rest a hundred gradients more.
    """

    def __init__(self, inner: Any, model: nn.Module, seen: Minimized, every: int) -> None:
        super().__init__(inner.param_groups, dict(inner.defaults))
        self.inner = inner
        self._share()
        self.value, self.leave = partial(value_of, model, seen), partial(left, model, seen)
        self.every, self.taken, self.due = every, 0, 0
        self.before = float("inf")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the inner optimizer, before it a look where one is due."""
        if self.taken >= self.due:
            self._look()
        self.taken += 1
        return self.inner.step() if closure is None else self.inner.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizer's state; what this one counts are plain attributes."""
        return dict(self.inner.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state."""
        self.inner.load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        self.param_groups, self.state = self.inner.param_groups, self.inner.state

    def _look(self) -> None:
        now = self.value()
        rests = not self.before - now > RESTS * abs(now) or not self.taken
        moved = rests and self.leave()
        self.before = self.value() if moved else now
        if rests and not moved:
            self.every *= 2
        self.due = self.taken + self.every


def value_of(model: nn.Module, seen: Minimized) -> float:
    """The objective at the model's weights, in evaluation mode; infinite where it is not finite."""
    try:
        with torch.enable_grad(), surface(model, seen.objective, seen.batches, **seen.restraints) as at:
            return at.value()
    except ThalwegError:
        return float("inf")


def left(model: nn.Module, seen: Minimized) -> bool:
    """Whether the model stood at a saddle, and was moved off it."""
    try:
        with torch.enable_grad():
            done = escape(model, seen.objective, seen.batches, **seen.restraints)
    except ThalwegError as error:
        notice(f"The surface cannot be looked at for a way down: {error}")
        return False
    return done.moved
