"""Judging: the numbers by which models are compared, in evaluation mode, for train and validation alike.

Judging is not training: label smoothing is taken off the loss, dropout and batch statistics are in evaluation mode,
no gradient is kept. A metric is `(output, target) -> scalar, or one value for each example`, a torchmetrics metric, or
a function marked by `@thalweg.objective`, which is given the model and the batch.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.arrays import arrays_of
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.explain import explain, is_out_of_memory
from thalweg.core.nest import Nest, describe, to_device
from thalweg.core.objective import (
    Losses,
    MarkedObjective,
    Moment,
    PlainLoss,
    apply,
    as_objective,
    is_objective,
    pair,
    reads_classes,
    setting_of,
)
from thalweg.core.randomness import seed_everything, stream_seed, untouched
from thalweg.core.source import Batched, Source
from thalweg.core.step import Step
from thalweg.core.threads import counting, fitting_threads
from thalweg.training.chain import links
from thalweg.training.recipe import Recipe
from thalweg.training.values import Metric, detached, joined, mean_of, measured, unreduced_of, values_of

END = Moment(step=1, steps=1)
"""The moment at which a finished run is judged, so that step / steps is 1."""


AT_ONCE = 1024
"""Rows of arrays that are judged at once, where how they are batched cannot matter."""


@dataclass
class Observed:
    """What one pass over a split gave: the losses of each batch, those of marked metrics, and outputs and targets."""

    losses: list[Losses] = field(default_factory=list)
    marked: dict[str, list[Losses]] = field(default_factory=dict)
    outputs: list[Nest] = field(default_factory=list)
    targets: list[Nest] = field(default_factory=list)


@dataclass(frozen=True)
class Judge:
    """The objective that compares, and the metrics beside it.

    `differentiates` says that the model or the objective takes gradients of its own (a force field), so that judging
    has to let it; `singly` that a loss of one number for a batch is asked for each example alone, where it can be.
    """

    objective: PlainLoss | MarkedObjective
    plain: Mapping[str, Metric]
    marked: Mapping[str, MarkedObjective]
    differentiates: bool = False
    singly: bool = False

    @classmethod
    def of(cls, recipe: Recipe, step: Step | None = None) -> "Judge":
        """The recipe's judge, or its objective without smoothing; and its metrics in the two forms they come in."""
        trained = step.objective if step is not None else as_objective(recipe.objective)
        objective = without_smoothing(trained) if recipe.judge is None else as_objective(recipe.judge)
        if step is None or recipe.judge is not None:
            objective = _own(objective)
        plain: dict[str, Metric] = {}
        marked: dict[str, Any] = {}
        for name, metric in recipe.metrics.items():
            if is_objective(metric):
                marked[name] = _own(as_objective(metric))
            else:
                plain[name] = as_metric(name, metric)
        return cls(objective, plain, marked)

    def scores(
        self,
        model: nn.Module,
        source: Source,
        device: torch.device,
        moment: Moment = END,
        at_hand: Source | None = None,
    ) -> dict[str, float]:
        """The loss and each metric on a split, as plain numbers; `at_hand` gives its batches where they lie nearer."""
        seen = self.observe(model, source, device, moment, at_hand)
        scores = {"loss": mean_of(seen.losses)}
        if self.plain:
            output, target, _ = joined(seen.outputs, seen.targets, source)
            for name, metric in self.plain.items():
                scores[name] = float(measured(name, metric, output, target).double().mean())
        return scores | {name: mean_of(losses) for name, losses in seen.marked.items()}

    def observe(
        self,
        model: nn.Module,
        source: Source,
        device: torch.device,
        moment: Moment = END,
        at_hand: Source | None = None,
    ) -> Observed:
        """One pass over the split in evaluation mode, with a value of every example where the loss gives one."""
        drawn = at_hand or source
        seen = Observed(marked={name: [] for name in self.marked})
        apart = self._apart(model, source)
        with self._judging(model, device, draws=not (apart and self._is_of_torch())), ExitStack() as rest:
            for batch in (self._wide(drawn) if apart else drawn).batches(0, 0, None):
                if seen.losses or torch.get_num_threads() == 1:
                    self._see(seen, model, to_device(batch, device), _drawing(moment, device))
                    continue
                with counting(model) as work:
                    self._see(seen, model, to_device(batch, device), _drawing(moment, device))
                rest.enter_context(fitting_threads(work.total))
        if not seen.losses:
            raise DataError("The split gave no batch, so there is nothing to judge. It needs at least one example.")
        return seen

    def checked(
        self, model: nn.Module, source: Source, device: torch.device, name: str, moment: Moment = END
    ) -> "Judge":
        """Judge one batch before training, so that a split of another shape is found then, and give this judge back.

        Where that needs gradients of the model's own, the judge that is given back allows them.
        """
        first = list(islice(source.batches(0, 0, None), 1))
        if not first:
            raise DataError(f"The {name} split gave no batch. It needs at least one example.")
        batch = to_device(first[0], device)
        try:
            with self._judging(model, device):
                self._check_classes(model, batch, source)
                self.objective(model, batch, _drawing(moment, device))
                self._pair(batch)
        except Exception as error:
            if "does not require grad" in str(error) and not self.differentiates:
                return replace(self, differentiates=True).checked(model, source, device, name, moment)
            explained = _explained(error, model, self.objective, batch)
            if is_out_of_memory(error):
                return self  # the first step will say so, with what would fit
            if not isinstance(explained, RecipeError | DataError):
                raise
            raise type(explained)(f"In the {name} split: {explained}") from error
        return self

    def _check_classes(self, model: nn.Module, batch: Nest, source: Source) -> None:
        """Refuse labels that a model has no output for: on a CUDA device they would end the process, not the run."""
        y = batch[1] if isinstance(self.objective, PlainLoss) and isinstance(batch, tuple) and len(batch) == 2 else None
        if not isinstance(y, Tensor) or y.device.type == "cpu" or y.is_floating_point():
            return
        arrays = arrays_of(source)
        check_labels(self.objective.inner, apply(model, batch[0]), y, y if arrays is None else arrays.data[1])

    def _apart(self, model: nn.Module, source: Source) -> bool:
        """Whether examples of arrays cannot meet in a batch and nothing is drawn: a chain, judged, a loss of each."""
        if self.marked or not isinstance(self.objective, PlainLoss) or unreduced_of(self.objective.loss) is None:
            return False
        return arrays_of(source) is not None and links(model) is not None

    def _is_of_torch(self) -> bool:
        """Whether the loss is torch's own, which draws nothing."""
        loss = getattr(self.objective.inner, "func", self.objective.inner)
        return str(getattr(type(loss) if isinstance(loss, nn.Module) else loss, "__module__", "")).startswith("torch.")

    def _wide(self, source: Source) -> Source:
        """Arrays in larger batches, which take less time."""
        size = getattr(source, "batch_size", None) or AT_ONCE
        return source.batched(AT_ONCE) if size < AT_ONCE and isinstance(source, Batched) else source

    @contextmanager
    def _judging(self, model: nn.Module, device: torch.device, draws: bool = True) -> Iterator[None]:
        """Evaluation mode on the device, no gradients unless asked for, seeded streams; all as before afterwards.

        Where nothing `draws` from the streams they are left alone.
        """
        judging = (form.inner for form in (self.objective, *self.marked.values()))
        modules = [model, *(inner.to(device) for inner in judging if isinstance(inner, nn.Module))]
        modes = [module.training for module in modules]
        for module in modules:
            module.eval()
        try:
            with torch.set_grad_enabled(self.differentiates), untouched() if draws else nullcontext():
                if draws:
                    seed_everything(0, "judging")
                yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.train(mode)

    def _see(self, seen: Observed, model: nn.Module, batch: Nest, moment: Moment) -> None:
        if isinstance(self.objective, PlainLoss):
            x, y = pair(batch)
            output = apply(model, x)
            seen.losses.append(detached(values_of(self.objective.loss, output, y, self.singly)))
        elif self.plain:
            x, y = self._pair(batch)
            output = apply(model, x)
            losses = self.objective.of_output(output, batch, moment)
            seen.losses.append(detached(self.objective(model, batch, moment) if losses is None else losses))
        else:
            seen.losses.append(detached(self.objective(model, batch, moment)))
        if self.plain:
            seen.outputs.append(output)
            seen.targets.append(y)
        for name, metric in self.marked.items():
            seen.marked[name].append(detached(metric(model, batch, moment)))

    def _pair(self, batch: Nest) -> tuple[Nest, Nest]:
        """The batch as metrics of (output, target) read it."""
        try:
            return pair(batch) if self.plain else (None, None)
        except RecipeError as error:
            raise RecipeError(
                f"The metric '{next(iter(self.plain))}' is a function of (output, target), but a batch is "
                f"{describe(batch)}, no pair (x, y). Mark it with @thalweg.objective: (model, batch) -> values."
            ) from error


