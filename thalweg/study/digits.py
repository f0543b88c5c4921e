"""The handwritten digits that come with scikit-learn, 1797 images of 8 x 8, split anew for every seed."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from thalweg.core.source import Splits

PIXELS, CLASSES, SIDE = 64, 10, 8
Split = tuple[Tensor, Tensor]


@cache
def _all_digits() -> Split:
    from thalweg.data import bundled

    table = bundled("digits")
    pixels = table.frame.drop(columns=table.target).to_numpy(dtype=np.float32)
    labels = table.frame[table.target].to_numpy(dtype=np.int64)
    return torch.tensor((pixels - pixels.mean()) / pixels.std()), torch.tensor(labels)


def images(split: Split, side: int = SIDE, *, seed: int | None = None) -> Split:
    """Digits as images `(n, 1, side, side)` on a dark ground: in the middle, or with a seed each at a random place.

    >>> x, y = images(digits(0, train=5).train, 12)
    >>> x.shape, bool((x[:, :, 2:10, 2:10].flatten(1) == digits(0, train=5).train[0]).all())
    (torch.Size([5, 1, 12, 12]), True)
    """
    x, y = split
    room = side - SIDE
    places = torch.full((len(x), 2), room // 2)
    if seed is not None:
        places = torch.from_numpy(np.random.default_rng([seed, 2]).integers(0, room + 1, (len(x), 2)))
    ground = float(_all_digits()[0].min())
    whole = torch.full((len(x), 1, side, side), ground)
    rows, columns = (places[:, axis, None] + torch.arange(SIDE) for axis in (0, 1))
    whole[torch.arange(len(x))[:, None, None], 0, rows[:, :, None], columns[:, None, :]] = x.view(-1, SIDE, SIDE)
    return whole, y


def digits(seed: int, *, train: int, validation: int = 0) -> Splits:
    """The digits, standardized as a whole: `train` and `validation` random examples, and all others as the test split.

    >>> splits = digits(0, train=500, validation=100)
    >>> [len(part[1]) for part in (splits.train, splits.validation, splits.test)]
    [500, 100, 1197]
    """
    x, y = _all_digits()
    order = torch.from_numpy(np.random.default_rng([seed, 1]).permutation(len(y)))
    parts = [order[:train], order[train : train + validation], order[train + validation :]]
    first, second, third = ((x[ids], y[ids]) for ids in parts)
    return Splits(train=first, validation=second if validation else None, test=third)
