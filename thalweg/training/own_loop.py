"""A user's own training loop: `(model, optimizer, batches, objective) -> None`, run once an epoch, as it is.

A missing `zero_grad`, a forgotten step or a wrong mode stays in it, and can be found by experiment like anything else.
What is watched is only what passes through our hands: the batches drawn and the losses asked for.
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from thalweg.core.errors import RecipeError
from thalweg.core.explain import EXPLAINED
from thalweg.core.nest import Nest, count_examples, describe
from thalweg.core.objective import Losses, PlainLoss, name_of
from thalweg.training.build import Training
from thalweg.training.tally import RunningMean


def run_own_loop(training: Training, epoch: int, batches: Iterator[Nest], mean: RunningMean) -> None:
    """One epoch of the user's loop; the schedule is applied as batches are drawn, the loss as losses are asked."""
    loop = training.recipe.loop
    assert loop is not None
    training.step.train()
    try:
        loop(training.model, training.optimizer, _drawn(training, epoch, batches), _recorded(training, mean))
    except EXPLAINED as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise RecipeError(
                f"The loop could not be called: {error}. A loop is a function (model, optimizer, batches, objective) "
                "that trains one epoch."
            ) from error
        raise


def _drawn(training: Training, epoch: int, batches: Iterator[Nest]) -> Iterator[Nest]:
    moment = training.moment
    for batch in batches:
        training.reach(epoch)
        training.rate.before_step(moment.step, moment.steps)
        moment.step += 1  # counted as it is given: a loop may leave with it
        yield batch
        training.rate.after_step()


def _recorded(training: Training, mean: RunningMean) -> Callable[..., Tensor]:
    """The objective as the loop calls it, with the penalty: plain by (output, target), marked by (model, batch)."""
    form, penalty = training.step.objective, training.step.penalty
    if isinstance(form, PlainLoss):

        def plain(output: Any, target: Any) -> Tensor:
            if isinstance(output, nn.Module):
                raise RecipeError(
                    f"The loop called objective(model, batch), but {name_of(form.loss)} is a plain loss. Call it with "
                    "(output, target): objective(model(x), y)."
                )
            loss = form.scalar(output, target)
            mean.add(Losses(loss.detach(), weight=float(count_examples((target, output)))))
            return loss if penalty is None else loss + training.step.cost(penalty)

        return plain

    def marked(model: Any, batch: Nest) -> Tensor:
        if not isinstance(model, nn.Module):
            raise RecipeError(
                f"The loop called objective with {describe(model)} first, but {name_of(form.inner)} is marked with "
                "@thalweg.objective. Call it with (model, batch)."
            )
        losses = form(model, batch, training.moment)
        mean.add(losses)
        return losses.mean() if penalty is None else losses.mean() + training.step.cost(penalty)

    return marked
