"""Refuse numbers that are not finite before they reach the weights."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from thalweg.core.errors import DataError
from thalweg.core.mapped import Mapped
from thalweg.core.nest import Nest, leaves

MOST_NAMED = 5
"""So many rows and columns are named; one more is kept, to say that there are more."""


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers of some tensors are finite.

    >>> all_finite([torch.ones(2)]), all_finite([torch.tensor(float("nan"))])
    (True, False)
    """
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def check_finite(data: Nest, split: str, part: str) -> None:
    """Refuse NaN and infinities in floating tensors, naming the first examples and columns that hold them.

    >>> check_finite(torch.tensor([[1.0, float("nan")]]), "train", "inputs")
    Traceback (most recent call last):
    thalweg.core.errors.DataError: The train inputs hold 1 value that is not finite (NaN): row 0, column 1 (counted ...
    """
    several = not isinstance(data, Tensor | Mapped)  # one of several inputs may be a mask of zeros and -inf
    for leaf in leaves(data):
        if leaf.is_floating_point():
            _check_leaf(leaf, split, part, torch.isnan if several else _not_finite)


def _not_finite(values: Tensor) -> Tensor:
    return ~torch.isfinite(values)


def _check_leaf(leaf: Tensor | Mapped, split: str, part: str, bad: Callable[[Tensor], Tensor]) -> None:
    """One tensor, or an array in a file by chunks."""
    start, places = 0, Places()
    refused = False
    for chunk in leaf.chunks() if isinstance(leaf, Mapped) else (leaf,):
        refused |= bool(bad(chunk).any())
        places.add(chunk, start)
        start += len(chunk) if chunk.dim() else 1
    if refused:
        raise DataError(_message(places, split, part))


@dataclass
class Places:
    """Where values are not finite: how many there are, whether one is NaN, and the first rows and columns."""

    count: int = 0
    nan: bool = False
    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)

    def add(self, chunk: Tensor, start: int) -> None:
        """Those of some examples, of which the first is number `start`."""
        found = _not_finite(chunk).nonzero()
        if not len(found):
            return
        self.count += len(found)
        self.nan |= bool(chunk.isnan().any())
        self.rows = (self.rows + (found[:, 0].unique() + start)[: MOST_NAMED + 1].tolist())[: MOST_NAMED + 1]
        if chunk.dim() > 1:
            self.columns = sorted({*self.columns, *found[:, 1].unique().tolist()})[: MOST_NAMED + 1]


def _message(places: Places, split: str, part: str) -> str:
    kind = "NaN" if places.nan else "infinite"
    where = _named("row", places.rows) + (", " + _named("column", places.columns) if places.columns else "")
    count = places.count
    return (
        f"The {split} {part} hold {count} value{'s' if count > 1 else ''} that {_verb(count)} not "
        f"finite ({kind}): {where} (counted from 0). Training needs finite numbers: drop these examples, or fill them "
        "in, for instance with torch.nan_to_num. Where they are meant, mark the loss with @thalweg.objective."
    )


def _verb(count: int) -> str:
    return "are" if count > 1 else "is"


def _named(word: str, numbers: list[int]) -> str:
    plural = "s" if len(numbers) > 1 else ""
    more = ", ..." if len(numbers) > MOST_NAMED else ""
    return f"{word}{plural} {', '.join(map(str, numbers[:MOST_NAMED]))}{more}"
