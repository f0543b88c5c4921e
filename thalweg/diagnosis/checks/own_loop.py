"""A user's own training loop, run on a copy for a few small batches, and watched: what it calls, and when.

Watched are the batches drawn, the losses asked for, the beginning of each backward pass, and the optimizer's steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.nest import Nest, leaves, map_tensors
from thalweg.core.objective import PlainLoss
from thalweg.core.randomness import generator, seed_everything
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.examined import Examined, asking
from thalweg.diagnosis.checks.moves import trainee
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.training.build import Training
from thalweg.training.own_loop import run_own_loop
from thalweg.training.tally import RunningMean

BATCHES, EXAMPLES = 40, 8
"""The batches of the watched epoch, fewer where an epoch has fewer, and the examples that are left of each."""
MOSTLY = 0.8
"""What happens in so large a share of the steps is what the loop does."""


@dataclass
class Watched:
    """What a loop did."""

    training: Training
    drawn: int = 0
    batch: Nest = None
    earlier: list[Nest] = field(default_factory=list)
    asked: int = 0
    backward: int = 0
    on_batches: set[int] = field(default_factory=set)
    evaluating: int = 0
    stale: int = 0
    strange: int = 0
    steps: int = 0
    empty: int = 0
    stepped: bool = False
    moved: bool = False

    def batches(self, given: list[Nest]) -> Iterator[Nest]:
        """The batches, counted as they are drawn."""
        for batch in given:
            if self.batch is not None:
                self.earlier.append(self.batch)
            self.batch = map_tensors(torch.clone, batch)
            self.drawn += 1
            yield batch

    def loss(self, loss: Any, output: Any, target: Any) -> Any:
        """The recipe's loss, which says when its gradient is asked for."""
        value = loss(output, target)
        self.asked += 1
        mode, place, strange = self.training.model.training, self.drawn, self._strange(target)
        if isinstance(value, Tensor) and value.requires_grad:
            value.register_hook(lambda _: self._begins(mode, place, strange))
        return value

    def _begins(self, mode: bool, place: int, strange: bool) -> None:
        self.backward += 1
        self.on_batches.add(place)
        self.evaluating += not mode
        self.strange += strange
        if self.stepped:
            self.stale += _has_gradient(self.training.model)
            self.stepped = False

    def step(self, own: Any, *given: Any, **named: Any) -> Any:
        """The optimizer's step, which notes whether there was a gradient."""
        closure = bool(given) or "closure" in named
        self.steps += 1
        self.empty += not closure and not _has_gradient(self.training.model)
        answer = own(*given, **named)
        self.stepped = True
        return answer

    def _strange(self, target: Any) -> bool:
        """Whether the targets are those of an earlier batch, and not of this one."""
        if not isinstance(target, Tensor) or not isinstance(self.batch, tuple | list) or len(self.batch) != 2:
            return False
        return not _same(target, self.batch[1]) and any(_same(target, batch[1]) for batch in self.earlier)


def loop_flaws(e: Examined) -> list[Flaw]:
    """What a loop forgets: the step, the gradient of the step before, the mode, all batches but the first."""
    if e.recipe.loop is None or e.whole or e.steps_within(10) < 4:
        return []
    given = _batches(e)
    if not given:
        return []
    training = trainee(e, given)
    watched = Watched(training)
    before = [weight.detach().clone() for weight in training.model.parameters()]
    if isinstance(form := training.step.objective, PlainLoss):
        inner = form.loss
        training.step.objective = form.around(lambda output, target: watched.loss(inner, output, target))
    own = training.optimizer.step
    training.optimizer.step = lambda *args, **named: watched.step(own, *args, **named)
    seed_everything(e.recipe.seed, "noise", 1)
    with asking(), torch.enable_grad():
        run_own_loop(training, 1, watched.batches(given), RunningMean(e.device))
    weights = list(training.model.parameters())
    watched.moved = len(weights) != len(before) or any(
        not torch.equal(a, b) for a, b in zip(weights, before, strict=True)
    )
    return list(_said(watched, len(given), training.model))


def _batches(e: Examined) -> list[Nest]:
    drawn = e.source.batches(1, 0, generator(e.recipe.seed, "order", 1))
    given = []
    with asking():
        for batch, _ in zip(drawn, range(min(BATCHES, e.steps_within(BATCHES))), strict=False):
            given.append(e.rows(_on(batch, e.device), EXAMPLES))
    return given


def _on(batch: Nest, device: torch.device) -> Nest:
    return map_tensors(lambda leaf: leaf.to(device), batch)


