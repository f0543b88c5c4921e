"""Refuse numbers that are not finite before they reach the weights."""

from collections.abc import Iterable

import torch
from torch import Tensor

from thalweg.core.errors import DataError
from thalweg.core.nest import Nest, leaves


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
    several = not isinstance(data, Tensor)  # one of several inputs may be a mask of zeros and -inf
    for leaf in leaves(data):
        good = ~torch.isnan(leaf) if several else torch.isfinite(leaf)
        if leaf.is_floating_point() and not bool(good.all()):
            raise DataError(_message(leaf, split, part))


def _message(leaf: Tensor, split: str, part: str) -> str:
    places = (~torch.isfinite(leaf)).nonzero()
    kind = "NaN" if bool(leaf.isnan().any()) else "infinite"
    where = _named("row", places[:, 0]) + (", " + _named("column", places[:, 1]) if leaf.dim() > 1 else "")
    return (
        f"The {split} {part} hold {len(places)} value{'s' if len(places) > 1 else ''} that {_verb(len(places))} not "
        f"finite ({kind}): {where} (counted from 0). Training needs finite numbers: drop these examples, or fill them "
        "in, for instance with torch.nan_to_num. Where they are meant, mark the loss with @thalweg.objective."
    )


def _verb(count: int) -> str:
    return "are" if count > 1 else "is"


def _named(word: str, places: Tensor, most: int = 5) -> str:
    numbers = places.unique().tolist()
    plural = "s" if len(numbers) > 1 else ""
    return f"{word}{plural} {', '.join(map(str, numbers[:most]))}{', ...' if len(numbers) > most else ''}"
