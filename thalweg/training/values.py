"""Values: what a loss or a metric says of a batch, of each of its examples, of a whole split."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.nest import Nest, count_examples, describe, leaves, map_tensors
from thalweg.core.objective import Losses
from thalweg.core.source import Restoring, Source

Metric = Callable[[Any, Any], Any]


def values_of(loss: Callable[[Any, Any], Tensor], output: Any, y: Nest) -> Losses:
    """A plain loss of a batch: one value for each example where their weighted mean is its scalar, else the scalar.

    torch's own losses give values by `reduction="none"`; a class weight, or a target that is ignored, becomes the
    example's weight.

    >>> loss = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
    >>> values_of(loss, torch.zeros(2, 2), torch.tensor([0, 1])).weight
    tensor([1., 3.])
    """
    scalar = loss(output, y).reshape(())
    count = count_examples((y, output))
    if getattr(loss, "reduction", None) == "mean":
        for losses in _each(loss, output, y):
            if len(losses.value) == count and torch.isclose(losses.mean(), scalar, rtol=1e-4, atol=1e-7):
                return losses
    return Losses(scalar, weight=float(count))


def _each(loss: Any, output: Any, y: Nest) -> Iterator[Losses]:
    unreduced = copy.copy(loss)
    unreduced.reduction = "none"
    values = unreduced(output, y)
    if values.dim() == 0:
        return
    yield Losses(values.flatten(1).mean(1) if values.dim() > 1 else values)
    if isinstance(y, Tensor) and y.shape == values.shape and not y.is_floating_point():
        weight = _class_weights(loss, y, values)
        total = weight.flatten(1).sum(1) if weight.dim() > 1 else weight
        summed = values.flatten(1).sum(1) if values.dim() > 1 else values
        yield Losses(summed / total.clamp(min=torch.finfo(total.dtype).tiny), weight=total)


def _class_weights(loss: Any, y: Tensor, values: Tensor) -> Tensor:
    """What each target counts: its class's weight, 0 where it is ignored."""
    counted = y != getattr(loss, "ignore_index", -100)
    for name in ("weight", "class_weights"):
        if isinstance(own := getattr(loss, name, None), Tensor):
            return torch.where(counted, own.to(values)[y.clamp(min=0)], 0)
    return counted.to(values.dtype)


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


def joined(outputs: list[Nest], targets: list[Nest], source: Source) -> tuple[Nest, Nest]:
    """All outputs and all targets of a split, on the CPU, in the target's own units."""
    try:
        output, target = _concatenated(outputs), _concatenated(targets)
    except (RuntimeError, IndexError, StopIteration) as error:
        raise RecipeError(
            f"The outputs of two batches cannot be joined for the metrics: {describe(outputs[0])} and "
            f"{describe(outputs[-1])}. Where sequences are padded to each batch's longest, or the output is no tensor, "
            "mark the metric with @thalweg.objective: (model, batch) -> values."
        ) from error
    if isinstance(source, Restoring):
        return source.restore(output), source.restore(target)
    return output, target


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
