"""How long a training takes, told from a few steps before it is paid for."""

from time import perf_counter
from typing import Any

import torch

from thalweg.core.nest import Nest, count_examples, to_device
from thalweg.core.objective import Moment
from thalweg.core.randomness import generator, untouched
from thalweg.core.step import Step
from thalweg.training import Recipe

STEPS = 3
LONG = 0.5
"""A first step that takes this many seconds is timed no further."""


class Pace:
    """Seconds of one training of a recipe and of its variations: timed steps, corrected by the first run that is done.

    seconds = step time * examples * epochs / examples of a batch
    """

    def __init__(self, recipe: Recipe, batch: Nest, examples: int, device: torch.device) -> None:
        self.recipe, self.batch, self.device = recipe, batch, device
        self.examples, self.in_batch = examples, count_examples(batch)
        self.correction = 1.0
        self._steps: dict[int, tuple[Any, float | None]] = {}

    def learn(self, seconds: float) -> None:
        """Believe what the recipe's own training took."""
        self.correction = 1.0
        told = self.seconds(self.recipe, self.examples)
        self.correction = seconds / told if told else 1.0

    def seconds(self, recipe: Recipe, examples: int) -> float | None:
        """What one training takes; None where its steps cannot be timed."""
        step = self._step_seconds(recipe)
        return None if step is None else self.correction * step * recipe.epochs * examples / self.in_batch

    def _step_seconds(self, recipe: Recipe) -> float | None:
        known = self._steps.get(id(recipe.model))
        if known is None:
            known = recipe.model, timed_step(recipe, self.batch, self.device)
            self._steps[id(recipe.model)] = known
        return known[1]


def timed_step(recipe: Recipe, batch: Nest, device: torch.device) -> float | None:
    """Seconds of one forward and backward pass of a new model, the fastest of a few; None where it fails.

    The caller's random streams are left as they were.
    """
    best = None
    with untouched():
        try:
            step = Step(recipe.model(), recipe.objective).to(device).train()
            own = generator(recipe.seed, "pace", device=device)
            batch, moment = to_device(batch, device), Moment(training=True, generator=own)
            for _ in range(1 + STEPS):
                started = perf_counter()
                step(batch, moment)[0].backward()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                taken = perf_counter() - started
                best = taken if best is None else min(best, taken)
                if taken > LONG:
                    break
        except Exception:  # a user's own code, and only an estimate
            return None
    return best