def check_labels(loss: Any, output: Any, y: Tensor, labels: Tensor) -> None:
    """Refuse labels that an output has no score for, where the loss is one of classes.

    >>> check_labels(nn.CrossEntropyLoss(), torch.zeros(2, 3), torch.tensor([0, 2]), torch.tensor([0, 2, 3]))
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: The labels run from 0 to 3, but the output has 3 classes, so ...
    """
    if not reads_classes(loss) or not isinstance(output, Tensor) or y.dim() != output.dim() - 1:
        return
    ignored = setting_of(loss, "ignore_index")
    classes, counted = output.shape[1], labels[labels != (-100 if ignored is None else ignored)]
    if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < classes:
        raise RecipeError(
            f"The labels run from {int(counted.min())} to {int(counted.max())}, but the output has {classes} classes, "
            f"so labels from 0 to {classes - 1}: give the model {int(counted.max()) + 1} outputs, or number labels "
            "from 0."
        )


def _explained(error: Exception, model: nn.Module, objective: PlainLoss | MarkedObjective, batch: Nest) -> Exception:
    try:
        return explain(error, model, objective, batch)
    except RecipeError as unlike:  # a batch that is no pair
        return unlike


def _own(form: PlainLoss | MarkedObjective) -> Any:
    """The form around a copy, where it holds a module: judging moves that to the device."""
    return form.around(copy.deepcopy(form.inner)) if isinstance(form.inner, nn.Module) else form


def _drawing(moment: Moment, device: torch.device) -> Moment:
    """The moment as an objective is judged in it: not training, with random numbers of its own."""
    own = torch.Generator(device).manual_seed(stream_seed(0, "judging", moment.step))
    return replace(moment, training=False, generator=own)


def without_smoothing(form: PlainLoss | MarkedObjective) -> PlainLoss | MarkedObjective:
    """The objective with label smoothing taken off: smoothing helps to train, it is no part of the likelihood.

    >>> without_smoothing(PlainLoss(nn.CrossEntropyLoss(label_smoothing=0.1))).loss.label_smoothing
    0.0
    """
    if not isinstance(form, PlainLoss):
        return form
    loss: Any = form.loss
    if isinstance(loss, partial) and "label_smoothing" in loss.keywords:
        return PlainLoss(partial(loss, label_smoothing=0.0))
    if hasattr(loss, "label_smoothing"):
        loss = copy.copy(loss)
        loss.label_smoothing = 0.0
        return PlainLoss(loss)
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
