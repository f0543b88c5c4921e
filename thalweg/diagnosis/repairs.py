"""Repairs: what a flaw advises, as an arm, where it can be done to a recipe from outside.

Inputs and targets in their own units are what a network has to learn first. The same network around which they are
standardized, by the train examples, computes the same functions from another start, so that it is an arm of the same
size: what it gains the scale had cost.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.description import describe_piece
from thalweg.core.source import Altering, Indexed, Splits, plain_of
from thalweg.diagnosis.flaw import Flaw
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.training import Recipe

INPUTS, TARGETS, DESTROYED = (
    Mechanism.INPUTS_FAR_FROM_UNIT_SCALE,
    Mechanism.TARGETS_FAR_FROM_UNIT_SCALE,
    Mechanism.AUGMENTATION_DESTROYS_THE_SIGNAL,
)
"""The mechanisms that can be repaired from outside."""
UNLIKE = 10.0
"""Columns whose lengths lie further apart are worth an arm."""
MOST = 20_000
"""The train examples by which is standardized."""
Moments = tuple[Tensor, Tensor]
"""A mean and a deviation."""


class Standardizing(nn.Module):
    r"""A model in standardized units, outwardly in those of the data: $\mu_y + \sigma_y f((x - \mu_x) / \sigma_x)$."""

    inputs_mean: Tensor | None
    inputs_deviation: Tensor | None
    targets_mean: Tensor | None
    targets_deviation: Tensor | None

    def __init__(self, model: nn.Module, inputs: Moments | None, targets: Moments | None) -> None:
        super().__init__()
        self.model = model
        for name, moments in (("inputs", inputs), ("targets", targets)):
            mean, deviation = (None, None) if moments is None else moments
            self.register_buffer(f"{name}_mean", mean)
            self.register_buffer(f"{name}_deviation", deviation)

    def forward(self, x: Tensor) -> Any:
        if self.inputs_mean is not None and self.inputs_deviation is not None:
            x = (x - self.inputs_mean) / self.inputs_deviation
        output = self.model(x)
        if self.targets_mean is None or self.targets_deviation is None:
            return output
        return self.targets_mean + self.targets_deviation * output


@dataclass(frozen=True, repr=False, eq=False)
class Standardized:
    """A model factory whose models work in standardized units.

    >>> factory = Standardized(lambda: nn.Linear(1, 1), inputs=(torch.tensor(100.0), torch.tensor(10.0)))
    >>> factory()(torch.full((5, 1), 100.0)).shape
    torch.Size([5, 1])
    """

    factory: Callable[[], nn.Module]
    inputs: Moments | None = None
    targets: Moments | None = None

    def __call__(self) -> nn.Module:
        moments = (None if own is None else (own[0].clone(), own[1].clone()) for own in (self.inputs, self.targets))
        return Standardizing(self.factory(), *moments)

    def __repr__(self) -> str:
        what = " and ".join(name for name in ("inputs", "targets") if getattr(self, name) is not None)
        return f"{describe_piece(self.factory)} with its {what} standardized"


def repaired(recipe: Recipe, train: Indexed, flaws: tuple[Flaw, ...]) -> Iterator[tuple[str, Recipe, Flaw]]:
    """A name, a recipe and the flaw that it repairs, for each that can be; together first, where there are several."""
    found = {flaw.mechanism: flaw for flaw in flaws}
    known = moments_of(train) if {INPUTS, TARGETS} & set(found) else None
    if known is not None:
        both = Standardized(
            recipe.model,
            known[0] if INPUTS in found else None,
            known[1] if TARGETS in found else None,
        )
        first = found.get(INPUTS) or found[TARGETS]
        if both.inputs is not None and both.targets is not None:
            yield "inputs and targets standardized", recipe.but(model=both), first
        if both.inputs is not None:
            yield "inputs standardized", recipe.but(model=replace(both, targets=None)), found[INPUTS]
        if both.targets is not None:
            yield "targets standardized", recipe.but(model=replace(both, inputs=None)), found[TARGETS]
    if DESTROYED in found and isinstance(train, Altering):
        data = Splits(train=plain_of(train), validation=recipe.data.validation)
        yield "without augmentation", recipe.but(data=data), found[DESTROYED]


def evened(recipe: Recipe, train: Indexed) -> Recipe | None:
    """The recipe with its inputs standardized, where their columns are so unlike that descent along some is slow.

    The curvature of a first layer is the second moment of its inputs: at any one rate a column of a tenth of the
    length learns a hundred times more slowly. None where they are alike, or are no columns.
    """
    known = moments_of(train)
    if known is None or known[0][0].dim() != 2 or isinstance(recipe.model, Standardized):
        return None
    mean, deviation = (each.flatten() for each in known[0])
    lengths = (mean.square() + deviation.square()).sqrt()
    if not float(lengths.max()) > UNLIKE * float(lengths[deviation > 0].min() if bool((deviation > 0).any()) else 1):
        return None
    return recipe.but(model=Standardized(recipe.model, inputs=known[0]))


def moments_of(train: Indexed) -> tuple[Moments, Moments | None] | None:
    """Mean and deviation of each input (of images: of each channel) and of each target; None where there are none."""
    xs, ys = list[Tensor](), list[Tensor]()
    for batch in plain_of(train).batches(0, 0, None):
        if not isinstance(batch, tuple | list) or len(batch) != 2 or not isinstance(batch[0], Tensor):
            return None
        xs.append(batch[0])
        ys.append(batch[1])
        if sum(map(len, xs)) >= MOST:
            break
    if not xs[0].is_floating_point() or len({tuple(x.shape[1:]) for x in xs}) != 1:
        return None
    x = torch.cat(xs)
    dims = tuple(dim for dim in range(x.dim()) if dim != 1 or x.dim() == 1)
    inputs = _of(x, dims, keep=x.dim() > 1)
    numbers = all(isinstance(y, Tensor) and y.is_floating_point() for y in ys)
    return inputs, _of(torch.cat(ys), (0,), keep=True) if numbers else None


def _of(values: Tensor, dims: tuple[int, ...], keep: bool) -> Moments:
    mean, deviation = values.mean(dims, keepdim=keep), values.std(dims, correction=0, keepdim=keep)
    return mean, torch.where(deviation > 0, deviation, torch.ones_like(deviation))
