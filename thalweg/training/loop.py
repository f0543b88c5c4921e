"""The training loop, in the open: a generator that goes through one epoch and pauses after every step.

For each batch: the learning rate of this step, the loss of the batch, its gradient, the update

    theta := theta - eta * g        (or whatever the optimizer makes of g).

Whoever wants to look writes `for`, whoever wants to stop, `break`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.core.nest import Nest, count_examples, to_device
from thalweg.core.objective import Losses, name_of
from thalweg.core.randomness import generator, seed_everything
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
    drawn = training.at_hand.batches(epoch, at.batch, generator(training.recipe.seed, "order", epoch))
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
    moment = training.moment
    training.step.train()
    for batch, rest in windows(batches(training, epoch), training.recipe.accumulate):
        training.rate.before_step(moment.step, moment.steps)
        clear_gradients(training)
        taken = None if pause_before_step else in_one_graph(training, epoch, batch, mean)
        if taken is not None:
            minimized, losses = taken
        else:
            minimized, losses = descend(training, epoch, chain([batch], rest), mean)
            if pause_before_step:
                yield minimized, losses
            training.update()
        training.rate.after_step()
        moment.step += 1
        if not pause_before_step:
            yield minimized, losses


def windows(drawn: Iterator[Nest], size: int) -> Iterator[tuple[Nest, Iterator[Nest]]]:
    """The batches of each step, the first and the others: `size` in all, at the end of an epoch those that are left.

    >>> [(first, list(rest)) for first, rest in windows(iter([1, 2, 3]), 2)]
    [(1, [2]), (3, [])]
    """
    for first in drawn:
        yield first, islice(drawn, size - 1)


def in_one_graph(training: Training, epoch: int, batch: Nest, mean: RunningMean) -> tuple[Tensor, Losses] | None:
    """Take a whole step, gradient and update, where it is compiled and takes this batch; else None."""
    training.norm = None
    loss = None if training.whole is None else training.whole(batch)
    if loss is None:
        return None
    training.reach(epoch)
    losses = Losses(loss, weight=float(count_examples(batch)))
    mean.add(losses)
    training.position.batch += 1
    return loss, losses


def descend(training: Training, epoch: int, window: Iterator[Nest], mean: RunningMean) -> tuple[Tensor, Losses]:
    r"""Leave the gradient of a step in the parameters; gives its loss, the mean over the batches of its window.

    $$ L = \sum_i w_i L_i / \sum_i w_i $$

    Batch i counts by the weight of its examples (tokens, nodes), so that a short last one counts what it holds.
    """
    several = training.recipe.accumulate > 1
    parts: list[tuple[Tensor, Losses]] = []
    for place, batch in enumerate(window):
        training.reach(epoch, place)
        minimized, losses = forward(training.step, batch, training.moment)
        _check_gradient(training, minimized)
        (minimized * losses.total_weight() if several else minimized).backward()
        mean.add(losses)
        training.position.batch += 1
        parts.append((minimized.detach(), losses))
    return _joined(training, parts) if several else (minimized, losses)


def _joined(training: Training, parts: list[tuple[Tensor, Losses]]) -> tuple[Tensor, Losses]:
    """The loss of a window, its gradient divided by the weight of all that it holds."""
    weights = [losses.total_weight() for _, losses in parts]
    total = torch.as_tensor(sum(weights))
    total = torch.where(total != 0, total, 1)
    for weight in training.step.parameters():
        if weight.grad is not None:
            weight.grad.div_(total)
    loss = sum(minimized * weight for (minimized, _), weight in zip(parts, weights, strict=True)) / total
    return loss, Losses(loss, weight=total)


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
    training: Training,
    progress: Progress | None = None,
    after_step: AfterStep = lambda loss: None,
    after_steps: Callable[[], None] = lambda: None,
) -> Iterator[dict[str, Any]]:
    """The epochs from where training stands; pauses after each with its row of the history.

    `after_step` is given the loss of each step that was taken, and None between the batches of a user's own loop;
    `after_steps` is called behind the last step of an epoch, before that is judged.
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
        after_steps()
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
    training.rate.after_epoch(row | {"validation_loss": training.compared(row)})
    row["seconds"] = at.seconds + perf_counter() - began
    training.position = Position(RunningMean(training.device), at.epoch + 1)
    return row


def _row_of(training: Training, epoch: int, mean: RunningMean) -> dict[str, Any]:
    """What the history keeps of an epoch; the train loss is the running mean in training mode."""
    norm = training.gradient_norm()
    row: dict[str, Any] = {"epoch": epoch, "train_loss": mean.value(), "validation_loss": None, "metrics": {}}
    if training.validation is not None:
        moment = replace(training.moment, training=False)
        judge, at_hand = training.judge, training.validation_at_hand
        scores = judge.scores(training.judged, training.validation, training.device, moment, at_hand)
        row["validation_loss"] = scores.pop("loss")
        row["metrics"] = scores
    row["gradient_norm"] = training.position.gradient_norm if norm is None else norm
    row["learning_rate"] = training.rate.used
    return row
