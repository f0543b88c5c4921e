"""What an own loop does otherwise than the library's: its steps watched, each beside the gradient of its own batch.

At each step of the optimizer the gradient that the loop has left in place (clipped, scaled, added up) is compared with
the gradient of the batch last drawn, taken anew at the same weights. A ratio of their lengths that is not 1, a length
that is the same at each step, another direction, a rate that the recipe does not set, batches without a step and
weights that move between steps each say one thing that the loop does beside zero_grad, forward, backward and step.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite, nan
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thalweg.core.nest import Nest
from thalweg.core.randomness import seed_everything, untouched
from thalweg.measure.propagation import kept_as_it_is
from thalweg.training import Recipe, Run
from thalweg.training.build import Training, prepare
from thalweg.training.loop import batches
from thalweg.training.own_loop import run_own_loop
from thalweg.training.tally import RunningMean

MOST, FEWEST = 40, 3
"""So many first steps of an epoch are compared at most; from fewer nothing is said."""
ALIKE, SAME = 0.05, 0.01
"""Spreads, as a share, up to which ratios are one ratio, and lengths one length."""
SHORTER = 3.0
"""Gradients so many times shorter, or longer, than those of their batches are another training."""
ASIDE = 0.7
"""A gradient at a smaller cosine to that of its batch is not of this batch alone."""
BESIDE = 0.01
"""What weights move between steps, as a share of what a step moves them."""


class Difference(NamedTuple):
    """What a loop does otherwise, with its numbers, and what to change."""

    says: str
    mend: str


class Step(NamedTuple):
    """A step: the gradient in place beside that of the batch, the largest entry of it, and how weights moved."""

    length: float
    own: float
    cosine: float
    entry: float
    moved: float = nan


@dataclass
class Steps:
    """The optimizer's steps in one epoch of a loop, as they come."""

    training: Training
    batch: Nest = None
    drawn: int = 0
    taken: int = 0
    rates: list[tuple[float, float]] = field(default_factory=list)
    """The rate of a step, and the one that the recipe sets for it."""
    compared: list[Step] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    """How far weights have moved between a step and the next batch, as a share of the step."""
    before: Tensor | None = None
    after: Tensor | None = None
    first: float = field(init=False)

    def __post_init__(self) -> None:
        self.first = self._rate()

    def batches(self) -> Iterator[Nest]:
        """The batches of an epoch, each noted as it is drawn."""
        for batch in batches(self.training, 1):
            if self.before is not None and self.after is not None:
                step = float((self.after - self.before).norm())
                self.beside += [float((self._weights() - self.after).norm()) / step] if step > 0 else []
            self.batch, self.before, self.after = batch, None, None
            self.drawn += 1
            yield batch

    def pre_step(self, *_: Any) -> None:
        """The optimizer is about to step."""
        self.taken += 1
        meant = self.first if self.training.recipe.schedule is None else self.training.rate.used
        self.rates.append((self._rate(), meant))
        if len(self.compared) < MOST and self.batch is not None and (step := self._compared()) is not None:
            self.compared.append(step)
            self.before = self._weights()

    def post_step(self, *_: Any) -> None:
        """The optimizer has stepped."""
        self.after = self._weights() if self.before is not None else None

    def _rate(self) -> float:
        return float(self.training.optimizer.param_groups[0]["lr"])

    def _weights(self) -> Tensor:
        weights = self.training.model.parameters()
        return torch.cat([weight.detach().reshape(-1).float() for weight in weights if weight.requires_grad])

    def _compared(self) -> Step | None:
        weights = [weight for weight in self.training.model.parameters() if weight.requires_grad]
        own = _flat([weight.grad for weight in weights], weights)
        with untouched(), torch.enable_grad(), kept_as_it_is(self.training.model):
            minimized, _ = self.training.step(self.batch, self.training.moment)
            gradient = _flat(torch.autograd.grad(minimized, weights, allow_unused=True), weights)
        lengths = float(own.norm()), float(gradient.norm())
        if not all(map(isfinite, lengths)):
            return None
        both = lengths[0] * lengths[1]
        return Step(*lengths, float(own @ gradient) / both if both > 0 else nan, float(own.abs().max()))


def _flat(gradients: Any, weights: list[Any]) -> Tensor:
    return torch.cat(
        [
            torch.zeros(weight.numel()) if gradient is None else gradient.detach().to_dense().reshape(-1).float().cpu()
            for gradient, weight in zip(gradients, weights, strict=True)
        ]
    )


