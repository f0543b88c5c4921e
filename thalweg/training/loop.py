"""The training loop, in the open: a generator that goes through one epoch and pauses after every step.

For each batch: the learning rate of this step, the loss of the batch, its gradient, the update

    theta := theta - eta * g        (or whatever the optimizer makes of g).

Whoever wants to look writes `for`, whoever wants to stop, `break`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from time import perf_counter
from typing import Any

from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.core.nest import Nest, to_device
from thalweg.core.objective import Losses, name_of
from thalweg.core.randomness import generator, seed_everything
from thalweg.measure.gradient import gradient_norm
from thalweg.training.build import Training, forward, plainly_cleared
from thalweg.training.own_loop import run_own_loop
from thalweg.training.position import Position
from thalweg.training.tally import RunningMean

AfterStep = Callable[[Tensor | None], None]
Progress = Callable[[int, int, dict[str, Any] | None], None]
"""Called with the epoch and the step that were just done, and after an epoch with its row of the history."""


def batches(training: Training, epoch: int) -> Iterator[Nest]:
    """The batches of one epoch on the device, from where training stands in it.

    Their order is a function of the seed and the epoch alone. A position that was read back has the random streams of
    its moment, which are put back once the source has drawn its order as it does when an epoch begins.
    """
    at = training.position
    drawn = training.source.batches(epoch, at.batch, generator(training.recipe.seed, "order", epoch))
    if at.streams is not None:
        first = next(drawn, None)
        at.streams.restore()
        at.streams = None
        drawn = chain([] if first is None else [first], drawn)
    for batch in drawn:
        yield to_device(batch, training.device)


def steps(
    training: Training, epoch: int, mean: RunningMean, *, pause_before_step: bool = False
) -> Iterator[tuple[Tensor, Losses]]:
    """One epoch of training; pauses after each step, or between backward and step, and gives the loss of the batch."""
    step, moment = training.step, training.moment
    step.train()
    for batch in batches(training, epoch):
        training.reach(epoch)
        training.rate.before_step(moment.step, moment.steps)
        clear_gradients(training)
        minimized, losses = forward(step, batch, moment)
        _check_gradient(training, minimized)
        minimized.backward()
        if pause_before_step:
            yield minimized, losses
        training.update()
        training.rate.after_step()
        mean.add(losses)
        moment.step += 1
        training.position.batch += 1
        if not pause_before_step:
            yield minimized, losses


def clear_gradients(training: Training) -> None:
    """Forget the gradients of the step before."""
    for weight in training.cleared:
        weight.grad = None
    if not plainly_cleared(training.optimizer):
        training.optimizer.zero_grad(set_to_none=True)


def _check_gradient(training: Training, minimized: Tensor) -> None:
    if not minimized.requires_grad:
        raise RecipeError(
            f"The loss {name_of(training.step.objective.inner)} of a batch is {minimized.item():.4g} and has no "
            "gradient, so nothing can be learned from it. Keep it connected to the model's output: no .detach(), "
            ".item(), argmax or torch.no_grad() on the way."
        )


def epochs(
    training: Training, progress: Progress | None = None, after_step: AfterStep = lambda loss: None
) -> Iterator[dict[str, Any]]:
    """The epochs from where training stands; pauses after each with its row of the history.

    `after_step` is given the loss of each step that was taken, and None between the batches of a user's own loop.
    """
    while (epoch := training.position.epoch) <= training.recipe.epochs:
        at = training.position
        started = perf_counter() - at.seconds
        seed_everything(training.recipe.seed, "noise", epoch)
        if training.recipe.loop is None:
            for minimized, _ in steps(training, epoch, at.mean):
                at.seconds = perf_counter() - started
                if progress is not None:
                    progress(epoch, training.moment.step, None)
                after_step(minimized)
        else:
            run_own_loop(training, epoch, _watched(batches(training, epoch), after_step), at.mean)
            at.seconds = perf_counter() - started
        row = close_epoch(training)
        if progress is not None:
            progress(epoch, training.moment.step, row)
        yield row


def _watched(drawn: Iterator[Nest], after_step: AfterStep) -> Iterator[Nest]:
    for batch in drawn:
        after_step(None)
        yield batch


def close_epoch(training: Training) -> dict[str, Any]:
    """Judge the epoch whose steps are done, and go to the beginning of the next; gives its row of the history."""
    began, at = perf_counter(), training.position
    row = _row_of(training, at.epoch, at.mean)
    training.rate.after_epoch(row)
    row["seconds"] = at.seconds + perf_counter() - began
    training.position = Position(RunningMean(training.device), at.epoch + 1)
    return row


def _row_of(training: Training, epoch: int, mean: RunningMean) -> dict[str, Any]:
    """What the history keeps of an epoch; the train loss is the running mean in training mode."""
    norm = gradient_norm(training.model.parameters())
    row: dict[str, Any] = {"epoch": epoch, "train_loss": mean.value(), "validation_loss": None, "metrics": {}}
    if training.validation is not None:
        moment = replace(training.moment, training=False)
        scores = training.judge.scores(training.model, training.validation, training.device, moment)
        row["validation_loss"] = scores.pop("loss")
        row["metrics"] = scores
    row["gradient_norm"] = training.position.gradient_norm if norm is None else float(norm)
    row["learning_rate"] = training.rate.used
    return row
