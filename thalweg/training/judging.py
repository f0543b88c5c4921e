"""Judging: the numbers by which models are compared, in evaluation mode, for train and validation alike.

Judging is not training: label smoothing is taken off the loss, dropout and batch statistics are in evaluation mode,
no gradient is kept. A metric is `(output, target) -> scalar, or one value for each example`, a torchmetrics metric, or
a function marked by `@thalweg.objective`, which is given the model and the batch.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.explain import explain
from thalweg.core.nest import Nest, describe, leaves, map_tensors, to_device
from thalweg.core.objective import (
    Losses,
    MarkedObjective,
    Moment,
    PlainLoss,
    apply,
    as_objective,
    is_objective,
    pair,
)
from thalweg.core.randomness import untouched
from thalweg.core.source import Restoring, Source
from thalweg.core.step import Step
from thalweg.training.recipe import Recipe

Metric = Callable[[Any, Any], Any]


@dataclass
class Observed:
    """What one pass over a split gave: the losses of each batch, those of marked metrics, outputs and targets."""

    losses: list[Losses] = field(default_factory=list)
    marked: dict[str, list[Losses]] = field(default_factory=dict)
    outputs: list[Nest] = field(default_factory=list)
    targets: list[Nest] = field(default_factory=list)


@dataclass(frozen=True)
class Judge:
    """The objective that compares, and the metrics beside it."""

    objective: PlainLoss | MarkedObjective
    plain: Mapping[str, Metric]
    marked: Mapping[str, MarkedObjective]

    @classmethod
    def of(cls, recipe: Recipe, step: Step | None = None) -> "Judge":
        """The recipe's judge, or its objective without smoothing; and its metrics in the two forms they come in."""
        trained = step.objective if step is not None else as_objective(recipe.objective)
        objective = without_smoothing(trained) if recipe.judge is None else as_objective(recipe.judge)
        plain, marked = {}, {}
        for name, metric in recipe.metrics.items():
            if is_objective(metric):
                marked[name] = as_objective(metric)
            else:
                plain[name] = as_metric(name, metric)
        return cls(objective, plain, marked)  # type: ignore[arg-type]

    def scores(self, model: nn.Module, source: Source, device: torch.device) -> dict[str, float]:
        """The loss and each metric on a split, as plain numbers.

        The model's mode and the global random streams are as before afterwards.
        """
        seen = self.observe(model, source, device)
        scores = {"loss": mean_of(seen.losses)}
        if self.plain:
            output, target = joined(seen, source)
            scores |= {name: float(_mean(metric(output, target))) for name, metric in self.plain.items()}
        return scores | {name: mean_of(losses) for name, losses in seen.marked.items()}

    def observe(self, model: nn.Module, source: Source, device: torch.device, *, each: bool = False) -> Observed:
        """One pass over the split in evaluation mode; `each` asks plain losses for a value of every example."""
        seen = Observed(marked={name: [] for name in self.marked})
        moment = Moment(training=False)
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), untouched():
                for batch in source.batches(0, 0, None):
                    self._see(seen, model, to_device(batch, device), moment, each)
        finally:
            model.train(was_training)
        if not seen.losses:
            raise DataError("The split gave no batch, so there is nothing to judge. It needs at least one example.")
        return seen

    def check(self, model: nn.Module, source: Source, device: torch.device, name: str) -> None:
        """Judge one batch before training begins, so that a split of another shape is found now, not an epoch later."""
        batch = to_device(next(iter(source.batches(0, 0, None))), device)
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), untouched():
                self.objective(model, batch, Moment())
        except Exception as error:
            explained = explain(error, model, self.objective, batch)
            if explained is error:
                raise
            raise type(explained)(f"In the {name} split: {explained}") from error
        finally:
            model.train(was_training)

    def _see(self, seen: Observed, model: nn.Module, batch: Nest, moment: Moment, each: bool) -> None:
        if isinstance(self.objective, PlainLoss):
            x, y = pair(batch)
            output = apply(model, x)
            seen.losses.append(values_of(self.objective.loss, output, y, each))
            if self.plain:
                seen.outputs.append(output)
                seen.targets.append(y)
        else:
            seen.losses.append(_detached(self.objective(model, batch, moment)))
            if self.plain:
                x, y = pair(batch)
                seen.outputs.append(apply(model, x))
                seen.targets.append(y)
        for name, metric in self.marked.items():
            seen.marked[name].append(_detached(metric(model, batch, moment)))


