"""evaluate: (Run, split) -> {name: (value, low, high)}."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.convert import Batching, as_source
from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RecipeError, RunError
from thalweg.core.nest import Nest, count_examples, leaves, map_tensors
from thalweg.core.objective import Losses
from thalweg.core.source import Described, Indexed, Source
from thalweg.measure.resampling import is_share, resampling_of
from thalweg.training.interval import draws_interval, mean_interval, metric_interval, resampled_counts
from thalweg.training.judging import Judge
from thalweg.training.recipe import Recipe
from thalweg.training.run import Run
from thalweg.training.values import Metric, joined, measured

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
    if not 0 < level < 1:
        raise RecipeError(f"level={level!r}, but the level of an interval lies between 0 and 1, as 0.95 does.")
    recipe = run.recipe
    source = as_source(split, "evaluated", Batching(recipe.batch_size, recipe.collate))
    own = next((parameter.device for parameter in run.model.parameters()), "cpu")
    return evaluate_model(run.model, recipe, source, resolve_device(own if device == "auto" else device), level)


def evaluate_model(model: nn.Module, recipe: Recipe, source: Source, device: torch.device, level: float) -> Scores:
    """The same for a model that stands alone."""
    judge = replace(Judge.of(recipe), singly=True)
    if isinstance(source, Indexed):
        judge = judge.checked(model.to(device), source, device, "evaluated")
    seen = judge.observe(model, source, device)
    scores = {"loss": ExampleLosses.of(seen.losses, source).mean(level)}
    if judge.plain:
        output, target, units = joined(seen.outputs, seen.targets, source)
        groups = _units(source, count_examples((output, target))) if units is None else units
        for name, metric in judge.plain.items():
            scores[name] = _metric(name, metric, output, target, groups, level)
    marked = {name: ExampleLosses.of(losses, source) for name, losses in seen.marked.items()}
    return scores | {name: losses.mean(level, share=True) for name, losses in marked.items()}


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
        own = [part.unit.numpy(force=True) for part in losses if part.unit is not None]
        units = np.concatenate(own) if len(own) == len(losses) else _units(source, len(values))
        return cls(values, weights, units)

    def at(self, places: np.ndarray) -> "ExampleLosses":
        """Those of some examples."""
        units = None if self.units is None else self.units[places]
        return ExampleLosses(self.values[places], self.weights[places], units)

    def mean(self, level: float = 0.95, share: bool = False) -> tuple[float, float, float]:
        """The weighted mean with the interval that resamples units; `share`: of zeros and ones, Wilson's."""
        if not self.weights.any():
            raise DataError("All weights of the split are 0, so it has no loss. Check its mask: it selects nothing.")
        return mean_interval(self.values, self.weights, self.units, level, share)


def example_losses(model: nn.Module, recipe: Recipe, split: Any, device: torch.device) -> ExampleLosses:
    """What the recipe's judge says of each example of a split."""
    source = as_source(split, "judged", Batching(recipe.batch_size, recipe.collate))
    judge = replace(Judge.of(recipe), singly=True)
    return ExampleLosses.of(judge.observe(model.to(device), source, device).losses, source)


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
    name: str, metric: Metric, output: Nest, target: Nest, units: np.ndarray | None, level: float
) -> tuple[float, float, float]:
    count = count_examples((output, target))
    answer = measured(name, metric, output, target)
    if answer.dim() == 1 and len(answer) == count:
        return mean_interval(answer.double().numpy(force=True), None, units, level, share=is_share(metric))
    if (count if units is None else len(np.unique(units))) < 2:
        return float(answer), float("nan"), float("nan")  # every resample would be the same
    if (resampled := resampling_of(metric)) is not None:
        size = sum(tensor.numel() for tensor in leaves(output))
        blocks = (torch.from_numpy(counts).double() for counts in resampled_counts(count, units, size))
        draws = [draw for counts in blocks for draw in resampled(output, target, counts).tolist()]
        return float(answer), *draws_interval(draws, level)

    def again(rows: np.ndarray) -> float:
        index = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        parts = (map_tensors(lambda tensor: tensor[index], part) for part in (output, target))
        return float(measured(name, metric, *parts))

    low, high = metric_interval(again, count, units, level)
    return float(answer), low, high
