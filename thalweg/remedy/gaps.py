"""Gaps in the data, what is NaN or infinite: inputs filled and marked, or examples left out.

A network that is to read gaps in use has to fill them itself: the median of train stands for what is missing, and a
column of its own says that it was (Le Morvan et al., "What's a good imputation to predict with missing values?", 2021).
Arrays are filled as well, so that whatever looks at the data next finds numbers. A target that is missing can be
neither learned nor judged: such examples are left out of every split, and all others keep their place in it (`Drawn`),
so that the halves of the test split hold what they held.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset, default_collate

from thalweg.core.arrays import ArraySource, Drawn, arrays_of
from thalweg.core.convert import Batching, as_source, loaded
from thalweg.core.examples import ExampleSource
from thalweg.core.finite import all_finite
from thalweg.core.nest import Nest
from thalweg.core.source import Altering, Splits, plain_of
from thalweg.remedy.altered import Altered, has, traced
from thalweg.remedy.features import reads_rows, widened
from thalweg.remedy.remedy import Decided
from thalweg.training import Recipe

FILLED = "with gaps in its inputs filled and marked"
FEWEST_LEFT, MOST_MARKED = 10, 64
SPLITS = ("train", "validation", "test")


class Filling(nn.Module):
    r"""A model that fills gaps in its inputs: $x \to f(x', m)$, with $x'_j$ the median of train where $x_j$ is missing.

    $m$ holds a 1 for each of the `marked` columns that was, else 0. Inputs that have these columns already, filled and
    marked as `filled_rows` does, are read as they are.

    >>> model = Filling(nn.Identity(), torch.tensor([5.0, 7.0]), (1,))
    >>> model(torch.tensor([[1.0, torch.nan]])), model(torch.tensor([[1.0, 7.0, 1.0]]))
    (tensor([[1., 7., 1.]]), tensor([[1., 7., 1.]]))
    """

    medians: Tensor

    def __init__(self, model: nn.Module, medians: Tensor, marked: tuple[int, ...]) -> None:
        super().__init__()
        self.model, self.marked = model, marked
        self.register_buffer("medians", medians.clone())

    def forward(self, x: Tensor) -> Any:
        """The model's output for inputs without gaps."""
        there = x.dim() == 2 and bool(self.marked) and x.shape[1] == len(self.medians) + len(self.marked)
        return self.model(x if there else filled_rows(x, self.medians, self.marked))


def filled_rows(x: Tensor, medians: Tensor, marked: tuple[int, ...]) -> Tensor:
    """Inputs `(batch, ...)` with what is not finite filled, and of rows the marks of some columns behind them.

    >>> filled_rows(torch.tensor([[torch.inf, 2.0]]), torch.tensor([5.0, 7.0]), (0,))
    tensor([[5., 2., 1.]])
    """
    lacks = ~torch.isfinite(x)
    whole = torch.where(lacks, medians.to(x.dtype), x)
    return torch.cat([whole, lacks[:, list(marked)].to(x.dtype)], dim=1) if marked else whole


@dataclass(frozen=True)
class Gapped:
    """Arrays with gaps that training is to take as they are: a loss that is not finite shows what they cost.

    >>> next(Gapped(ArraySource((torch.tensor([torch.nan]), torch.zeros(1)), 1)).batches(0, 0, None))[0]
    tensor([nan])
    """

    arrays: ArraySource

    def __len__(self) -> int:
        return len(self.arrays)

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        return self.arrays.batches(epoch, start, generator)

    def ordered(self, epoch: int, generator: torch.Generator | None) -> list[Tensor]:
        """The examples of each batch of an epoch."""
        return self.arrays.ordered(epoch, generator)

    def take(self, ids: Any) -> "Gapped":
        return Gapped(self.arrays.take(ids))

    def meta(self, ids: Any) -> dict[str, Any]:
        """The class of each of these examples, where the targets are classes."""
        return self.arrays.meta(ids)

    def where(self, ids: Any) -> list[str]:
        """The places of these examples in the arrays as they were given, from 0."""
        return self.arrays.where(ids)

    def batched(self, size: int | None, merge_single: bool = False) -> "Gapped":
        return Gapped(self.arrays.batched(size, merge_single))

    def count_batches(self) -> int:
        """The batches of an epoch of training."""
        return self.arrays.count_batches()


@dataclass(frozen=True)
class Fill:
    """The change that fills gaps by these medians and marks these columns, which the layer `first` then reads too.

    >>> import thalweg
    >>> x = torch.tensor([[1.0], [torch.nan]])
    >>> recipe = thalweg.load("iris").but(data=Splits(train=(x, x[:, 0])), model=lambda: nn.Linear(1, 1))
    >>> Fill(torch.tensor([5.0]), (0,), "")(recipe).data.train.data[0]
    tensor([[1., 0.]])
    """

    medians: Tensor
    marked: tuple[int, ...]
    first: str

    def __call__(self, recipe: Recipe) -> Recipe:
        alter = partial(with_gaps_filled, medians=self.medians, marked=self.marked, first=self.first)
        changed = _with(recipe, _changed(recipe, self._whole))
        return changed.but(model=Altered(recipe.model, alter, FILLED))

    def _whole(self, arrays: ArraySource) -> ArraySource:
        kept = _with_targets(arrays)
        x, y = kept.data
        return replace(kept, data=(filled_rows(x, self.medians, self.marked), y))


def filling(recipe: Recipe) -> Fill | None:
    """How the gaps of a recipe are filled; None where inputs and targets have none, or no target of a split is there.

    The medians are those of train. Columns are marked that have gaps there, where the first layer reads rows.
    """
    x = _inputs(recipe)
    gaps = {name: _gaps(*arrays.data) for name, arrays in _named(recipe)}
    if x is None or has(recipe.model, FILLED) or not any(inputs.any() for inputs, _ in gaps.values()):
        return None
    if not bool(torch.isfinite(x).any()):
        return None  # nothing is left to fill from
    if any(targets.all() for name, (_, targets) in gaps.items() if name != "test"):
        return None
    medians, lacking = _medians(x), (~torch.isfinite(x)).any(0)
    seen = traced(recipe)
    rows = seen is not None and reads_rows(seen) and int(lacking.sum()) <= MOST_MARKED
    marked = tuple(lacking.nonzero().flatten().tolist()) if rows and x.dim() == 2 else ()
    return Fill(medians, marked, seen.layers[0].name if seen is not None and marked else "")


filled = Decided(filling)
"""The recipe whose model fills gaps in its inputs and reads where they were; examples without target are left out.

The arrays of all splits are filled alike. How is found on the whole recipe: gaps of test alone are filled in a
laboratory too, which has no test split.
"""


def with_gaps_filled(model: nn.Module, medians: Tensor, marked: tuple[int, ...], first: str) -> nn.Module:
    """The model behind a filling of its inputs, its first layer as wide as the marks ask for."""
    return Filling(widened(model, first, len(marked)) if marked else model, medians, marked)


def without_gaps(recipe: Recipe) -> Recipe:
    """The recipe without the train examples that have a gap in inputs or target; elsewhere targets alone count.

    Itself where validation has gaps in its inputs, which this network could not read.
    """
    parts = {name: _gaps(*arrays.data)[0] for name, arrays in _named(recipe)}
    if "train" not in parts or not parts["train"].any() or ("validation" in parts and parts["validation"].any()):
        return recipe
    return _if_enough(recipe, _changed(recipe, _with_targets, _without))


def with_targets(recipe: Recipe) -> Recipe:
    """The recipe without the examples of any split whose target is missing, where no input is."""
    gaps = [_gaps(*arrays.data) for arrays in _arrays(recipe)]
    if any(inputs.any() for inputs, _ in gaps) or not any(targets.any() for _, targets in gaps):
        return recipe
    return _if_enough(recipe, _changed(recipe, _with_targets))


def refused(recipe: Recipe) -> bool:
    """Whether arrays of train or validation have gaps, so that a plain loss refuses to train on them.

    It is asked often, of all data: one sum for each tensor answers it where there are none.
    """
    arrays = [_array(_opened(recipe, name)) for name in SPLITS[:2]]
    return not all(_whole(part) for each in arrays if each is not None for part in each.data)


def readable(recipe: Recipe) -> Recipe:
    """The recipe with its gaps as they are, which training takes: it shows what they cost. Judged is where targets are.

    >>> import thalweg
    >>> x, y = torch.tensor([[1.0], [torch.nan]] * 9), torch.ones(18, 1)
    >>> recipe = thalweg.load("iris").but(data=Splits(train=(x, y)), model=lambda: nn.Linear(1, 1))
    >>> thalweg.train(readable(recipe.but(objective=nn.MSELoss(), metrics={}))).status.name
    'DIVERGED'
    """
    return recipe.but(data=_changed(recipe, lambda arrays: Gapped(_with_targets(arrays)), Gapped))


def trainable(recipe: Recipe) -> Recipe:
    """The recipe, with gaps that a plain loss refuses taken as they are; itself where it has none.

    >>> import thalweg
    >>> trainable(recipe := thalweg.cases.get("healthy")) is recipe
    True
    """
    return readable(recipe) if refused(recipe) else recipe


def judgeable(source: Any) -> Any:
    """The examples of a split by which a model can be judged: of arrays those with a target, of others all.

    >>> len(judgeable(ArraySource((torch.ones(3, 1), torch.tensor([1.0, torch.nan, 2.0])), None)))
    2
    """
    arrays = _array(source)
    known = None if arrays is None else _with_targets(arrays)
    return source if known is None or known is arrays else known


def _inputs(recipe: Recipe) -> Tensor | None:
    train = dict(_named(recipe)).get("train")
    return None if train is None else train.data[0]


def _named(recipe: Recipe) -> Iterator[tuple[str, ArraySource]]:
    """The splits that are arrays in memory of floating inputs."""
    for name in SPLITS:
        arrays = _array(_opened(recipe, name))
        if arrays is not None:
            yield name, arrays


def _arrays(recipe: Recipe) -> list[ArraySource]:
    return [arrays for _, arrays in _named(recipe)]


def _opened(recipe: Recipe, name: str) -> Any:
    split = getattr(recipe.data, name)
    if split is None:
        return None
    return as_source(loaded(split), name, Batching(recipe.batch_size, recipe.collate))


def _array(source: Any) -> ArraySource | None:
    plain = plain_of(source)
    if _of_loader(plain):
        tensors, ids = plain.examples.tensors, plain.ids
        plain = ArraySource(tensors if ids is None else tuple(each[ids] for each in tensors), plain.batch_size)
    return arrays_of(plain) if isinstance(plain, ArraySource | Gapped) else None


def _changed(
    recipe: Recipe, change: Callable[[ArraySource], Any], of_train: Callable[[ArraySource], Any] | None = None
) -> Splits:
    """The splits that are arrays changed, what alters them in training around them; all others as they are."""
    made = dict[str, Any]()
    for name in SPLITS:
        source = _opened(recipe, name)
        arrays = _array(source)
        made[name] = getattr(recipe.data, name)
        if arrays is not None:
            other = (of_train or change)(arrays) if name == "train" else change(arrays)
            made[name] = source.around(other) if isinstance(source, Altering) else other
    return Splits(**made)


def _gaps(x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Which examples have a gap in their inputs, and which in their targets."""
    broken = [
        ~torch.isfinite(part.reshape(len(part), -1)).all(1) if part.is_floating_point() else torch.zeros(len(part)) > 0
        for part in (x, y)
    ]
    return broken[0].numpy(), broken[1].numpy()


def _whole(values: Tensor) -> bool:
    """Whether all numbers of a tensor are finite; a sum of all is not where one of them is not."""
    if not values.is_floating_point() or not values.numel():
        return True
    return bool(torch.isfinite(values.sum())) or all_finite([values])  # a sum may also be too large


def _with_targets(arrays: ArraySource) -> ArraySource:
    lacking = _gaps(*arrays.data)[1]
    return Drawn.of(arrays, np.flatnonzero(~lacking)) if lacking.any() and not lacking.all() else arrays


def _without(arrays: ArraySource) -> ArraySource:
    inputs, targets = _gaps(*arrays.data)
    return arrays.take(np.flatnonzero(~(inputs | targets)))


def _if_enough(recipe: Recipe, data: Splits) -> Recipe:
    changed = _with(recipe, data)
    return recipe if len(data.train) < FEWEST_LEFT or refused(changed) else changed


def _with(recipe: Recipe, data: Splits) -> Recipe:
    """The recipe with other data, in batches of the size that its own train split brought."""
    source = _opened(recipe, "train")
    return recipe.but(data=data, batch_size=source.batch_size if _of_loader(source) else recipe.batch_size)


def _of_loader(source: Any) -> bool:
    """Whether a source cuts its batches from a data set of tensors, such as a loader's, in a new order or its own."""
    plain = isinstance(source, ExampleSource) and source.sampler is None and not source.drop_last
    return plain and isinstance(source.examples, TensorDataset) and source.collate is default_collate


def _medians(x: Tensor) -> Tensor:
    """The median of what is finite at each place of an example; 0 where nothing is."""
    flat = torch.where(torch.isfinite(x), x, torch.nan).reshape(len(x), -1)
    return torch.nan_to_num(flat.nanmedian(0).values).reshape(x.shape[1:])