def values_of(loss: Callable[[Any, Any], Tensor], output: Any, y: Nest, each: bool) -> Losses:
    """A plain loss of a batch: its scalar; with `each` one value for each example where their mean is that scalar."""
    scalar = loss(output, y).reshape(())
    count = next((leaf.shape[0] for leaf in leaves((output, y)) if leaf.dim()), 1)
    for losses in _each(loss, output, y) if each and getattr(loss, "reduction", None) == "mean" else ():
        if len(losses.value) == count and torch.isclose(losses.mean(), scalar, rtol=1e-4, atol=1e-7):
            return losses
    return Losses(scalar, weight=float(count))


def _each(loss: Any, output: Any, y: Nest) -> Iterator[Losses]:
    """A value for each example by torch's `reduction="none"`; with class weights, value and weight apart."""
    unreduced = copy.copy(loss)
    unreduced.reduction = "none"
    values = unreduced(output, y)
    if values.dim() == 0:
        return
    yield Losses(values.flatten(1).mean(1) if values.dim() > 1 else values)
    name = next((name for name in ("weight", "class_weights") if isinstance(getattr(loss, name, None), Tensor)), None)
    if name is not None and isinstance(y, Tensor) and y.dim() == 1 and not y.is_floating_point():
        weight = getattr(loss, name)[y.clamp(min=0)]
        yield Losses(values / weight.clamp(min=torch.finfo(weight.dtype).tiny), weight=weight)


def without_smoothing(form: PlainLoss | MarkedObjective) -> PlainLoss | MarkedObjective:
    """The objective with label smoothing taken off: smoothing helps to train, it is no part of the likelihood.

    >>> without_smoothing(PlainLoss(nn.CrossEntropyLoss(label_smoothing=0.1))).loss.label_smoothing
    0.0
    """
    if isinstance(form, PlainLoss) and hasattr(form.loss, "label_smoothing"):
        bare = copy.copy(form.loss)
        bare.label_smoothing = 0.0
        return PlainLoss(bare)
    return form


def as_metric(name: str, metric: Any) -> Metric:
    """A metric as a function of all outputs and targets; a torchmetrics metric is cloned, and reset for every use."""
    if isinstance(metric, type):
        raise RecipeError(f"The metric '{name}' is the class {metric.__name__}. Make one: {metric.__name__}(...).")
    if all(hasattr(metric, verb) for verb in ("update", "compute", "reset", "clone")):
        own = metric.clone()

        def computed(output: Any, target: Any) -> Any:
            own.reset()
            own.update(output, target)
            return own.compute()

        return computed
    if not callable(metric):
        raise RecipeError(
            f"The metric '{name}' is {metric!r}, which cannot be called. Give (output, target) -> number."
        )
    return metric


def joined(seen: Observed, source: Source) -> tuple[Nest, Nest]:
    """All outputs and all targets of a split, on the CPU, in the target's own units."""
    try:
        output, target = _concatenated(seen.outputs), _concatenated(seen.targets)
    except RuntimeError as error:
        shapes = describe(seen.outputs[0]), describe(seen.outputs[-1])
        raise RecipeError(
            f"The outputs of two batches cannot be joined for the metrics: {shapes[0]} and {shapes[1]}. Where "
            "sequences are padded to each batch's longest, mark the metric with @thalweg.objective: (model, batch) -> "
            "values."
        ) from error
    if isinstance(source, Restoring):
        return source.restore(output), source.restore(target)
    return output, target


def _concatenated(parts: list[Nest]) -> Nest:
    if len(parts) == 1:
        return map_tensors(lambda tensor: tensor.cpu(), parts[0])
    columns = [list(leaves(part)) for part in parts]
    whole = iter([torch.cat([column[i].cpu() for column in columns]) for i in range(len(columns[0]))])
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


def _mean(value: Any) -> float:
    return float(value.float().mean()) if isinstance(value, Tensor) else float(value)


def _detached(losses: Losses) -> Losses:
    value, weight, unit = map_tensors(lambda tensor: tensor.detach().cpu(), tuple(losses))
    return Losses(value, weight, unit)