def loop_differences(recipe: Recipe, device: torch.device, run: Run | None = None) -> tuple[Difference, ...]:
    """What the own loop of a recipe does otherwise than the library's, as far as an epoch of it shows, and its run.

    >>> from torch import nn
    >>> from thalweg.core.source import Splits
    >>> def clipping(model, optimizer, batches, objective):
    ...     for x, y in batches:
    ...         optimizer.zero_grad()
    ...         objective(model(x), y).backward()
    ...         nn.utils.clip_grad_norm_(model.parameters(), 1e-4)
    ...         optimizer.step()
    >>> x = torch.linspace(-1, 1, 40)[:, None]
    >>> data, model = Splits(train=(x, 9 * x)), lambda: nn.Linear(1, 1)
    >>> recipe = Recipe(data=data, model=model, objective=nn.MSELoss(), batch_size=8, loop=clipping)
    >>> [seen.mend for seen in loop_differences(recipe, torch.device("cpu"))]
    ['Clip gradients to about their usual length, or not at all']

    Nothing is said of a loop without an optimizer that takes hooks, and of one that fails.
    """
    if recipe.loop is None:
        return ()
    try:
        with untouched():
            training = prepare(recipe.but(stopping=None, metrics={}, compile=False, channels_last=False), device)
            seen = Steps(training)
            handles = [
                training.optimizer.register_step_pre_hook(seen.pre_step),
                training.optimizer.register_step_post_hook(seen.post_step),
            ]
            try:
                seed_everything(recipe.seed, "noise", 1)
                run_own_loop(training, 1, seen.batches(), RunningMean(device))
            finally:
                for handle in handles:
                    handle.remove()
    except Exception:  # a user's own code, which the diagnosed run has met already
        return ()
    return (*_of_gradients(seen.compared), *_of_steps(seen), *_of_rates(seen, run))


def _of_gradients(steps: list[Step]) -> Iterator[Difference]:
    """Gradients that are clipped, scaled, or not those of their batches."""
    if len(steps) < FEWEST or not all(step.length > 0 and step.own > 0 for step in steps):
        return
    length, own = median(step.length for step in steps), median(step.own for step in steps)
    ratios = [step.length / step.own for step in steps]
    usual = f"those of the batches are about {own:.3g} long"
    if _spread([step.length for step in steps]) < SAME and own > SHORTER * length:
        yield Difference(
            f"at each step the gradient is clipped to length {length:.3g}, where {usual}",
            "Clip gradients to about their usual length, or not at all",
        )
    elif _spread([step.entry for step in steps]) < SAME and own > SHORTER * length:
        yield Difference(
            f"no entry of a gradient is larger than {steps[0].entry:.3g}, which makes it about {length:.3g} long, "
            f"where {usual}",
            "Clip the entries of gradients at a larger value, or not at all",
        )
    elif _spread(ratios) < ALIKE and not 1 / SHORTER < median(ratios) < SHORTER:
        yield Difference(
            f"at each step the gradient is {median(ratios):.3g} times that of its batch",
            "Look for a factor on the loss or on the gradients: a division by a count, a scaler that is not undone",
        )
    elif median(step.cosine for step in steps[1:]) < ASIDE:
        cosine = median(step.cosine for step in steps[1:])
        yield Difference(
            f"at a step the gradient is not that of the batch last drawn (cosine {cosine:.2g})",
            "Clear the gradients before each backward pass, and step once for each batch",
        )


def _of_steps(seen: Steps) -> Iterator[Difference]:
    """Batches without a step, and weights that move beside the steps."""
    if seen.drawn >= FEWEST and seen.taken < (1 - ALIKE) * seen.drawn - 1:
        yield Difference(
            f"of {seen.drawn} batches {seen.taken} are followed by a step",
            "Step for each batch, or take so few steps on purpose and give the learning rate that belongs to them",
        )
    if len(seen.beside) >= FEWEST and median(seen.beside) > BESIDE:
        yield Difference(
            f"between a step and the next batch the weights move by {median(seen.beside):.2g} of what the step moved "
            "them",
            "Look for what writes to the weights beside optimizer.step()",
        )


def _of_rates(seen: Steps, run: Run | None) -> Iterator[Difference]:
    """A rate that the recipe does not set, within the epoch or along the run."""
    other = [(rate, meant) for rate, meant in seen.rates if abs(rate - meant) > SAME * abs(meant)]
    rates = [row["learning_rate"] for row in run.history if row.get("learning_rate") is not None] if run else []
    mend = "Leave the learning rate to the recipe, as optimizer and schedule set it, or count the scheduler's steps"
    if other:
        rate, meant = min(other)
        yield Difference(f"the learning rate of a step is {rate:.3g}, where the recipe has {meant:.3g}", mend)
    elif seen.training.recipe.schedule is None and rates and _spread(rates) > SAME:
        yield Difference(f"the learning rate goes from {rates[0]:.3g} to {rates[-1]:.3g} along the run", mend)


def _spread(values: list[float]) -> float:
    middle = median(values)
    return (max(values) - min(values)) / abs(middle) if middle else float(max(values) != min(values))
