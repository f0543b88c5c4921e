"""evaluate: (Run, split) -> {name: (value, low, high)}."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.convert import Batching, as_source
from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RunError
from thalweg.core.nest import Nest, count_examples, map_tensors
from thalweg.core.objective import Losses
from thalweg.core.source import Described, Indexed, Source
from thalweg.training.interval import mean_interval, metric_interval
from thalweg.training.judging import Judge, Metric, joined
from thalweg.training.recipe import Recipe
from thalweg.training.run import Run

Scores = dict[str, tuple[float, float, float]]


@no_type_check
def evaluate(run: Run, split: Any, *, level: float = 0.95, device: str | torch.device = "auto") -> Scores:
    """The loss and each metric of a run's best model on a split, with an interval that resamples the units.

    A unit is what the objective or the data say (a sentence, a speaker, a group), else an example; a loss that gives
    only a scalar for each batch is resampled by batch, and has NaN ends where there is a single one.

    >>> import thalweg
    >>> x = torch.linspace(-1, 1, 20)[:, None]
    >>> run = thalweg.train(
    ...     thalweg.Recipe(
    ...         data=thalweg.Splits(train=(x, 2 * x)), model=lambda: nn.Linear(1, 1), objective=nn.MSELoss(), epochs=9
    ...     )
    ... )
    >>> value, low, high = thalweg.evaluate(run, (x, 2 * x))["loss"]
    >>> low < value < high
    True

    Raises `RunError` for a run without recipe, `DataError` for a split that cannot be read.
    """
    if not isinstance(run, Run):
        raise RunError(f"evaluate was given {type(run).__name__}, but it judges the run that thalweg.train gave.")
    if run.recipe is None:
        raise RunError(
            "This run was loaded without its recipe, which says how to judge: thalweg.load_run(path, recipe)."
        )
    recipe = run.recipe
    source = as_source(split, "evaluated", Batching(recipe.batch_size, recipe.collate))
    return evaluate_model(run.model, recipe, source, resolve_device(device), level)


def evaluate_model(model: nn.Module, recipe: Recipe, source: Source, device: torch.device, level: float) -> Scores:
    """The same for a model that stands alone."""
    judge = Judge.of(recipe)
    judge.check(model.to(device), source, device, "evaluated") if isinstance(source, Indexed) else None
    seen = judge.observe(model, source, device, each=True)
    scores = {"loss": ExampleLosses.of(seen.losses, source).mean(level)}
    if judge.plain:
        output, target = joined(seen, source)
        groups = _units(source, count_examples((output, target)))
        scores |= {name: _metric(metric, output, target, groups, level) for name, metric in judge.plain.items()}
    return scores | {name: ExampleLosses.of(losses, source).mean(level) for name, losses in seen.marked.items()}


@dataclass(frozen=True, eq=False)
class ExampleLosses:
    """A value for each example (for each batch, where a loss gives no more), with weights and units."""

    values: np.ndarray
    weights: np.ndarray
    units: np.ndarray | None

    @classmethod
    def of(cls, losses: list[Losses], source: Source) -> "ExampleLosses":
        """The losses of all batches in one; units are the objective's, else the groups of the data."""
        values = np.concatenate([part.value.reshape(-1).double().numpy(force=True) for part in losses])
        weights = np.concatenate([_weights(part) for part in losses])
        if all(part.unit is not None for part in losses):
            units = np.concatenate([part.unit.numpy(force=True) for part in losses if part.unit is not None])
        else:
            units = _units(source, len(values))
        return cls(values, weights, units)

    def mean(self, level: float = 0.95) -> tuple[float, float, float]:
        """The weighted mean with the interval that resamples units."""
        if not self.weights.any():
            raise DataError("All weights of the split are 0, so it has no loss. Check its mask: it selects nothing.")
        return mean_interval(self.values, self.weights, self.units, level)


def example_losses(model: nn.Module, recipe: Recipe, split: Any, device: torch.device) -> ExampleLosses:
    """What the recipe's judge says of each example of a split."""
    source = as_source(split, "judged", Batching(recipe.batch_size, recipe.collate))
    return ExampleLosses.of(Judge.of(recipe).observe(model.to(device), source, device, each=True).losses, source)


def _units(source: Source, count: int) -> np.ndarray | None:
    """The group of each example where the data know it."""
    if not isinstance(source, Described) or not isinstance(source, Indexed) or count != len(source):
        return None
    return source.meta(np.arange(len(source))).get("group")


def _weights(part: Losses) -> np.ndarray:
    if isinstance(part.weight, Tensor):
        return part.weight.reshape(-1).double().numpy(force=True)
    return np.full(part.value.numel(), 1.0 if part.weight is None else float(part.weight))


def _metric(
    metric: Metric, output: Nest, target: Nest, units: np.ndarray | None, level: float
) -> tuple[float, float, float]:
    count = count_examples((output, target))
    answer = metric(output, target)
    if isinstance(answer, Tensor) and answer.dim() == 1 and len(answer) == count:
        return mean_interval(answer.double().numpy(force=True), None, units, level)

    def again(rows: np.ndarray) -> float:
        index = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        return float(metric(*(map_tensors(lambda tensor: tensor[index], part) for part in (output, target))))

    low, high = metric_interval(again, count, units, level)
    return float(answer), low, high