def _said(seen: Watched, given: int, model: nn.Module) -> Iterator[Flaw]:
    if not seen.moved:
        yield _still(seen, given)
        return
    if seen.backward >= 3 and seen.steps >= 3:
        if seen.stale >= MOSTLY * (seen.steps - 1):
            yield Flaw(
                Cause.WIRING,
                Mechanism.GRADIENTS_NOT_CLEARED,
                f"{seen.stale} of {seen.steps - 1} backward passes that follow a step add to the gradient of the "
                "step before",
                seen.stale / (seen.steps - 1),
                "no gradient left when a backward pass begins after a step",
                "Call optimizer.zero_grad() once for each step, before backward",
                "gradients that are None or 0 where backward begins",
            )
        if seen.empty >= MOSTLY * seen.steps:
            yield _cleared(seen)
    if given >= 3 and len(seen.on_batches) == 1 and seen.backward:
        yield Flaw(
            Cause.WIRING,
            Mechanism.ONLY_ONE_BATCH_OF_AN_EPOCH,
            f"Of {given} batches of an epoch the loop draws {seen.drawn} and learns from one",
            float(len(seen.on_batches)),
            "every batch of the epoch",
            "Look for a return or break inside of the for, or for next(iter(batches))",
            "a gradient asked for on other batches",
        )
    if seen.backward and seen.evaluating >= MOSTLY * seen.backward and (acting := _acting(model)):
        yield Flaw(
            Cause.WIRING,
            Mechanism.EVALUATION_MODE_IN_TRAINING,
            f"The model is in evaluation mode in {seen.evaluating} of {seen.backward} steps, so that {acting} "
            "does not train as it is meant to",
            seen.evaluating / seen.backward,
            "training mode in every step",
            "Call model.train() before the batches, and again after an evaluation inside of the loop",
            "model.training is True where the loss is computed",
            Sure.MEASURED,
        )
    if seen.backward >= 3 and seen.strange >= MOSTLY * (seen.backward - 1):
        yield Flaw(
            Cause.WIRING,
            Mechanism.TARGETS_OF_ANOTHER_BATCH,
            f"In {seen.strange} of {seen.backward} steps the loss compares the output with the targets of an "
            "earlier batch",
            seen.strange / seen.backward,
            "each batch's own targets",
            "Give the objective the targets of the batch that the output belongs to",
            "targets that equal those of the batch just drawn",
        )


def _still(seen: Watched, given: int) -> Flaw:
    if seen.steps == 0:
        why, mend = "the optimizer's step is never called", "Call optimizer.step() after backward"
        mechanism = Mechanism.NO_STEP
    elif seen.backward == 0:
        why, mend = "no gradient of the objective is ever asked for", "Call loss.backward() before optimizer.step()"
        mechanism = Mechanism.NO_BACKWARD
    elif seen.empty:
        return _cleared(seen)
    else:
        mechanism, why = Mechanism.NO_STEP, "the optimizer's steps change nothing"
        mend = "Give the optimizer the model's parameters, and a learning rate above 0"
    return Flaw(
        Cause.WIRING,
        mechanism,
        f"After {given} batches of the loop no parameter has moved: {why} ({seen.steps} steps, {seen.backward} "
        "backward passes)",
        float(seen.steps),
        "parameters that move with each step",
        mend,
        "a parameter that the loop has changed",
    )


def _cleared(seen: Watched) -> Flaw:
    return Flaw(
        Cause.WIRING,
        Mechanism.STEP_WITHOUT_A_GRADIENT,
        f"In {seen.empty} of {seen.steps} steps the gradients are None or 0: they were cleared after backward, or "
        "come after it",
        seen.empty / seen.steps,
        "a gradient at every step",
        "The order is zero_grad, backward, step",
        "a gradient that is not 0 where step is called",
    )


def _has_gradient(model: nn.Module) -> bool:
    return any(weight.grad is not None and bool(weight.grad.any()) for weight in model.parameters())


def _acting(model: nn.Module) -> str:
    """The layers that training mode changes, in words."""
    dropped = any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in model.modules())
    normed = any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats and _trained(m)
        for m in model.modules()
    )
    return " and ".join(["dropout"] * dropped + ["batch norm"] * normed)


def _trained(norm: nn.Module) -> bool:
    return any(weight.requires_grad for weight in norm.parameters())


def _same(target: Tensor, other: Any) -> bool:
    if not isinstance(other, Tensor) or target.numel() != other.numel() or not len(list(leaves(other))):
        return False
    return torch.equal(target.detach().reshape(-1).double(), other.reshape(-1).double())
