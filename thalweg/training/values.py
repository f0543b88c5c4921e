"""Values: what a loss or a metric says of a batch, of each of its examples, of a whole split."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.nest import Nest, count_examples, describe, leaves, map_tensors
from thalweg.core.objective import Losses, PlainLoss, counted_targets
from thalweg.core.signature import defaults_of
from thalweg.core.source import Judged, Restoring, Source

Metric = Callable[[Any, Any], Any]
MOST_SINGLY = 4096
"""Examples of a batch that a loss is asked for one after another."""


def values_of(loss: Callable[[Any, Any], Tensor], output: Any, y: Nest, singly: bool = False) -> Losses:
    """A plain loss of a batch: one value for each example where their weighted mean is its scalar, else the scalar.

    torch's own losses, modules and functions, give values by `reduction="none"`; a class weight, or a target that is
    ignored, becomes the example's weight. A batch whose targets are all ignored, with a mean of 0 / 0, counts nothing.
    Any other loss is asked for each example alone where it is to be read `singly`, which takes longer.

    >>> loss = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
    >>> values_of(loss, torch.zeros(2, 2), torch.tensor([0, 1])).weight
    tensor([1., 3.])
    """
    scalar = PlainLoss(loss).scalar(output, y)
    count = count_examples((y, output))
    if (unreduced := unreduced_of(loss)) is not None:
        share = max(1e-4, torch.finfo(scalar.dtype).eps)
        for losses in _each(loss, unreduced(output, y), y):
            if len(losses.value) != count:
                continue
            nothing = isinstance(losses.weight, Tensor) and not losses.weight.any()
            if nothing or torch.isclose(losses.mean().to(scalar), scalar, rtol=share, atol=1e-7):
                return losses
    values = each_alone(loss, output, y) if singly else None
    if values is not None and torch.isclose(values.mean().to(scalar), scalar, rtol=1e-3, atol=1e-6):
        return Losses(values)
    return Losses(scalar, weight=float(count))


def each_alone(loss: Callable[[Any, Any], Tensor], output: Any, y: Any) -> Tensor | None:
    """The loss of each example in a batch of its own, (batch,); None where it cannot be asked so."""
    if not isinstance(output, Tensor) or not isinstance(y, Tensor) or output.dim() == 0 or y.dim() == 0:
        return None
    if len(output) != len(y) or len(y) < 2:
        return None

    def one(own: Tensor, target: Tensor) -> Tensor:
        return loss(own[None], target[None]).reshape(())

    try:
        return torch.func.vmap(one)(output, y)
    except Exception:  # what depends on the numbers cannot be asked of all examples at once
        if len(y) > MOST_SINGLY:
            return None
    try:
        return torch.stack([one(own, target) for own, target in zip(output, y, strict=True)])
    except Exception:  # a user's own code
        return None


def unreduced_of(loss: Any) -> Callable[[Any, Any], Tensor] | None:
    """The loss without its mean, where it has a `reduction` that is one."""
    if isinstance(loss, nn.Module):
        if getattr(loss, "reduction", None) != "mean":
            return None
        unreduced = copy.copy(loss)
        setattr(unreduced, "reduction", "none")  # noqa: B010 - nn.Module has no such attribute for mypy
        return unreduced
    return partial(loss, reduction="none") if defaults_of(loss).get("reduction") == "mean" else None


def _each(loss: Any, values: Tensor, y: Nest) -> Iterator[Losses]:
    """The two ways in which a mean can be made of values: all alike, or class numbers by what they count."""
    if values.dim() == 0:
        return
    mean = mean_of_each(values)
    yield Losses(mean)
    counted = counted_targets(loss, y)
    if counted is not None and len(counted) == len(values):
        weight = mean_of_each(counted).to(mean)
        yield Losses(mean / weight.clamp(min=torch.finfo(weight.dtype).tiny), weight=weight)


def mean_of_each(values: Tensor) -> Tensor:
    """One value for each example: the mean over its positions."""
    return values.flatten(1).mean(1) if values.dim() > 1 else values


def measured(name: str, metric: Metric, output: Nest, target: Nest) -> Tensor:
    """A metric of a whole split: a number, or one value for each example; anything else is refused by name."""
    try:
        answer = metric(output, target)
    except Exception as error:
        raise RecipeError(
            f"The metric '{name}' failed on outputs {describe(output)} and targets {describe(target)}: {error}"
        ) from error
    try:
        value = torch.as_tensor(answer).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise RecipeError(
            f"The metric '{name}' returned a {type(answer).__name__}; it gives a number, or a value for each example."
        ) from error
    if value.numel() == 1:
        return value.reshape(())
    if value.dim() == 1 and len(value) == count_examples((target, output)):
        return value
    raise RecipeError(
        f"The metric '{name}' returned {describe(value)}, but it gives a number, or one value for each of the "
        f"{count_examples((target, output))} examples. Take a mean, or name each number as a metric of its own."
    )


class Joined(NamedTuple):
    """Outputs and targets of all that a split is judged by; `unit` is the cluster of each, where the split says it."""

    output: Nest
    target: Nest
    unit: np.ndarray | None = None


def joined(outputs: list[Nest], targets: list[Nest], source: Source) -> Joined:
    """All outputs and all targets of a split, on the CPU, in the target's own units; of one that is `Judged` its own
    nodes, or the positions that have a target.
    """
    if isinstance(source, Judged) and (own := source.judged(outputs, targets)) is not None:
        return Joined(*own)
    try:
        output, target = _concatenated(outputs), _concatenated(targets)
    except (RuntimeError, IndexError, StopIteration) as error:
        raise RecipeError(
            f"The outputs of two batches cannot be joined for the metrics: {describe(outputs[0])} and "
            f"{describe(outputs[-1])}. Where sequences are padded to each batch's longest, or the output is no tensor, "
            "mark the metric with @thalweg.objective: (model, batch) -> values."
        ) from error
    if isinstance(source, Restoring):
        return Joined(source.restore(output), source.restore(target))
    return Joined(output, target)


def _concatenated(parts: list[Nest]) -> Nest:
    if len(parts) == 1:
        return map_tensors(lambda tensor: tensor.detach().cpu(), parts[0])
    columns = [list(leaves(part)) for part in parts]
    if not columns[0]:
        raise RuntimeError("no tensors to join")
    whole = iter([torch.cat([column[i].detach().cpu() for column in columns]) for i in range(len(columns[0]))])
    return map_tensors(lambda _: next(whole), parts[0])


def mean_of(losses: list[Losses]) -> float:
    """The weighted mean over batches.

    >>> mean_of([Losses(torch.tensor([1.0, 1.0])), Losses(torch.tensor([4.0]))])
    2.0

    Raises `DataError` where all weights are 0, such as a mask that selects no node.
    """
    weights = [float(part.total_weight()) for part in losses]
    if sum(weights) == 0:
        raise DataError("All weights of the split are 0, so it has no loss. Check its mask: it selects nothing.")
    return sum(float(part.mean()) * weight for part, weight in zip(losses, weights, strict=True)) / sum(weights)


def detached(losses: Losses) -> Losses:
    """The losses without gradients, on the CPU."""
    value, weight, unit = map_tensors(lambda tensor: tensor.detach().cpu(), tuple(losses))
    return Losses(value, weight, unit)
