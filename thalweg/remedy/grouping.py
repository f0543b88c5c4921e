"""Groups that are brought to one scale: each group's inputs by its own mean and deviation, which need no labels.

A model reads one example at a time, so that it can know of which group an example is only where its inputs say so: a
number of the device, a column for each site. Where they do not, there is nothing that a recipe could do honestly: the
groups that splits know besides are not given to the model, and its judge does not give them either.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.diagnosis.checks.data_rows import Rows
from thalweg.remedy.altered import Altered, has
from thalweg.remedy.restraining import rows_of
from thalweg.training import Recipe

FEWEST, MOST_GROUPS = 5, 200
"""A group of fewer examples has no statistics of its own; and so many groups there are at most."""
TELLS = 0.25
"""A column of whole numbers is one of groups where it explains so much of another's values, or of their spread."""
TELLS_A_CLASS = 0.9
"""One that explains so much of a class is no name of a group."""
NAME = "with its inputs standardized within each group"
Statistics = tuple[Tensor, Tensor, Tensor]
"""The key of each group, and mean and deviation of its other inputs; behind them those of all of train."""


class GroupStandardizing(nn.Module):
    r"""A model of rows standardized within their group $g$: $x_j \to (x_j - \mu_{gj}) / \sigma_{gj}$.

    The columns `keys` say of which group a row is, and are read as they are. A group that was not known is standardized
    by the statistics of all of train, until `meets` has seen its inputs.

    >>> groups = torch.tensor([[0.0], [1.0]])
    >>> means, deviations = torch.tensor([[10.0], [0.0], [5.0]]), torch.tensor([[2.0], [1.0], [5.0]])
    >>> model = GroupStandardizing(nn.Identity(), (0,), (groups, means, deviations))
    >>> model(torch.tensor([[0.0, 12.0], [7.0, 10.0]]))
    tensor([[0., 1.],
            [7., 1.]])
    """

    groups: Tensor
    means: Tensor
    deviations: Tensor
    named: Tensor
    others: Tensor

    def __init__(self, model: nn.Module, keys: tuple[int, ...], statistics: Statistics) -> None:
        super().__init__()
        self.model, self.keys = model, keys
        for name, value in zip(("groups", "means", "deviations"), statistics, strict=True):
            self.register_buffer(name, value.clone())
        columns = torch.arange(self.means.shape[1] + len(keys))
        of_key = torch.isin(columns, torch.tensor(keys))
        self.register_buffer("named", torch.tensor(keys), persistent=False)
        self.register_buffer("others", columns[~of_key], persistent=False)

    def forward(self, x: Float[Tensor, "batch columns"]) -> Any:
        """The model's output for standardized rows."""
        same = (x[:, None, self.named] == self.groups).all(2)
        place = torch.where(same.any(1), same.float().argmax(1), len(self.groups))
        scaled = (x[:, self.others] - self.means[place].to(x.dtype)) / self.deviations[place].to(x.dtype)
        return self.model(x.index_copy(1, self.others, scaled))

    def meets(self, x: Float[Tensor, "example columns"]) -> None:
        """Learn the statistics of new groups from inputs alone, before they are predicted."""
        own = x[:, self.named]
        for key in own.unique(dim=0):
            rows = x[(own == key).all(1)]
            if len(rows) < FEWEST or bool((self.groups == key).all(1).any()):
                continue
            mean, deviation = _moments(rows[:, self.others].to(self.means.dtype))
            self.groups = torch.cat([self.groups, key[None]])
            self.means = torch.cat([self.means[:-1], mean[None], self.means[-1:]])
            self.deviations = torch.cat([self.deviations[:-1], deviation[None], self.deviations[-1:]])


def group_standardized(recipe: Recipe) -> Recipe:
    """The recipe whose model reads each row standardized within its group, where columns of its inputs name the group.

    Where the data know the groups these are the columns that are the same throughout each group, if they tell groups
    apart; else a column of whole numbers that explains much of another's mean or spread. Statistics are those of train.
    """
    rows = rows_of(recipe)
    if rows is None or not rows.table or rows.x is None or has(recipe.model, NAME) or not np.isfinite(rows.x).all():
        return recipe
    keys = _named(rows) if "group" in rows.known else _seen(rows.x, _targets(rows))
    if not keys or len(keys) >= rows.x.shape[1]:
        return recipe
    found = _statistics(torch.from_numpy(rows.x), keys)
    if found is None:
        return recipe
    alter = partial(GroupStandardizing, keys=keys, statistics=found)
    return recipe.but(model=Altered(recipe.model, alter, NAME))


def _named(rows: Rows) -> tuple[int, ...]:
    """The columns that name the groups which the data know; none where these do not tell them apart."""
    assert rows.x is not None
    which = np.unique(rows.known["group"][rows.kept], return_inverse=True)[1]
    first = np.zeros((which.max() + 1, rows.x.shape[1]))
    first[which] = rows.x
    keys = np.flatnonzero((first[which] == rows.x).all(0))
    apart = len(np.unique(first[:, keys], axis=0)) == len(first)
    return tuple(keys.tolist()) if apart and len(first) > 1 else ()


def _targets(rows: Rows) -> np.ndarray | None:
    """A column of 0 and 1 for each class; None where targets are no classes: numbers may differ from group to group."""
    if rows.targets is None or not rows.classes:
        return None
    return np.asarray(rows.y[:, None] == np.unique(rows.y)[None], dtype=float)


def _seen(x: np.ndarray, targets: np.ndarray | None = None) -> tuple[int, ...]:
    """The column of whole numbers that explains most of another one, where that is much.

    Columns of two values have no scale to be brought to: the marks of one category always tell those of another. One
    that all but tells a class is what the network is to read, and no name of a group.
    """
    best: tuple[float, tuple[int, ...]] = TELLS, ()
    scaled = np.array([len(np.unique(column)) > 2 for column in x.T], dtype=bool)
    for j in range(x.shape[1]):
        values, which, counts = np.unique(x[:, j], return_inverse=True, return_counts=True)
        whole = bool((values == np.rint(values)).all()) and 2 <= len(values) <= MOST_GROUPS
        names = targets is None or _explained(targets, which, counts) < TELLS_A_CLASS
        if whole and counts.min() >= FEWEST and names:
            told = _explained(x[:, scaled & (np.arange(x.shape[1]) != j)], which, counts)
            best = max(best, (told, (j,)))
    return best[1]


def _explained(x: np.ndarray, which: np.ndarray, counts: np.ndarray) -> float:
    """The largest share of a column's variance, or of that of its distances from a group's mean, between groups."""

    def share(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sums = np.zeros((len(counts), values.shape[1]))
        np.add.at(sums, which, values)
        means = (sums / counts[:, None])[which]
        total = values.var(0)
        return means, np.where(total > 0, means.var(0) / np.where(total > 0, total, 1.0), 0.0)

    means, of_mean = share(x)
    _, of_spread = share(np.abs(x - means))
    return float(max(of_mean.max(initial=0), of_spread.max(initial=0)))


def _statistics(x: Tensor, keys: tuple[int, ...]) -> Statistics | None:
    """Key, mean and deviation of each group that is large enough; None where fewer than two are."""
    others = [j for j in range(x.shape[1]) if j not in keys]
    groups, which, counts = x[:, list(keys)].unique(dim=0, return_inverse=True, return_counts=True)
    large = (counts >= FEWEST).nonzero().flatten().tolist()
    if not 2 <= len(large) <= MOST_GROUPS:
        return None
    moments = [_moments(x[which == g][:, others]) for g in large] + [_moments(x[:, others])]
    means, deviations = (torch.stack(own).to(torch.get_default_dtype()) for own in zip(*moments, strict=True))
    return _narrow(groups[large]), means, deviations


def _narrow(groups: Tensor) -> Tensor:
    """The numbers of groups in the default type where it tells them exactly, which not every device does in double."""
    narrow = groups.to(torch.get_default_dtype())
    return narrow if torch.equal(narrow.to(groups.dtype), groups) else groups


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), torch.where(x.amax(0) > x.amin(0), x.std(0, correction=0), 1.0)
